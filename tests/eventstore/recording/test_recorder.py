"""The recorder's interface for agents."""

from __future__ import annotations

import asyncio
import enum
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from eventstore import Event, Store, codec
from eventstore.errors import IdentityConflict, StoreUnavailable
from eventstore.stores.memory import MemoryStore
from projections import replay
from turnlog import Clock, Recorder, open_store, recover


class Mode(enum.Enum):
    CASCADE = "full_cascading"


class Transport(enum.Enum):
    ROOM = "room"


def recorded(store: Store, session: str = "s") -> list[tuple[str, dict[str, Any]]]:
    return [(event.hook, codec.decode(event)) for event in store.read(session)]


def test_a_call_becomes_an_event_with_its_clocks(store: Store) -> None:
    clocks = iter(range(1, 100))
    with Recorder(store, "s", origin="o", clock=Clock(lambda: next(clocks), lambda: 10**18)) as recorder:
        recorder.on_user_speech_start()
        recorder.on_stt_complete("hi", confidence=0.5)
        recorder.traces.agent_say_called("hello")
    assert list(store.read("s")) == [
        Event("s", "o", 0, "on_user_speech_start", 1, 1, 10**18, "{}"),
        Event("s", "o", 1, "on_stt_complete", 1, 2, 10**18, '{"transcript":"hi","duration":0.0,"confidence":0.5}'),
        Event("s", "o", 2, "traces.agent_say_called", 1, 3, 10**18, '{"message":"hello"}'),
    ]


@pytest.mark.parametrize("durability", ["memory", "process", "disk"])
def test_every_durability_reaches_the_store(store: Store, durability: Any) -> None:
    with Recorder(store, "s", durability=durability) as recorder:
        for n in range(3000):
            recorder.add_tts_characters(n)
        recorder.traces.agent_reply_called("be brief")
    found = recorded(store)
    assert [args["count"] for _hook, args in found[:-1]] == list(range(3000))
    assert found[-1] == ("traces.agent_reply_called", {"instructions": "be brief"})


def test_what_real_agents_hand_over(store: Store) -> None:
    config = SimpleNamespace(mode=Mode.CASCADE, min_max_speech_wait_timeout=(0.5, 0.8), extra=7, _secret=1)
    with Recorder(store, "s") as recorder:
        recorder.configure_pipeline(Mode.CASCADE, None, frozenset({"tts", "llm"}))
        recorder.set_eou_config(config)
        recorder.set_interrupt_config(None)
        recorder.set_traces_flow_manager(object())
        recorder.set_playground_manager(None)
        recorder.add_error("LLM", ValueError("it broke"))  # type: ignore[arg-type]
        recorder.traces.set_session_metrics(object())
    assert recorded(store) == [
        ("configure_pipeline", {
            "pipeline_mode": "full_cascading", "realtime_mode": None, "active_components": ["llm", "tts"],
        }),
        ("set_eou_config", {
            "config": {"mode": "full_cascading", "min_max_speech_wait_timeout": [0.5, 0.8], "extra": 7},
        }),
        ("set_interrupt_config", {"config": None}),
        ("set_traces_flow_manager", {"attached": True}),
        ("set_playground_manager", {"attached": False}),
        ("add_error", {"source": "LLM", "message": "it broke"}),
        ("traces.set_session_metrics", {}),
    ]  # fmt: skip


def test_span_attributes_keep_the_text_that_the_reference_would_make_of_them(store: Store) -> None:
    attributes = {"transport": Transport.ROOM, "pair": (1, 2), "nan": float("nan"), "n": 3, "nested": {"a": [1, None]}}
    with Recorder(store, "s") as recorder:
        recorder.traces.start_agent_joined_meeting(attributes)
    (_hook, args), = recorded(store)  # fmt: skip
    assert {k: str(v) for k, v in args["attributes"].items()} == {k: str(v) for k, v in attributes.items()}


def test_arguments_are_kept_as_they_were_when_the_hook_was_called(store: Store) -> None:
    for durability in ("memory", "process"):
        with Recorder(store, durability, durability=durability) as recorder:  # type: ignore[arg-type]
            documents = ["one"]
            recorder.on_knowledge_base_complete(documents, [1.0])
            documents.append("two")
        assert recorded(store, durability)[0][1]["documents"] == ["one"]


def test_async_hooks_are_awaited(store: Store) -> None:
    async def agent() -> None:
        with Recorder(store, "s") as recorder:
            await recorder.traces.start_agent_session_config({})
            await recorder.traces.start_agent_session({"a": 1})
            await recorder.traces.start_agent_session_closed({})

    asyncio.run(agent())
    assert [hook for hook, _args in recorded(store)] == [
        "traces.start_agent_session_config", "traces.start_agent_session", "traces.start_agent_session_closed",
    ]  # fmt: skip


