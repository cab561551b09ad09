"""Back-dating: an event that is recorded late counts from when it happened."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import Clock, Event, Recorder, open_store
from eventstore.admission import admit
from eventstore.codec import clocks
from eventstore.hooks.arguments import HAPPENED, RAW
from eventstore.recording.writer import Durability
from eventstore.stores.memory import MemoryStore
from projections.reference.replay import call_dict, replay
from support.strategies import HOSTILE, streams
from turnlog.conformance import no_timers

KEY = "A" * 43 + "="


@given(streams(max_size=40), st.lists(st.integers(-(10**10), 10**10), min_size=40, max_size=40))
def test_a_back_dated_event_counts_as_one_recorded_then(events: list[Event], ago_ns: list[int]) -> None:
    """Break: in reference/fold.py, ``fold``, give the handler ``event.perf_ns``, or leave ``s.wall_ns`` as it was."""
    assert len({event.origin for event in events}) <= 1
    then, back_dated = [], []
    for n, (event, ago) in enumerate(zip(events, ago_ns, strict=False)):
        ago_now = ago if n else 0  # the session begins when its first event is recorded
        happened_ns = event.perf_ns - ago_now
        args = {HAPPENED: happened_ns, RAW: {"created_at": 1.5}, **orjson.loads(event.payload)}
        then.append(msgspec.structs.replace(event, perf_ns=happened_ns, wall_ns=event.wall_ns - ago_now))
        back_dated.append(msgspec.structs.replace(event, payload=orjson.dumps(args).decode()))
    assert call_dict(replay(back_dated)) == call_dict(replay(then))


@pytest.mark.parametrize("durability", ["memory", "process"])
def test_the_recorder_maps_the_wall_clock_to_its_own(durability: Durability) -> None:
    ticks = itertools.count(0, 1000)
    clock = Clock(lambda: 5_000_000 + next(ticks), lambda: 10**18 + next(ticks))
    store = MemoryStore()
    with Recorder(store, "s", clock=clock, scheduler=no_timers, durability=durability) as recorder:
        recorder.start_turn()
        late = recorder.happened(10**18 - 7_000_000, {"created_at": 999_999_999.993, "text": "Ada"})
        late.on_user_speech_start()
        late.set_user_transcript("hello")
        late.traces.agent_say_called("hi")
        late.add_error("LLM", ValueError("no"))
        recorder.happened(10**18 + 10**9).on_user_speech_end()
    first, start, said, traced, error, end = store.read("s")
    assert clocks(first) == (first.perf_ns, first.wall_ns)
    assert [event.seq for event in (first, start, said, traced, error, end)] == list(range(6))
    for event in (start, said, traced, error):
        perf_ns, wall_ns = clocks(event)
        # two readings, one tick apart, stand between the clocks
        assert abs(perf_ns - (5_000_000 - 7_000_000)) <= 20_000
        assert abs(wall_ns - (10**18 - 7_000_000)) <= 20_000
    assert orjson.loads(said.payload)["transcript"] == "hello"
    assert orjson.loads(error.payload)["message"] == "no"
    assert orjson.loads(start.payload)[RAW] == {"created_at": 999_999_999.993, "text": "Ada"}
    assert clocks(end)[0] - clocks(first)[0] > 9 * 10**8
    assert (said.hook, traced.hook) == ("set_user_transcript", "traces.agent_say_called")


@given(HOSTILE | st.sampled_from([2**63, -(2**63), 1e300]), HOSTILE)
def test_nothing_raises_whatever_it_is_handed(time: object, raw: object) -> None:
    """Break: in eventstore/recording/recorder.py, ``_nanoseconds``, raise nothing."""
    store = MemoryStore()
    with Recorder(store, "s", scheduler=no_timers, durability="memory") as recorder:
        recorder.happened(time, raw).set_user_transcript("hello")  # type: ignore[arg-type]
        recorder.happened(10**18, {"x": raw}).set_user_transcript(raw)  # type: ignore[arg-type]
        recorder.framework_event("x", raw)  # type: ignore[arg-type]
    for event in store.read("s"):
        admit(event)
    replay(store.read("s"))


def test_sealed_it_keeps_its_time_and_hides_what_was_said(tmp_path: Path) -> None:
    """Break: in eventstore/hooks/content.py, ``without_content``, leave out ``RAW``."""
    store = open_store(tmp_path / "calls.db", master_key=KEY)
    with Recorder(store, "s", scheduler=no_timers) as recorder:
        recorder.start_turn()
        recorder.happened(10**18, {"created_at": 1.5, "text": "Ada"}).set_user_transcript("my name is Ada")
        recorder.framework_event("x", {"who": "Ada", "n": 1})
    opened = [clocks(event) for event in store.read("s")]
    store.close()
    assert b"Ada" not in (tmp_path / "calls.db").read_bytes()
    blind = open_store(tmp_path / "calls.db", master_key="")
    events = list(blind.read("s"))
    assert [clocks(event) for event in events] == opened
    assert orjson.loads(events[1].payload)[RAW] == {}
    blind.close()
