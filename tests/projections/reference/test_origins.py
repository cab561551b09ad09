"""Clocks that step and run backwards, and several recorders of one session at once."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from eventstore import Event, Store, canonical, codec
from eventstore.stores.memory import MemoryStore
from projections import replay
from support.program import FIXTURES
from turnlog import Clock, Recorder, open_store
from turnlog.conformance import expected_shape, mismatches, no_timers
from turnlog.recordings import RecordedClock, Recording, drive, read_recordings

HOUR = 3_600_000_000_000
OF_THE_WALL = {"timestamp", "turn_id", "session_end_time", "start_ns", "end_ns"}
"""Fields that a replay takes from the wall clock; a turn's id is derived from its timestamp."""


@pytest.fixture(scope="module")
def demo() -> Recording:
    ((_place, recording),) = read_recordings(FIXTURES / "demo.jsonl.gz")
    return recording


def stepping(clock: RecordedClock, after: int, step_ns: int) -> Callable[[], int]:
    """A wall clock that is stepped when it has been read ``after`` times."""
    reads = count()
    return lambda: clock.wall_ns + (step_ns if next(reads) >= after else 0)


@pytest.mark.parametrize("step_ns", [-HOUR, HOUR])
@pytest.mark.parametrize("after", [1, 50, 100, 171])
def test_a_wall_clock_that_steps_an_hour_in_mid_call(store: Store, demo: Recording, after: int, step_ns: int) -> None:
    """Order, counts, turns and span durations are those of the same call without the step.

    Break: in eventstore/event.py, ``_timed``, use the wall clock.
    """
    replays = []
    for session, step in (("s", 0), ("stepped", step_ns)):
        clock = RecordedClock()
        wall_ns = stepping(clock, after, step)
        with Recorder(
            store, session, origin="o", clock=Clock(clock.read_perf_ns, wall_ns), scheduler=no_timers
        ) as recorder:
            drive(recorder, clock, demo.calls)
            assert recorder.flush()
            assert recorder.health.lag_seconds == 0
            assert (recorder.health.dropped, recorder.health.failed, recorder.health.rejected) == (0, 0, 0)
        events = list(store.read(session))
        assert [event.seq for event in events] == list(range(len(demo.calls)))
        replays.append(expected_shape(replay(events)))
    plain, stepped = replays
    differing = [path for path, _one, _other in mismatches(plain, stepped)]
    assert [path for path in differing if path.rpartition(".")[2] not in OF_THE_WALL] == []
    assert len(plain["turns"]) == len(stepped["turns"]) > 0
    lengths = [[span["end_ns"] - span["start_ns"] for span in spans] for spans in (plain["spans"], stepped["spans"])]
    assert lengths[0] == lengths[1]


def test_a_wall_clock_that_steps_while_two_origins_record(store: Store) -> None:
    """Both had begun before, so the order of their calls stays the same."""
    orders = []
    for session, step in (("s", 0), ("stepped", -HOUR)):
        clock, other = RecordedClock(), RecordedClock()  # they share the wall
        clock.wall_ns, other.perf_ns = 10**18, 5 * HOUR
        wall_ns = stepping(clock, 100, step)
        recorders = [
            Recorder(store, session, origin="a", clock=Clock(clock.read_perf_ns, wall_ns)),
            Recorder(store, session, origin="b", clock=Clock(other.read_perf_ns, wall_ns)),
        ]
        chance = random.Random(1)
        for n in range(300):
            clock.perf_ns += 1000
            other.perf_ns += 1000
            clock.wall_ns += 1000
            recorders[n if n < 2 else chance.randrange(2)].add_error("LLM", str(n))
        assert all(recorder.close() for recorder in recorders)
        orders.append([int(codec.decode(event)["message"]) for event in store.read(session)])
    assert orders == [list(range(300))] * 2


def test_an_origin_that_begins_after_the_step_is_whole_and_in_its_own_order(store: Store) -> None:
    """The size of the step is unknown, so its clock decides; the order is the same for every reader."""
    for origin, wall_ns in (("before", 10**18), ("after", 10**18 - HOUR)):
        perf = count(1)
        with Recorder(store, "s", origin=origin, clock=Clock(lambda: next(perf), lambda: wall_ns)) as recorder:  # noqa: B023
            for _ in range(100):
                recorder.on_eou_start()
    events = list(store.read("s"))
    assert [(event.origin, event.seq) for event in events] == [(o, n) for o in ("after", "before") for n in range(100)]
    assert canonical(reversed(events)) == events


def test_a_monotonic_clock_that_runs_backwards(store: Store) -> None:
    """Within an origin, only ``seq`` determines the order.

    Break: in eventstore/event.py, ``merge``, sort instead of merging.
    """
    backwards, forwards = count(10**12, -1000), count(10**12 - 50_000, 1000)
    recorders = [
        Recorder(store, "s", origin="backwards", clock=Clock(lambda: next(backwards), lambda: 10**18)),
        Recorder(store, "s", origin="forwards", clock=Clock(lambda: next(forwards), lambda: 10**18)),
    ]
    for _ in range(100):
        for recorder in recorders:
            recorder.on_eou_start()
    assert all(recorder.close() for recorder in recorders)
    events = list(store.read("s"))
    for origin in ("backwards", "forwards"):
        assert [event.seq for event in events if event.origin == origin] == list(range(100))
    chance = random.Random(1)
    assert canonical(chance.sample(events, len(events))) == events
    assert replay(events).events == 200


# several recorders of one session -----------------------------------------------------------------------------------