def test_a2a_spans_are_matched_by_number(store: Store) -> None:
    with Recorder(store, "s") as recorder:
        first = recorder.traces.create_a2a_trace("ask", {})
        second = recorder.traces.create_a2a_trace("ask again", {})
        recorder.traces.end_a2a_trace(second, "done")
        recorder.traces.end_a2a_trace(first)
        recorder.traces.end_a2a_trace(None)
    assert [args["index"] for hook, args in recorded(store) if hook == "traces.end_a2a_trace"] == [1, 0, 2]


# the timer ----------------------------------------------------------------------------------------------------------


def test_without_an_event_loop_a_scheduled_turn_completes_at_once(store: Store) -> None:
    with Recorder(store, "s") as recorder:
        recorder.schedule_turn_complete(0.5)
    assert recorded(store) == [("schedule_turn_complete", {"timeout": 0.5}), ("complete_turn", {})]


def test_on_an_event_loop_the_timer_fires_as_an_event_and_a_new_call_cancels_the_old(store: Store) -> None:
    async def agent() -> None:
        fired = asyncio.Event()

        class Watched(Recorder):
            def finalize_realtime_turn(self) -> None:
                super().finalize_realtime_turn()
                fired.set()

        with Watched(store, "s") as recorder:
            recorder.schedule_turn_complete(60.0)
            recorder.schedule_turn_complete(0.001)
            await fired.wait()
            recorder.schedule_turn_complete(60.0)

    asyncio.run(agent())
    assert [hook for hook, _args in recorded(store)] == [
        "schedule_turn_complete", "schedule_turn_complete", "finalize_realtime_turn", "schedule_turn_complete",
    ]  # fmt: skip


def test_the_scheduler_is_an_argument(store: Store) -> None:
    scheduled: list[tuple[float, Callable[[], None]]] = []
    cancelled: list[int] = []

    def scheduler(seconds: float, call: Callable[[], None]) -> Any:
        scheduled.append((seconds, call))
        number = len(scheduled)
        return SimpleNamespace(cancel=lambda: cancelled.append(number))

    with Recorder(store, "s", scheduler=scheduler) as recorder:
        recorder.schedule_turn_complete(2.0)
        recorder.schedule_turn_complete()
        scheduled[1][1]()
        assert ([seconds for seconds, _call in scheduled], cancelled) == ([2.0, 1.0], [1])
        recorder.schedule_turn_complete()
    assert cancelled == [1, 3]


def test_a_scheduler_that_fails_is_the_recorders_own_trouble(store: Store) -> None:
    def broken(_seconds: float, _call: Callable[[], None]) -> Any:
        raise ZeroDivisionError

    with Recorder(store, "s", scheduler=broken) as recorder:
        recorder.schedule_turn_complete()
        assert recorder.health.failed == 1


# live reads ---------------------------------------------------------------------------------------------------------


def test_live_reads_are_caught_up_when_read(store: Store) -> None:
    with Recorder(store, "s") as recorder:
        assert recorder.current_turn is None
        recorder.on_user_speech_start()
        recorder.set_user_transcript("hello")
        assert recorder.current_turn is not None
        assert recorder.current_turn.user_speech == "hello"
        recorder.flush()
        recorder.on_llm_start()
        recorder.on_llm_first_token()
        recorder.flush()
        recorder.complete_turn()
        assert recorder.current_turn is None
        assert [turn.user_speech for turn in recorder.turns] == ["hello"]
        recorder.set_system_instructions("be brief")
        assert recorder.session.system_instruction == "be brief"
    assert len(recorder.turns) == 1  # and after closing


def test_live_reads_go_on_from_what_another_process_recorded(store: Store) -> None:
    with Recorder(store, "s") as before:
        before.on_user_speech_start()
        before.set_user_transcript("before the restart")
    with Recorder(store, "s") as after:
        assert after.current_turn is not None
        assert after.current_turn.user_speech == "before the restart"
        after.on_llm_start()
        assert len(after.current_turn.llm_metrics) == 1


def test_live_reads_are_a_replay(store: Store) -> None:
    from turnlog.conformance import no_timers
    from turnlog.recordings import RecordedClock, drive, read_recordings

    path = Path(__file__).resolve().parents[3] / "fixtures" / "demo.jsonl.gz"
    ((_place, recording),) = read_recordings(path)
    clock = RecordedClock()
    with Recorder(store, "s", clock=Clock(clock.read_perf_ns, clock.read_wall_ns), scheduler=no_timers) as recorder:
        for call in recording.calls:
            drive(recorder, clock, [call])
            assert recorder.turns is not None
        recorder.flush()
        call_now = replay(store.read("s"))
        assert recorder.turns == call_now.turns
        assert recorder.session == call_now.session
        assert recorder.current_turn == call_now.current_turn


