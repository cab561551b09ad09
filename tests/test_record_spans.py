"""The spans of the rule set ``corrected``: each in its parent, each error once, and nothing of the clock at hand."""

from __future__ import annotations

import copy
import math
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from conftest import FIXTURES
from eventstore import HOOKS, Event, canonical
from exporters.otlp import Profile, otel_spans
from exporters.perfetto import trace
from projections import State, begin, call_dict, fold, replay
from projections.containment import contained
from projections.reference.replay import Call, call_of, span_tree
from projections.reference.rules import find
from projections.reference.span import typed
from projections.reference.state import Span
from span_cases import CASES, OPEN, Log, parents, provider
from strategies import ARGUMENTS, JSON, NUMBER, OBJECT, sessions, streams
from turnlog.recordings import events_of, read_recordings

RECORDINGS = {r.name: list(events_of("", r)) for _place, r in read_recordings(FIXTURES / "recordings.jsonl.gz")}
OF_RECORDS = "videosdk-1.0.30+spans_of_records+typed_attributes"


def events(log: Log) -> list[Event]:
    return [
        Event(
            "s",
            "o",
            seq,
            hook,
            HOOKS[hook].version,
            (1000 + ms) * 10**6,
            (1000 + ms) * 10**6,
            orjson.dumps(args).decode(),
        )
        for seq, (ms, hook, args) in enumerate(log)
    ]


def turn_of(*log: tuple[int, str, dict[str, Any]], rules: str = OF_RECORDS) -> Call:
    return replay(events([*OPEN, (0, "start_turn", {}), *log]), rules)


def found(call: Call, name: str) -> Span:
    (span,) = [span for span in call.spans if span.name == name]
    return span


def ms(span: Span) -> tuple[float, float]:
    assert span.end_ns is not None
    return (round(span.start_ns / 1e6, 3) - 1000, round(span.end_ns / 1e6, 3) - 1000)


@pytest.mark.parametrize("switch", CASES)
def test_a_switch_off_and_on(switch: str) -> None:
    """Break: do not ask for the switch where it is asked for; each case fails alone."""
    case = CASES[switch]
    assert case.seen(replay(events(case.log), case.under)) == case.off
    assert case.seen(replay(events(case.log), f"{case.under}+{switch}")) == case.on


# what holds for every session ---------------------------------------------------------------------------------------

MORE = [
    "add_error", "add_function_tool_call", "add_mcp_tool_call", "on_fallback_event", "on_false_interrupt_start",
    "on_false_interrupt_escalated", "on_knowledge_base_start", "set_realtime_usage", "set_traces_flow_manager",
    "traces.create_a2a_trace", "traces.agent_say_called", "traces.create_components_change_trace",
    "traces.end_main_turn",
]  # fmt: skip
TIMES = st.fixed_dictionaries({"start_time": NUMBER, "end_time": NUMBER})
GIVEN = ARGUMENTS | {"time_data": TIMES, "event_data": TIMES | OBJECT}


@st.composite
def eventful(draw: st.DrawFn, made: list[Event]) -> list[Event]:
    """The session with more of what makes spans: some hooks are others."""
    found = []
    for event in made:
        hook = event.hook if event.seq < 5 else draw(st.just(event.hook) | st.sampled_from(MORE))
        args = {name: draw(GIVEN.get(name, JSON)) for name in HOOKS[hook].arguments} if hook in MORE else {}
        payload = orjson.dumps(args).decode() if hook in MORE and event.seq > 4 else event.payload
        found.append(msgspec.structs.replace(event, hook=hook, version=HOOKS[hook].version, payload=payload))
    return found


ONE, SEVERAL = streams(max_size=50).flatmap(eventful), sessions().map(canonical).map(list).flatmap(eventful)


