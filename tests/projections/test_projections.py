"""The public functions of the projections."""

from __future__ import annotations

import msgspec
import orjson
import pytest
from hypothesis import given

from eventstore import HOOKS, Event, Recorder, canonical
from eventstore.errors import NotCanonical
from eventstore.stores.memory import MemoryStore
from projections import State, Turn, UnknownRules, begin, call_dict, fold, replay
from projections.reference.metrics import Eou
from projections.reference.spans.lifecycle import identities
from projections.reference.timing import e2e
from support.program import FIXTURES
from support.strategies import sessions, streams
from turnlog import (
    Clock,
    analytics_payloads,
    interruptions,
    latency,
    signals,
    span_tree,
    turns,
)
from turnlog.recordings import events_of, read_recordings

DEMO = next(iter(read_recordings(FIXTURES / "demo.jsonl.gz")))
EVENTS = events_of(*DEMO)


@given(streams(max_size=60))
def test_each_projection_alone_is_its_part_of_the_replay(events: list[Event]) -> None:
    call = replay(events)
    assert turns(events) == call.turns
    assert analytics_payloads(events) == call.payloads
    assert signals(events) == (call.emits, call.playground)
    assert span_tree(events) == call.spans
    assert interruptions(events) == call.interruptions
    assert len(latency(events)) == len(call.turns)


@pytest.mark.parametrize("name", ["recordings", "conformance"])
def test_each_projection_alone_is_its_part_of_a_real_replay(name: str) -> None:
    """Break: in projections/reference/spans/turn.py, ``trace_turn``, fill in nothing where no spans are wanted."""
    for place, recording in read_recordings(FIXTURES / f"{name}.jsonl.gz"):
        events = events_of(place, recording)
        call = replay(events)
        assert turns(events) == call.turns
        assert analytics_payloads(events) == call.payloads
        assert interruptions(events) == call.interruptions


def test_the_demo_call_by_hand() -> None:
    found = turns(EVENTS)
    assert [turn.user_speech for turn in found] == [
        None,
        "What is your return policy?",
        "Wait, stop, I meant the other order please.",
        "The one from last Friday.",
    ]
    (interrupted,) = interruptions(EVENTS)
    assert (interrupted.turn, interrupted.carried_over) == (2, ["vad"])
    second = latency(EVENTS)[1]
    assert second.stt is not None
    assert second.eou is not None
    assert second.ttft is not None
    assert second.tts is None  # an interrupted agent never reports that it stopped speaking
    assert second.e2e == round(second.stt + second.eou + second.ttft, 4)


def test_a_discarded_turn_is_kept_with_its_reason() -> None:
    store = MemoryStore()
    with Recorder(store, "s") as recorder:
        recorder.on_eou_start()
        recorder.on_eou_complete()
        recorder.complete_turn()
        recorder.on_user_speech_start()
        recorder.complete_turn()
        recorder.on_user_speech_start()
    call = replay(store.read("s"))
    assert len(call.turns) == 1
    (discarded,) = call.discarded
    assert "no latency was measured" in discarded.reason
    assert discarded.at == 4
    assert call.current_turn is not None
    assert call.current_turn.user_speech_start_time == discarded.turn.user_speech_start_time


def test_events_out_of_order_are_refused() -> None:
    with pytest.raises(NotCanonical, match=r"store\.read\(\), or sort them with canonical\(\)"):
        replay(reversed(EVENTS))
    with pytest.raises(NotCanonical, match="comes after event 0"):
        replay([EVENTS[0], EVENTS[0]])
    other = msgspec.structs.replace(EVENTS[5], session_id="another", origin="o2")
    with pytest.raises(NotCanonical, match="two sessions"):
        replay([*EVENTS[:5], other])
    assert replay(canonical(reversed(EVENTS))) == replay(EVENTS)


def test_an_origin_may_have_an_empty_name() -> None:
    """Break: in projections/reference/state.py, begin with ``origin: str = ""``."""
    unnamed = [msgspec.structs.replace(event, origin="") for event in EVENTS]
    assert replay(unnamed) == replay(EVENTS)


