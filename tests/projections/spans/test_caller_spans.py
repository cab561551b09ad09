"""The span tree of the caller's reading: properties for any call, and specific situations."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import Event, canonical
from projections.caller import Reading, read
from projections.spans import Span, identities
from support.examples import examples
from support.logs import QUESTION, RECORDED, Log, events
from support.strategies import sessions, streams

recorded = pytest.mark.parametrize("made", RECORDED.values(), ids=RECORDED)


def by_id(spans: list[Span]) -> dict[str, Span]:
    found = {span.id: span for span in spans}
    assert len(found) == len(spans), "an id is of one span"
    return found


def check_tree(r: Reading) -> None:
    """One root; every parent is there, and covers its children; nothing ends before it starts."""
    found = by_id(r.spans)
    assert [span.id for span in r.spans if span.parent is None] == ["session"]
    assert r.spans[-1].id == "session"
    for span in r.spans:
        assert span.start_ns <= span.end_ns, span
        assert (span.turn is None) == (span.kind != "turn" and span.parent in (None, "session"))
        if span.parent is not None:
            parent = found[span.parent]
            assert parent.start_ns <= span.start_ns, (parent, span)
            assert span.end_ns <= parent.end_ns, (parent, span)
        for event in span.events:
            assert event["name"] != "exception" or span.start_ns <= event["time_ns"] <= span.end_ns
    ids = identities("s", r.spans)
    assert len({span_id for _trace, span_id in ids.values()}) == len(r.spans)
    assert len({trace for trace, _span in ids.values()}) == 1


def check_traces_by_turn(r: Reading) -> None:
    found = by_id(r.spans)
    ids = identities("s", r.spans, by_turn=True)
    for span in r.spans:
        if span.parent is not None and span.kind != "turn":
            assert ids[span.id][0] == ids[found[span.parent].id][0]
    assert len({trace for trace, _span in ids.values()}) == len(r.exchanges) + 1


def check_each_activity_once(r: Reading) -> None:
    """In its turn's span, or in the session's; a log line is an event of one of these."""
    made, turns = Counter(span.id for span in r.spans), [span for span in r.spans if span.kind == "turn"]
    assert len(turns) == len(r.exchanges)
    found = by_id(r.spans)
    for x, turn in zip(r.exchanges, turns, strict=True):
        for part in [*x.voices, *x.parts]:
            if part.kind != "log":
                assert made[f"{part.kind}:{part.at}"] == 1
                assert found[f"{part.kind}:{part.at}"].parent == ("session" if part.kind == "sound" else turn.id)
    for left in r.assembly.unassigned:
        if left.activity.kind != "log":
            assert found[f"{left.activity.kind}:{left.activity.at}"].parent == "session"
    lines = sum(activity.kind == "log" for activity in r.timeline.activities)
    assert sum(event["name"] == "log" for span in r.spans for event in span.events) == lines or lines > 100


def check_cut_off(r: Reading) -> None:
    """Exactly the spans without a reported end are marked."""
    t = r.timeline
    marked = "cut_off" in r.spans[-1].attributes
    assert marked == (not (t.ended or t.left))
    assert not any("cut_off" in span.attributes for span in r.spans) or marked


def check(made: list[Event]) -> None:
    r = read(made)
    check_tree(r)
    check_traces_by_turn(r)
    check_each_activity_once(r)
    check_cut_off(r)


@settings(max_examples=examples(80))
@given(streams(max_size=60))
def test_laws_of_generated_calls(made: list[Event]) -> None:
    """Break: in spans/tree.py, end a turn with the agent's last speech."""
    check(made)


@given(sessions(), st.randoms(use_true_random=False))
def test_arrival_order_does_not_matter(made: list[Event], chance: Any) -> None:
    again = [*made, *made[:3]]
    chance.shuffle(again)
    one, other = (msgspec.json.encode(read(canonical(some)).spans) for some in (made, again))
    assert one == other
    check(canonical(made))


@recorded
def test_laws_of_real_calls(made: list[Event]) -> None:
    check(made)


@pytest.mark.parametrize("name", ["barge_in_vad", "agent_handoff", "errors_llm", "realtime_hybrid_tts"])
def test_a_call_that_was_killed_at_any_event(name: str) -> None:
    """Break: in spans/tree.py, leave out what has no end."""
    made = RECORDED[name]
    for cut in range(1, len(made)):
        check(made[:cut])