def holds(made: list[Event]) -> Call:
    """All that is said of the spans of a session; the call, for more."""
    call = replay(made, "corrected")
    every = {span.id: span for span in (*call.spans, *call.open_spans)}
    assert len(every) == len(call.spans) + len(call.open_spans) == call.spans_started
    assert call.span_failures == []
    for span in every.values():
        is_typed(span.attributes)
        assert span.end_ns is None or span.start_ns <= span.end_ns
        if span.parent is not None:
            lies_within(span, every[span.parent])
    ended = zip(call.payloads_at, call.turns, strict=False) if len(call.payloads_at) == len(call.turns) else ()
    for at, turn in ended:  # a turn that raised is completed again
        of_turn = [span for span in call.spans if span.at == at and span.name.startswith("Turn #")]
        traced = [span for span in call.spans if span.at == at and span.name.endswith(" Error")]
        if of_turn:
            assert sorted(span.status_message or "" for span in traced) == sorted(e["message"] for e in turn.errors)
            assert all(span.status == "ERROR" and span.start_ns == span.end_ns for span in traced)
    return call


def is_typed(attributes: dict[str, Any]) -> None:
    for value in attributes.values():
        items = value if type(value) is list else [value]
        assert len({type(item) for item in items}) <= 1
        for item in items:
            assert type(item) in (bool, int, float, str)
            assert type(item) is not float or math.isfinite(item)


def lies_within(child: Span, parent: Span) -> None:
    last = child.start_ns if child.end_ns is None else child.end_ns
    assert parent.start_ns <= child.start_ns, (parent, child)
    assert parent.end_ns is None or last <= parent.end_ns, (parent, child)


@settings(max_examples=100)
@given(ONE)
def test_spans_of_a_session(made: list[Event]) -> None:
    """Break: in projections/containment.py leave out either half of ``_holding``; in projections/record_spans.py,
    ``_fell_into``, return False at the end; in ``epoch_ns`` (reference/span.py) multiply ``time`` unguarded."""
    holds(made)


@settings(max_examples=60)
@given(SEVERAL)
def test_spans_of_a_session_of_several_origins(made: list[Event]) -> None:
    """Break: in projections/reference/span.py, ``end_span``, let a span end before it starts."""
    holds(made)


@pytest.mark.parametrize("name", RECORDINGS)
def test_spans_of_a_recorded_call(name: str) -> None:
    """Every turn is there, also the last, which is completed when the room is left.

    Break: in projections/record_spans.py, ``trace_turn_records``, take ``main_turn`` for the parent.
    """
    call = holds(RECORDINGS[name])
    assert sum(span.name.startswith("Turn #") for span in call.spans) == len(call.turns)
    assert call.open_spans == []
    assert sum(span.parent is None for span in call.spans) == 1


@settings(max_examples=60)
@given(ONE, st.data())
def test_spans_are_the_same_when_folded_again_and_in_halves(made: list[Event], data: st.DataObject) -> None:
    """Break: in projections/reference/state.py, let `Span.attributes` be text only."""
    rules = find("corrected")
    cut = data.draw(st.integers(0, len(made)))
    head = fold(begin(rules), made[:cut])
    read_back = msgspec.json.decode(msgspec.json.encode(head), type=State)
    call_of(head)  # a live reader looks in between
    whole = written(replay(made, rules))
    assert written(replay(copy.deepcopy(made), rules)) == whole
    assert written(call_of(fold(head, made[cut:]))) == whole
    assert written(call_of(fold(read_back, made[cut:]))) == whole
    assert msgspec.json.encode(span_tree(made, rules)) == msgspec.json.encode(replay(made, rules).spans)


def written(call: Call) -> bytes:
    return orjson.dumps(call_dict(call), option=orjson.OPT_NON_STR_KEYS)


@settings(max_examples=60)
@given(ONE)
def test_they_can_be_exported(made: list[Event]) -> None:
    """Break: in projections/reference/span.py, ``epoch_ns``, do not round."""
    exported(replay(made, "corrected"))


@pytest.mark.parametrize("name", RECORDINGS)
def test_those_of_a_recorded_call_can_be_exported(name: str) -> None:
    exported(replay(RECORDINGS[name], "corrected"))