def test_unknown_rules_are_named() -> None:
    with pytest.raises(UnknownRules, match=r"'2\.0'; known: videosdk-1\.0"):
        replay(EVENTS, rules="2.0")


def test_a_sum_of_nothing_but_minus_zero_is_zero() -> None:
    """The reference starts its sum at 0; found by `differential`, seed zz9, in a span's text."""
    turn = Turn(eou_metrics=[Eou(eou_latency=-0.0)])
    assert str(e2e(turn)) == "0.0"
    assert e2e(Turn()) is None


def test_times_that_agents_give_as_integers_stay_integers() -> None:
    """Reading a state back must not turn a 1 into a 1.0: it is text in spans, and a number in payloads."""
    store = MemoryStore()
    with Recorder(store, "s") as recorder:
        recorder.traces.start_agent_joined_meeting({"start_time": 1})
        recorder.on_eou_start()
        recorder.add_function_tool_call("t", None, None, 1, 3)
        recorder.add_mcp_tool_call("local", None, None, None, 1, 3)
    state = fold(begin(), store.read("s"))
    encoded = msgspec.json.encode(state)
    assert msgspec.json.encode(msgspec.json.decode(encoded, type=State)) == encoded


@given(sessions())
def test_span_ids_are_derived_and_unique(events: list[Event]) -> None:
    ordered = canonical(events)
    state = fold(begin(), ordered)
    spans = [*state.spans, *state.traces.open.values()]
    found = identities("s", spans)
    assert len({span_id for _trace, span_id in found.values()}) == len(spans)
    for span in spans:
        if span.parent is not None:
            assert found[span.id][0] == found[span.parent][0], "one trace"
    half = fold(begin(), ordered[: len(ordered) // 2])
    earlier = identities("s", [*half.spans, *half.traces.open.values()])
    assert earlier.items() <= found.items(), "an export that goes on later uses the same ids"


def test_a_replay_survives_what_no_reference_expected() -> None:
    """Arguments of wrong types: the reference raises into its caller; the replay records where, and continues."""
    store = MemoryStore()
    with Recorder(store, "s", clock=Clock(lambda: 10**9, lambda: 10**18)) as recorder:
        recorder.on_user_speech_start()
        recorder.add_tts_characters("many")  # type: ignore[arg-type]
        recorder.set_llm_usage([1])  # type: ignore[arg-type]
        recorder.on_fallback_event(7)  # type: ignore[arg-type]
        recorder.add_function_tool_call({"a": -1}, start_time="noon")  # type: ignore[arg-type]
        recorder.set_user_transcript({"deep": [-1]})  # type: ignore[arg-type]
        recorder.on_llm_start()
        recorder.on_llm_first_token()
        recorder.complete_turn()
    call = replay(store.read("s"))
    assert [raised.at for raised in call.raised] == [1, 2, 3]
    assert len(call.turns) == 1
    assert call.payloads[0]["user_speech"] == {"deep": [0]}
    assert call.emits[0].data == {"text": {"deep": [-1]}}  # sent before the payload was made
    orjson.dumps(call_dict(call))


def test_what_is_left_at_the_end_of_the_session_is_no_turn() -> None:
    """Break: in reference/handlers/session.py, ``finalize_session``, start a turn after the last."""
    made = [
        (0, "on_agent_speech_start"), (100, "on_user_speech_start"), (200, "on_user_speech_end"),
        (250, "on_interrupted"), (300, "on_user_speech_start"), (400, "on_user_speech_end"), (500, "finalize_session"),
    ]  # fmt: skip
    events = [
        Event("s", "o", seq, hook, HOOKS[hook].version, ms * 10**6 + 10**9, ms * 10**6, "{}")
        for seq, (ms, hook) in enumerate(made)
    ]
    state = fold(begin(), events)
    assert (len(state.turns), state.total_turns) == (1, 1)
    assert state.interruptions[0].carried_over == ["vad"]