def grows_at_its_end(made: list[Event], every: int) -> None:
    whole = [span.id for span in read(made).spans]
    parents = {span.id: span.parent for span in read(made).spans}
    for cut in range(1, len(made), every):
        part = read(made[:cut], ongoing=True).spans
        assert [span.id for span in part] == whole[: len(part)]
        assert all(parents[span.id] == span.parent for span in part)


@recorded
def test_what_is_sent_while_a_call_goes_on_stays(made: list[Event]) -> None:
    """No exported span disappears or changes when more events arrive.

    Break: in spans/tree.py, ``settled``, say True; or leave out the words that STT still works on.
    """
    grows_at_its_end(made, 1 if len(made) < 200 else 11)


# situations -----------------------------------------------------------------------------------------------------------

ATTACHED: Log = [
    (0, "set_traces_flow_manager", {"attached": True}),
    (0, "traces.start_agent_joined_meeting", {"attributes": {"agent_name": "Ann", "peerId": "p"}}),
]


def named(r: Reading, name: str) -> Span:
    (found,) = (span for span in r.spans if span.name == name)
    return found


def ms(span: Span) -> tuple[float, float]:
    """Milliseconds from the first event."""
    return (span.start_ns - 10**18) / 1e6, (span.end_ns - 10**18) / 1e6


@pytest.mark.parametrize("opened", [False, True])
def test_say_and_reply_outside_of_the_session_span(opened: bool) -> None:
    """Break: in timeline/handlers/traces.py, do not add them."""
    first = [*ATTACHED, (10, "traces.agent_say_called", {"message": "early"})]
    inside: Log = [(20, "traces.start_agent_session", {"attributes": {}}), (900, "traces.end_agent_session", {})]
    last: Log = [(950, "traces.agent_reply_called", {"instructions": "late"}), (990, "traces.agent_meeting_end", {})]
    r = read(events([*first, *(inside if opened else []), *last]))
    assert (named(r, "Agent Say").parent, ms(named(r, "Agent Say"))) == ("session", (10, 10))
    assert (named(r, "Agent Reply").parent, ms(named(r, "Agent Reply"))) == ("session", (950, 950))
    assert named(r, "Agent Say").attributes == {"Agent Say Message": "early"}
    assert named(r, "Agent Reply").attributes == {"Agent Reply Instructions": "late"}
    assert r.spans[-1].attributes["agent_name"] == "Ann"
    assert "cut_off" not in r.spans[-1].attributes


@pytest.mark.parametrize("closed", [True, False])
def test_an_end_of_speech_that_is_reported_late(closed: bool) -> None:
    """The turn, the span and the ledger agree.

    Break: in spans/tree.py, ``_yield_interval``, leave the moment.
    """
    close: Log = [(4310, "complete_turn", {})] if closed else []
    r = read(
        events(
            [
                *QUESTION,
                (4000, "on_user_speech_start", {}),
                (4300, "on_interrupted", {}),
                *close,
                (6300, "on_agent_speech_end", {}),
                (6500, "on_user_speech_end", {}),
                (6600, "finalize_session", {}),
            ]
        )
    )
    (record,) = r.barge_ins
    assert record.yield_ms == r.turns[0].barge_ins[0]["yield_ms"] == 2300
    cut = named(r, "Turn Interrupted")
    assert (ms(cut), cut.attributes["yield_ms"], cut.attributes["barge_in"]) == ((4000, 6300), 2300, "true")
    assert ms(named(r, "Agent Output Speech")) == (3000, 6300)
    assert ms(named(r, "Turn #1")) == (1000, 6300)


def test_a_realtime_model_that_falls_silent_under_the_user() -> None:
    """It is a barge-in without a hook. Break: in spans/tree.py, leave `_unreported_interruption` out."""
    model = {"component_type": "realtime", "provider_class": "R", "model_name": "r"}
    r = read(events([
        (0, "set_provider_info", model), (1000, "on_user_speech_start", {}), (2000, "on_user_speech_end", {}),
        (2500, "on_agent_speech_start", {}), (4000, "on_user_speech_start", {}), (4400, "on_agent_speech_end", {}),
        (5000, "on_user_speech_end", {}), (5500, "on_agent_speech_start", {}), (6000, "on_agent_speech_end", {}),
        (6100, "finalize_session", {}),
    ]))  # fmt: skip
    assert ms(named(r, "Turn Interrupted")) == (4000, 4400)
    assert named(r, "Turn Interrupted").parent == r.spans[[s.name for s in r.spans].index("Turn #1")].id