def exported(call: Call) -> None:
    profiles: tuple[Profile, ...] = ("reference", "semconv")
    for profile in profiles:
        request = encode_spans(otel_spans(call, profile))
        request.SerializeToString()
        sent = [span for of in request.resource_spans for scope in of.scope_spans for span in scope.spans]
        assert len({span.span_id for span in sent}) == len(call.spans)
    assert orjson.loads(b"".join(trace([(call, 0)])))["traceEvents"]


# errors -------------------------------------------------------------------------------------------------------------

ERROR = {"source": "LLM", "message": "no"}


def test_an_error_falls_into_the_call_that_was_going_on() -> None:
    """Break: in projections/record_spans.py, ``_fell_into``, do not ask whether it had ended."""
    during = turn_of(
        (0, "on_llm_start", {}), (100, "add_error", ERROR), (200, "on_llm_complete", {}), (300, "complete_turn", {})
    )
    assert parents(during)["LLM Error"] == "LLM Processing"
    span = found(during, "LLM Processing")
    assert (span.status, span.status_message) == ("ERROR", "no")
    assert [(event["name"], event["attributes"]["message"]) for event in span.events] == [("error", "no")]
    assert span.events[0]["time_ns"] == found(during, "LLM Error").start_ns
    after = turn_of(
        (0, "on_llm_start", {}), (100, "on_llm_complete", {}), (200, "add_error", ERROR), (300, "complete_turn", {})
    )
    assert parents(after)["LLM Error"] == "Turn #1"
    assert found(after, "LLM Processing").status == "OK"
    assert ms(found(after, "Turn #1")) == (0, 200)


def test_a_call_that_never_ended_lasts_until_its_error() -> None:
    """Break: in projections/record_spans.py, ``_fell_into``, leave the part's end."""
    call = turn_of(
        (0, "on_llm_start", {}), (100, "add_error", ERROR), (150, "add_error", ERROR), (300, "complete_turn", {})
    )
    assert ms(found(call, "LLM Processing")) == (0, 150)
    assert [span.name for span in call.spans].count("LLM Error") == 2


@pytest.mark.parametrize(
    ("source", "hook", "name"),
    [("TURN-D", "on_eou_start", "EOU Error"), ("STT", "on_stt_start", "STT Error"),
     ("TTS", "on_tts_start", "TTS Error"), ("VAD", "on_user_speech_start", "VAD Error")],
)  # fmt: skip
def test_an_error_is_named_for_its_component(source: str, hook: str, name: str) -> None:
    """Break: in projections/record_spans.py, leave ``_SOURCES`` empty; or a part's ``source`` in record_parts.py."""
    call = turn_of((0, hook, {}), (50, "add_error", {"source": source, "message": "no"}), (100, "complete_turn", {}))
    assert str(parents(call)[name]).endswith(("Processing", "Detection"))


def test_an_error_of_a_realtime_model_or_of_nobody_known() -> None:
    call = turn_of(
        (0, "set_realtime_model_error", {"error": {"message": "gone"}}),
        (0, "add_error", {"source": {"odd": 1}, "message": "what"}),
        (0, "complete_turn", {}),
    )
    assert parents(call) == {
        "Realtime Error": "Turn #1",
        "{'odd': 1} Error": "Turn #1",
        "Turn #1": "User & Agent Turns",
    }


# times --------------------------------------------------------------------------------------------------------------

WORK: Log = [
    (0, "on_user_speech_start", {}), (100, "on_user_speech_end", {}), (100, "on_stt_start", {}),
    (200, "on_stt_complete", {"transcript": "hi"}), (200, "on_llm_start", {}), (300, "on_llm_first_token", {}),
    (350, "on_tts_start", {}), (400, "on_background_audio_start", {"file_path": "f"}), (450, "on_interrupted", {}),
    (500, "add_function_tool_call", {"tool_name": "t"}),
]  # fmt: skip


def test_no_time_is_that_of_who_completes_the_turn() -> None:
    """Break: in projections/record_spans.py, ``trace_turn_records``, add ``now`` to the times."""
    soon, late = (replay(events([*OPEN, *WORK, (at, "complete_turn", {})]), "corrected") for at in (600, 9000))
    assert [(s.name, s.start_ns, s.end_ns) for s in soon.spans] == [(s.name, s.start_ns, s.end_ns) for s in late.spans]
    assert len(soon.spans) > len(WORK) - 4