AGENT = """
import json, sys
from turnlog import Recorder, open_store
url, journal, origin, name, calls = sys.argv[1:]
store = open_store(url)
recorder = Recorder(store, "s", origin=origin, journal=journal)
print("ready", flush=True)
sys.stdin.read()
for n in range(int(calls)):
    recorder.add_error(name, str(n))
stored = recorder.close(60)
print(json.dumps({"stored": stored, **recorder.health._asdict()}))
store.close()
"""


def record_at_once(urls: tuple[str, Path], agents: list[tuple[str, str]], calls: int) -> list[dict[str, Any]]:
    """Run a process for each origin and name, all starting together; returns their results."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", AGENT, *urls, *agent, str(calls)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for agent in agents
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    reports = [json.loads(process.communicate()[0]) for process in started]
    assert [process.returncode for process in started] == [0] * len(agents)
    assert {(r["dropped"], r["unjournaled"], r["failed"]) for r in reports} == {(0, 0, 0)}
    assert all(r["stored"] == (not r["lost"]) for r in reports)
    return reports


@pytest.fixture(params=["sqlite", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, tuple[str, Path]]:
    """A store that several processes can share, with its address."""
    store: Store = request.getfixturevalue(request.param)
    url = str(tmp_path / "calls.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    return store, (url, tmp_path / "journal")


def assert_order_is_nobodys(events: list[Event]) -> None:
    """Independent of arrival: a store that gets them shuffled, in different batches, gives the same order."""
    for seed in range(3):
        chance, other = random.Random(seed), MemoryStore()
        shuffled = chance.sample(events, len(events))
        while shuffled:
            other.append(shuffled[: (size := chance.randint(1, 100))])
            del shuffled[:size]
        assert list(other.read("s")) == events == canonical(events[::-1])


def test_two_threads_record_one_session_as_two_origins(store: Store) -> None:
    barrier = threading.Barrier(2)

    def work(recorder: Recorder) -> None:
        barrier.wait()
        for n in range(1000):
            recorder.add_error(recorder.origin, str(n))

    recorders = [Recorder(store, "s", origin=origin) for origin in ("a", "b")]
    threads = [threading.Thread(target=work, args=(recorder,)) for recorder in recorders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(recorder.close() for recorder in recorders)
    events = list(store.read("s"))
    for recorder in recorders:
        found = [int(codec.decode(event)["message"]) for event in events if event.origin == recorder.origin]
        assert found == list(range(1000))
    assert_order_is_nobodys(events)


def test_two_processes_record_one_session_as_two_origins(shared: tuple[Store, tuple[str, Path]]) -> None:
    """Break: in eventstore/recording/journal.py, ``take``, skip one event."""
    store, urls = shared
    record_at_once(urls, [("a", "a"), ("b", "b")], 1000)
    events = list(store.read("s"))
    assert len(events) == 2000
    for origin in ("a", "b"):
        found = [int(codec.decode(event)["message"]) for event in events if event.origin == origin]
        assert found == list(range(1000))
    assert_order_is_nobodys(events)


def test_an_origin_used_twice_keeps_what_came_first(store: Store) -> None:
    """A misuse: refused events are counted and named, and new ones are kept.

    Break: in eventstore/recording/writer.py, ``append_skipping_refused``, leave out the whole batch.
    """
    with Recorder(store, "s", origin="o") as first, Recorder(store, "s", origin="o") as second:
        for n in range(100):
            first.add_error("first", str(n))
        assert first.flush()
        for n in range(150):
            second.add_error("second", str(n))
        assert not second.flush(), "a hundred are refused"
        assert second.flush(), "that was said"
        assert second.health.rejected == 100
        assert "of origin 'o' in session 's' is already stored with different content" in str(second.health.last_error)
        assert (second.health.dropped, second.health.failed) == (0, 0)
    found = [(codec.decode(event)["source"], codec.decode(event)["message"]) for event in store.read("s")]
    assert found == [("first" if n < 100 else "second", str(n)) for n in range(150)]


def test_an_origin_used_by_two_threads_at_once(store: Store) -> None:
    """Each identity is stored once, and every call that is not stored is counted."""
    barrier = threading.Barrier(2)

    def work(recorder: Recorder, name: str) -> None:
        barrier.wait()
        for n in range(200):
            recorder.add_error(name, str(n))

    recorders = [Recorder(store, "s", origin="o") for _ in range(2)]
    threads = [threading.Thread(target=work, args=args) for args in zip(recorders, ("a", "b"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(recorder.close(60) for recorder in recorders), "of either some call may be refused"
    assert [int(codec.decode(event)["message"]) for event in store.read("s")] == list(range(200))
    health = recorders[0].health
    assert (health.rejected, health.dropped, health.failed) == (200, 0, 0)
    assert "session 's'" in str(health.last_error)


@pytest.mark.slow
def test_an_origin_used_by_two_processes_at_once(shared: tuple[Store, tuple[str, Path]]) -> None:
    store, urls = shared
    reports = record_at_once(urls, [("o", "a"), ("o", "b")], 200)
    events = [codec.decode(event) for event in store.read("s")]
    assert [int(args["message"]) for args in events] == list(range(200))
    assert sum(report["rejected"] for report in reports) == 200
    for name, report in zip("ab", reports, strict=True):
        assert sum(args["source"] == name for args in events) == 200 - report["rejected"]
        assert not report["rejected"] or "session 's'" in report["last_error"]
    assert {path.suffix for path in urls[1].iterdir()} == {".aside"}


def test_what_an_origin_has_stored_outlives_its_namesake(tmp_path: Path) -> None:
    """The first ends well before the second begins, with the same name and a different clock."""
    for name in ("first", "second"):
        record_at_once((str(tmp_path / "calls.db"), tmp_path / "journal"), [("o", name)], 300)
    store = open_store(tmp_path / "calls.db")
    assert [codec.decode(event)["source"] for event in store.read("s")] == ["first"] * 300
    store.close()