def test_what_waits_for_nobody_is_folded_in_the_background(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnlog.recorder.SETTLE_AT", 10)
    with Recorder(store, "s") as recorder:
        assert recorder.current_turn is None
        for _ in range(100):
            recorder.on_user_speech_start()
            recorder.flush()
        assert len(recorder._live.inbox) < 100


# trouble ------------------------------------------------------------------------------------------------------------


class Flaky(MemoryStore):
    """A database that is down for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.down = True
        self.asked = threading.Event()

    def append(self, events: Any) -> Any:
        if self.down:
            self.asked.set()
            raise StoreUnavailable("the database is down")
        return super().append(events)


@pytest.mark.parametrize("durability", ["memory", "process"])
def test_a_database_that_is_down_loses_nothing(durability: Any) -> None:
    store = Flaky()
    with Recorder(store, "s", durability=durability) as recorder:
        recorder.on_user_speech_start()
        assert store.asked.wait(10)
        for _ in range(500):
            recorder.on_stt_start()
        assert recorder.current_turn is not None  # live reads do not need the database
        assert not recorder.flush(0.01)
        assert "the database is down" in str(recorder.health.last_error)
        assert recorder.health.backlog_bytes > 0
        assert recorder.health.lag_seconds > 0
        store.down = False
        assert recorder.flush()
        assert recorder.health.lag_seconds == 0
    assert len(list(store.read("s"))) == 501
    assert recorder.health.dropped == 0


def test_what_could_not_be_stored_stays_in_the_journal(tmp_path: Path) -> None:
    store = Flaky()
    recorder = Recorder(store, "s", journal=tmp_path)
    recorder.on_eou_start()
    assert recorder.close(0.05) is False
    store.down = False
    assert recover(store, tmp_path) == 1
    assert len(list(store.read("s"))) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_only_memory_held_is_counted_when_it_is_lost() -> None:
    recorder = Recorder(Flaky(), "s", durability="memory")
    for _ in range(3):
        recorder.on_eou_start()
    assert recorder.close(0.05) is False
    assert recorder.health.dropped == 3
    assert "they are lost" in str(recorder.health.last_error)


def test_an_identity_that_is_taken_is_counted_and_blocks_nothing() -> None:
    store = MemoryStore()
    store.append([Event("s", "o", 1, "on_llm_start", 1, 1, 1, "{}")])
    with Recorder(store, "s", origin="o") as recorder:
        for _ in range(5):
            recorder.on_eou_start()
    assert recorder.health.rejected == 1
    assert [event.seq for event in store.read("s")] == [0, 1, 2, 3, 4]
    with pytest.raises(IdentityConflict):
        store.append([Event("s", "o", 1, "on_eou_start", 1, 1, 1, "{}")])


def test_calls_after_closing_are_counted_and_harmless(store: Store) -> None:
    recorder = Recorder(store, "s")
    recorder.on_eou_start()
    assert recorder.close()
    assert recorder.close()
    recorder.on_eou_complete()
    recorder.traces.end_main_turn()
    assert recorder.health.dropped == 2
    assert len(list(store.read("s"))) == 1


def test_a_durability_that_does_not_exist_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="durability is one of memory, process, disk"):
        Recorder(store, durability="forever")  # type: ignore[arg-type]


def test_names_that_no_database_takes_are_made_fit(store: Store) -> None:
    with Recorder(store, "a\x00b\ud800" + "x" * 100_000) as recorder:
        recorder.on_eou_start()
    assert len(list(store.read(recorder.session_id))) == 1


def test_calls_made_just_before_close_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer looks, finds nothing, and only then calls are made and the recorder is closed.

    Break: in eventstore/recording/writer.py, ``_work``, look at ``_closing`` after ``take``.
    """
    store = MemoryStore()
    recorder = Recorder(store, "s", durability="memory")
    writer, closed = recorder._writer, list[bool]()
    take, closer = writer.backlog.take, threading.Thread(target=lambda: closed.append(recorder.close()))

    def take_slowly() -> list[Event]:
        found = take()
        if not writer.backlog.idle and not writer._closing.is_set():
            recorder.on_llm_start()
            closer.start()
            writer._closing.wait()
        return found

    monkeypatch.setattr(writer.backlog, "take", take_slowly)
    writer.backlog.wake.set()
    writer._thread.join()
    closer.join()
    assert closed == [True]
    assert [event.hook for event in store.read("s")] == ["on_llm_start"]


def test_many_threads_and_recorders_share_one_writer(sqlite: Store) -> None:
    def work(recorder: Recorder) -> None:
        for n in range(500):
            recorder.add_tts_characters(n)

    recorders = [Recorder(sqlite, f"s{n % 2}") for n in range(4)]
    assert len({id(recorder._writer) for recorder in recorders}) == 1
    threads = [threading.Thread(target=work, args=(recorder,)) for recorder in recorders for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for recorder in recorders:
        assert recorder.close()
    assert sum(session.events for session in sqlite.sessions()) == 4000
    for session in sqlite.sessions():
        seqs: dict[str, list[int]] = {}
        for event in sqlite.read(session.session_id):
            seqs.setdefault(event.origin, []).append(event.seq)
        assert all(found == list(range(1000)) for found in seqs.values())


def test_a_signal_handler_that_calls_hooks_in_the_middle_of_hooks(store: Store) -> None:
    """Break: in eventstore/recording/recorder.py, ``_journal_record``, take the place and write in two steps."""
    calls = 0

    with Recorder(store, "s") as recorder:

        def handler(_number: int, _frame: object) -> None:
            nonlocal calls
            recorder.on_interrupted()
            calls += 1

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        made = 0
        while calls < 50:
            recorder.on_eou_start()
            made += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    found = list(store.read("s"))
    assert [event.seq for event in found] == list(range(made + calls))
    assert sum(event.hook == "on_interrupted" for event in found) == calls


EXIT = """
import sys
from turnlog import Recorder, open_store
recorder = Recorder(open_store(sys.argv[1]), "s")
for n in range(100):
    recorder.add_tts_characters(n)
"""


@pytest.mark.slow
def test_a_process_that_just_ends_has_flushed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", EXIT, tmp_path / "calls.db"], check=True)
    store = open_store(tmp_path / "calls.db")
    assert len(list(store.read("s"))) == 100
    assert list((tmp_path / "calls.db.journal").iterdir()) == []
    store.close()


FORK = """
import os, sys
from turnlog import Recorder, open_store
store = open_store(sys.argv[1])
recorder = Recorder(store, "s")
recorder.on_user_speech_start()
assert recorder.current_turn is not None
child = os.fork()
for _ in range(100):
    recorder.on_stt_start()
turn = recorder.current_turn
assert recorder.close()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.slow
def test_after_a_fork_the_child_is_an_origin_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, tmp_path / "calls.db"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    store = open_store(tmp_path / "calls.db")
    (session,) = store.sessions()
    assert (session.events, session.origins) == (201, 2)
    store.close()
    assert list((tmp_path / "calls.db.journal").iterdir()) == []


FORK_UNDER_LOAD = """
import os, signal, sys, threading
from eventstore import Event, open_store
from eventstore.errors import StoreUnavailable
store = open_store(sys.argv[1])
stop = threading.Event()
def load():
    n = 0
    while not stop.is_set():
        store.append([Event("load", "parent", n + k, "on_eou_start", 1, 1, 1, "{}") for k in range(500)])
        n += 500
thread = threading.Thread(target=load, daemon=True)
thread.start()
for number in range(25):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that is locked out would wait forever
        while True:
            try:
                store.append([Event("s", str(number), 0, "on_eou_start", 1, 1, 1, "{}")])
                os._exit(0)
            except StoreUnavailable:  # the parent appends without a pause, and may be quicker for long
                continue
    assert os.waitpid(child, 0)[1] == 0, number
stop.set()
thread.join()
store.close()
"""


@pytest.mark.slow
def test_a_fork_in_the_middle_of_a_transaction_locks_nobody_out(tmp_path: Path) -> None:
    """Break: in eventstore/stores/sqlite/store.py, ``_before_fork``, hold nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK_UNDER_LOAD, tmp_path / "calls.db"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    store = open_store(tmp_path / "calls.db")
    assert len({event.origin for event in store.read("s")}) == 25
    store.close()


FORKS_AT_ONCE = """
import os, sys, threading
from eventstore import Event, open_store
store = open_store(sys.argv[1])
def fork():
    for _ in range(20):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
threads = [threading.Thread(target=fork, daemon=True) for _ in range(4)]
for thread in threads:
    thread.start()
for n in range(300):
    store.append([Event("s", "o", n, "on_eou_start", 1, 1, 1, "{}")])
for thread in threads:
    thread.join()
store.append([Event("s", "o", 300, "on_eou_start", 1, 1, 1, "{}")])
os._exit(0)
"""


def test_threads_that_fork_at_once_leave_no_lock_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKS_AT_ONCE, tmp_path / "calls.db"]
    assert subprocess.run(command, check=False, timeout=120).returncode == 0
    store = open_store(tmp_path / "calls.db")
    assert len(list(store.read("s"))) == 301
    store.close()


def test_the_payload_is_json_text(store: Store) -> None:
    with Recorder(store, "s") as recorder:
        recorder.add_function_tool_call("t", {"a": [1, {"b": None}]}, None, 1.5)
    ((_hook, args),) = recorded(store)
    assert args == orjson.loads(next(iter(store.read("s"))).payload)
    assert args["tool_params"] == {"a": [1, {"b": None}]}