def test_a_start_or_an_end_that_is_unknown_is_the_first_or_last_thing_known() -> None:
    """Break: in projections/record_parts.py, ``_part``, take ``known[0]`` for the first and the last."""
    call = turn_of((100, "on_stt_complete", {"transcript": "hi"}), (200, "on_llm_start", {}),
                   (300, "on_llm_first_token", {}), (900, "complete_turn", {}))  # fmt: skip
    assert ms(found(call, "Speech to Text Processing")) == (100, 100)
    assert ms(found(call, "LLM Processing")) == (200, 300)
    assert ms(found(call, "Turn #1")) == (100, 300)


def test_a_turn_without_any_time_has_no_span() -> None:
    assert turn_of((100, "complete_turn", {})).spans == []


def test_tools_last_and_lie_in_the_call_that_went_on_meanwhile() -> None:
    """Break: in projections/record_parts.py, ``_tools``, yield all of them."""
    tools = [
        (700, "add_function_tool_call", {"tool_name": "inside", "start_time": 1.2, "end_time": 1.3}),
        (700, "add_function_tool_call", {"tool_name": "beside", "start_time": 1.5, "end_time": 1.7}),
        (700, "add_function_tool_call", {"tool_name": "text", "start_time": "soon", "end_time": "later"}),
        (700, "add_mcp_tool_call", {"tool_type": "http", "tool_url": None, "start_time": 1.25, "end_time": 1.3}),
    ]
    call = turn_of((0, "on_llm_start", {}), (400, "on_llm_complete", {}), *tools, (800, "complete_turn", {}))
    above = {name: parent for name, parent in parents(call).items() if name.startswith("Invoked")}
    assert above == {"Invoked Tool: inside": "LLM Processing", "Invoked Tool: beside": "Turn #1",
                     "Invoked MCP Tool: http": "LLM Processing"}  # fmt: skip
    assert ms(found(call, "Invoked Tool: beside")) == (500, 700)


def test_a_wait_ends_when_the_llm_is_asked_and_with_the_turn_at_the_latest() -> None:
    """Break: in projections/record_parts.py, ``_eou_wait``, let it end after the whole wait."""
    wait: Log = [
        (0, "on_eou_start", {}), (100, "on_eou_complete", {}),
        (100, "on_wait_for_additional_speech", {"duration": 5, "eou_probability": 0.25}),
    ]  # fmt: skip
    asked = turn_of(*wait, (300, "on_llm_start", {}), (400, "on_llm_complete", {}), (900, "complete_turn", {}))
    assert ms(found(asked, "EOU Wait")) == (100, 300)
    assert found(asked, "EOU Wait").attributes == {"eou_wait_ms": 5000.0, "eou_probability": 0.25}
    assert ms(found(turn_of(*wait, (900, "complete_turn", {})), "EOU Wait")) == (100, 100)


def test_what_is_no_time_costs_no_session() -> None:
    """Break: in projections/reference/span.py, ``start_span``, do not ask ``is_time``."""
    joined = (0, "traces.start_agent_joined_meeting", {"attributes": {"start_time": "early"}})
    assert replay(events([joined])).spans_started == 0
    assert replay(events([joined]), "corrected").spans_started == 1


def test_a_span_that_ends_before_it_starts_is_a_clock_error() -> None:
    """Break: in projections/reference/span.py, ``end_span``, do not append it."""
    change = {"components_change_status": None, "components_change_data": {}}
    log: Log = [
        *OPEN,
        (0, "traces.create_components_change_trace", {**change, "time_data": {"start_time": 3, "end_time": 1}}),
    ]
    call = replay(events(log), f"{OF_RECORDS}+spans_contained")
    assert [tuple(error) for error in call.clock_errors] == [(3, None, "span Components Change", -2000.0)]
    assert ms(found(call, "Components Change")) == (2000, 2000)
    assert call_dict(call)["clock_errors"][0]["what"] == "span Components Change"
    assert replay(events(log)).clock_errors == []