def test_a_call_that_was_killed_is_one_tree() -> None:
    r = read(events([*ATTACHED, *QUESTION]))
    root, turn, speech = r.spans[-1], named(r, "Turn #1"), named(r, "Agent Output Speech")
    for span in (root, turn, speech):
        assert span.attributes["cut_off"] is True
        assert (span.status, ms(span)[1]) == ("ERROR", 3000)
    assert turn.parent == root.id
    assert "cut_off" not in named(r, "LLM Processing").attributes, "it had ended"


def test_a_tool_without_an_end_in_a_turn_that_is_over_does_not_last_until_the_end_of_the_call() -> None:
    """Break: in spans/tree.py, ``_TurnSpans``, let every turn last until then."""
    again = [(ms + 60_000, hook, args) for ms, hook, args in QUESTION]
    called: Log = [(2600, "tool_started", {"call_id": "c", "tool_name": "look", "tool_params": {}, "run_id": None})]
    r = read(
        events(
            [
                *QUESTION[:6],
                *called,
                *QUESTION[6:],
                (4000, "on_agent_speech_end", {}),
                *again,
                (65_000, "on_agent_speech_end", {}),
                (66_000, "finalize_session", {}),
            ]
        )
    )
    assert [turn.user_speech for turn in r.turns] == ["Hi.", "Hi."]
    assert ms(named(r, "Turn #1"))[1] == 4000
    tool = named(r, "Invoked Tool: look")
    assert (ms(tool), tool.attributes["unfinished"]) == ((2600, 4000), True)


def test_an_error_is_an_exception() -> None:
    r = read(events([*QUESTION[:6], (2600, "add_error", {"source": "LLM", "message": "no capacity"})]))
    error = named(r, "LLM Error")
    assert (error.status, error.status_message, error.turn) == ("ERROR", "no capacity", 1)
    assert error.events == [
        {
            "name": "exception",
            "time_ns": error.start_ns,
            "attributes": {"exception.type": "LLM", "exception.message": "no capacity"},
        }
    ]
    assert named(r, "LLM Processing").status == "ERROR"
    assert named(r, "Turn #1").status == "ERROR"


def test_the_response_is_a_span_of_its_turn() -> None:
    """A trace viewer shows the response as a latency. Break: in spans/tree.py, leave it out."""
    r = read(events([*QUESTION, (4000, "on_agent_speech_end", {}), (5000, "finalize_session", {})]))
    waited = named(r, "Response")
    assert (ms(waited), waited.attributes["latency.response_ms"]) == ((2000, 3000), 1000)
    parts = [value for name, value in waited.attributes.items() if name.startswith("latency.response.")]
    assert sum(parts) == 1000
    assert named(r, "Turn #1").attributes["latency.response_ms"] == r.turns[0].e2e_latency


def test_log_lines_are_events_of_their_turn() -> None:
    line = {"level": "INFO", "logger": "a", "message": "hello", "created": None, "attributes": {}}
    r = read(events([*QUESTION, (3100, "log_record", line)]))
    (event,) = (event for event in named(r, "Turn #1").events if event["name"] == "log")
    assert event["attributes"] == {"level": "INFO", "logger": "a", "message": "hello"}
    assert event["time_ns"] == 10**18 + 3_100 * 10**6


def test_messages_to_other_agents_are_spans_of_the_session() -> None:
    r = read(
        events(
            [
                *ATTACHED,
                (100, "traces.create_a2a_trace", {"name": "ask", "attributes": {"to": "b"}}),
                (300, "traces.end_a2a_trace", {"index": 0, "message": ""}),
                (400, "traces.agent_meeting_end", {}),
            ]
        )
    )
    sent = named(r, "A2A: ask")
    assert (sent.parent, ms(sent), sent.attributes) == ("session", (100, 300), {"to": "b"})