def test_one_clock_is_laid_on_the_epoch() -> None:
    """Break: in projections/reference/span.py, ``epoch_ns``, go by the wall clock of the event at hand."""
    log = events([*OPEN, *WORK, (600, "complete_turn", {})])
    stepped = [msgspec.structs.replace(e, wall_ns=e.wall_ns + (0 if e.seq < 6 else 10**12)) for e in log]
    plain, after = (fold(begin(find("corrected")), each) for each in (log, stepped))
    assert [(s.start_ns, s.end_ns) for s in plain.spans] == [(s.start_ns, s.end_ns) for s in after.spans]
    assert all(s.start_ns == plain.epoch_ns + round(s.start_time * 1e9) for s in plain.spans)


# interruptions ------------------------------------------------------------------------------------------------------


def test_interruptions_true_and_false_resumed_and_escalated() -> None:
    """Break: in projections/record_parts.py, ``parts_of``, ask for ``interruption_metrics`` before `_interruption`."""
    speaks = (0, "on_agent_speech_start", {})
    paused, over = (100, "on_false_interrupt_start", {"pause_duration": 2}), (900, "complete_turn", {})
    told, resumed, escalated = (
        (300, f"on_{name}", {}) for name in ("interrupted", "false_interrupt_resume", "false_interrupt_escalated")
    )
    for log, names in (
        ([told], ["Turn Interrupted"]),
        ([paused, resumed], ["False Interruption (Resumed)"]),
        ([paused, escalated], ["False Interruption (Escalated)"]),
        ([paused, escalated, told], ["False Interruption (Escalated)", "Turn Interrupted"]),
        ([paused], ["False Interruption"]),
    ):
        call = turn_of(speaks, *log, over)
        assert [span.name for span in call.spans if "nterr" in span.name] == names
        assert call.span_failures == []


def test_an_interruption_lasts_from_the_speech_to_the_silence() -> None:
    """Break: in projections/record_parts.py, ``_interruption``, take when the agent was told."""
    log: Log = [(0, "on_agent_speech_start", {}), (100, "on_false_interrupt_start", {}), (200, "on_interrupted", {})]
    s = fold(begin(find(OF_RECORDS)), events([*OPEN, *log]))
    assert s.turn is not None
    assert s.turn.interruption_metrics is not None
    s.turn.interruption_metrics.interrupt_start_time, s.turn.interruption_metrics.interrupt_end_time = 1.15, 1.25
    done = events([*OPEN, *[(0, "start_turn", {})] * 3, (300, "complete_turn", {})])[-1]
    call = call_of(fold(s, [done]))
    assert ms(found(call, "Turn Interrupted")) == (150, 250)


# attributes ---------------------------------------------------------------------------------------------------------


def test_values_without_a_type_are_text() -> None:
    """Break: in projections/reference/span.py, ``_typed``, take every list."""
    assert typed({"a": 1 << 63, "b": -(1 << 63), "c": math.nan, "d": [1, 2.0], "e": (True, False), "f": [], "": 1}) == {
        "a": str(1 << 63), "b": -(1 << 63), "c": "nan", "d": "[1, 2.0]", "e": [True, False], "f": [],
    }  # fmt: skip
    assert len(typed({str(n): n for n in range(200)})) == 127


def test_a_zero_is_a_value_and_what_serves_is_named() -> None:
    """Break: in projections/record_parts.py, ``known``, leave out what is false."""
    log: Log = [provider("tts"), (0, "on_tts_start", {}), (100, "on_tts_first_byte", {}), (200, "complete_turn", {})]
    span = found(turn_of(*log), "P: Text to Speech Processing")
    assert span.attributes == {"provider_class": "P", "model_name": "p", "start_timestamp": 1.0, "end_timestamp": 1.1,
                               "characters": 0}  # fmt: skip


def test_typed_values_arrive_typed_in_otlp() -> None:
    """Break: in exporters/semconv.py, ``_type``, say text of all."""
    call = replay(events(CASES["typed_attributes"].log), "corrected")
    for profile, prefix in (("reference", ""), ("semconv", "turnlog.")):
        request = encode_spans(otel_spans(call, profile))  # type: ignore[arg-type]
        (span,) = request.resource_spans[0].scope_spans[0].spans
        kinds = {a.key.removeprefix(prefix): a.value.WhichOneof("value") for a in span.attributes}
        assert {name: kinds[name] for name in ("count", "score", "on", "name")} == {
            "count": "int_value", "score": "double_value", "on": "bool_value", "name": "string_value",
        }  # fmt: skip
        assert kinds["tools"] == ("array_value" if profile == "reference" else "string_value")


def test_a_provider_may_be_called_anything() -> None:
    """Break: in exporters/semconv.py, ``_own``, take ``provider_class`` as it is; in ``attributes``, keep the turns."""
    named = (0, "set_provider_info", {"component_type": "llm", "provider_class": 7, "model_name": None})
    log: Log = [*OPEN, named, (0, "start_turn", {}), (0, "on_llm_start", {}), (100, "complete_turn", {})]
    call = replay(events(log), "videosdk-1.0+typed_attributes")
    (span,) = [span for span in otel_spans(call, "semconv") if span.name == "7: LLM Processing"]
    assert (span.attributes or {})["gen_ai.provider.name"] == "7"
    unnamed = (0, "set_provider_info", {"component_type": "llm", "provider_class": ["no name"], "model_name": None})
    log = [*OPEN, unnamed, (0, "start_turn", {}), (0, "on_llm_start", {}), (100, "complete_turn", {}), named]
    twice = replay(events([*log, (200, "complete_turn", {})]), "videosdk-1.0+typed_attributes")
    assert [error.error for error in twice.raised] == ["TypeError"]
    assert (len(twice.turns), len(twice.payloads)) == (2, 1)
    assert not any("turnlog.turn" in (span.attributes or {}) for span in otel_spans(twice, "semconv"))


def test_the_time_of_an_error_is_that_of_its_event_in_otlp() -> None:
    """Break: in exporters/otlp.py, ``_event``, take the span's end always."""
    call = turn_of(
        (0, "on_llm_start", {}), (100, "add_error", ERROR), (200, "on_llm_complete", {}), (300, "complete_turn", {})
    )
    (span,) = [span for span in otel_spans(call) if span.name == "LLM Processing"]
    assert [event.timestamp for event in span.events] == [found(call, "LLM Error").start_ns]


# containment --------------------------------------------------------------------------------------------------------


def test_a_parent_holds_its_children_and_no_span_is_changed() -> None:
    """Break: in projections/containment.py, go through the spans from the first to the last."""
    root, middle = Span(0, None, "root", 50, {}, 0.0), Span(1, 0, "middle", 60, {}, 0.0, 70)
    leaf, going_on = Span(2, 1, "leaf", 40, {}, 0.0, 90), Span(3, 1, "open", 95, {}, 0.0)
    before = msgspec.json.encode([root, middle, leaf, going_on])
    (kept, held), (top, still) = contained([leaf, middle], [root, going_on])
    assert msgspec.json.encode([root, middle, leaf, going_on]) == before
    assert kept is leaf
    assert still is going_on
    assert (held.start_ns, held.end_ns) == (40, 95)
    assert (top.start_ns, top.end_ns) == (40, None)


def test_a_turn_that_is_completed_after_the_room_was_left_is_traced() -> None:
    """Break: in projections/reference/handlers/traces.py, ``start_main_turn``, do not note the span."""
    left: Log = [(500, "set_traces_flow_manager", {"attached": False}), (500, "traces.agent_meeting_end", {}),
                 (600, "on_agent_speech_end", {}), (700, "finalize_session", {})]  # fmt: skip
    log: Log = [*OPEN, (0, "start_turn", {}), (100, "on_agent_speech_start", {}), *left]
    assert "Turn #1" not in parents(replay(events(log)))
    call = replay(events(log), f"{OF_RECORDS}+spans_contained")
    assert parents(call)["Turn #1"] == "User & Agent Turns"
    assert ms(found(call, "User & Agent Turns")) == (0, 600)
