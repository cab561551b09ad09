"""The caller's reading over OTLP: whose spans they are, a trace a turn, and what is sent while a call goes on."""

from __future__ import annotations

import math
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan

from eventstore import Event, Store
from exporters.delivery.outbox import QUIET_NS, deliver, due_cursors
from exporters.otlp.spans import Profile, Spans, otel_spans, resource_of
from projections.caller import read
from projections.readings import framework_of, reading
from projections.reference.replay import Call
from projections.reference.rules import UnknownRules
from support.logs import QUESTION, RECORDED, Log, events
from support.strategies import streams

ANSWERED: Log = [*QUESTION, (4000, "on_agent_speech_end", {})]
ENDED: Log = [*ANSWERED, (5000, "finalize_session", {})]
LIVEKIT: Log = [(0, "set_framework", {"name": "livekit-agents", "version": "1.2.3"})]


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def check_traces(spans: list[ReadableSpan], *, by_turn: bool) -> None:
    """One root in each trace, no orphans; a turn is a root if it is a trace of its own."""
    traces: dict[int, list[ReadableSpan]] = {}
    for span in spans:
        assert span.context is not None
        traces.setdefault(span.context.trace_id, []).append(span)
    for inside in traces.values():
        ids = {span.context.span_id for span in inside if span.context}
        roots = [span for span in inside if span.parent is None]
        assert len(roots) == 1
        assert all(parent in ids for span in inside if (parent := parent_of(span)) is not None)
        assert not by_turn or roots[0].name.startswith(("Turn #", "Agent Session"))
    encode_spans(spans)


@pytest.mark.parametrize("profile", ["reference", "semconv"])
def test_traces_of_recordings(profile: Profile) -> None:
    """Break: in exporters/otlp/semconv.py, ``turns_as_roots``, keep the parent of a turn."""
    for made in RECORDED.values():
        r = read(made)
        spans = otel_spans(r, profile)
        check_traces(spans, by_turn=profile == "semconv")
        assert len({span.context.trace_id for span in spans if span.context}) == (
            1 if profile == "reference" else len(r.turns) or 1
        )


@given(streams(max_size=40))
def test_traces_of_calls_that_make_no_sense(made: list[Event]) -> None:
    """Whatever it is, OTLP can carry it."""
    r = read(made)
    check_traces(otel_spans(r), by_turn=False)
    spans = otel_spans(r, "semconv")
    check_traces(spans, by_turn=True)
    for span in spans:
        for value in (span.attributes or {}).values():
            assert isinstance(value, (str, bool, int, float))
            assert not isinstance(value, float) or math.isfinite(value)


def test_the_resource_names_the_framework_and_its_version() -> None:
    """Break: in exporters/otlp/spans.py, ``resource_of``, return the reference's."""
    said = resource_of(read(events([*LIVEKIT, *ENDED])), {"openinference.project.name": "calls"}).attributes
    assert (said["service.name"], said["sdk.name"], said["sdk.version"]) == (
        "livekit-agents",
        "livekit-agents",
        "1.2.3",
    )
    assert said["openinference.project.name"] == "calls"
    assert resource_of(read(events(ENDED)), {"service.name": "mine"}).attributes["service.name"] == "mine"
    framework = resource_of(reading(events(ENDED), "videosdk-1.0.24"), {}).attributes
    assert (framework["service.name"], framework["sdk.version"]) == ("videosdk-otel-telemetry-agents", "1.0.24")
    assert resource_of(reading(events(ENDED), "videosdk-1.0"), {}).attributes["sdk.version"] == "1.0.2"


def test_a_turn_is_a_root_with_input_output_and_its_wait() -> None:
    usage = {"usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}}
    tool = {"call_id": "c", "tool_name": "look", "tool_params": {"a": 1}, "run_id": None}
    log: Log = [*QUESTION[:6], (2600, "tool_started", tool),
                (2700, "tool_ended", {"call_id": "c", "status": "done", "tool_response": "no"}), *QUESTION[6:],
                (3100, "set_llm_usage", usage), (4000, "on_agent_speech_end", {}),
                (5000, "finalize_session", {})]  # fmt: skip
    spans = {span.name: span for span in otel_spans(read(events(log)), "semconv")}
    turn, llm = spans["Turn #1"].attributes or {}, spans["LLM Processing"].attributes or {}
    called, wait = spans["Invoked Tool: look"].attributes or {}, spans["Response"]
    assert spans["Turn #1"].parent is None
    assert (turn["input.value"], turn["output.value"], turn["turnlog.latency.response_ms"]) == (
        "Hi.",
        "Good day.",
        1000.0,
    )
    assert ((wait.end_time or 0) - (wait.start_time or 0)) == 10**9
    assert (llm["llm.token_count.prompt"], llm["gen_ai.usage.output_tokens"], llm["output.value"]) == (
        7,
        5,
        "Good day.",
    )
    assert llm["gen_ai.response.time_to_first_chunk"] == 0.3
    assert (called["tool.name"], called["input.value"], called["output.value"]) == ("look", '{"a":1}', "no")
    assert all((span.attributes or {})["session.id"] == "s" for span in spans.values())


def test_what_is_no_turns_is_an_event_of_the_last_one() -> None:
    """Break: in exporters/otlp/semconv.py, ``turns_as_roots``, leave the rest out."""
    say: Log = [(10, "traces.agent_say_called", {"message": "early"})]
    spans = otel_spans(read(events([*say, *ENDED])), "semconv")
    (turn,) = (span for span in spans if span.parent is None)
    assert {"Agent Say", "Agent Session"} <= {event.name for event in turn.events}


# delivery -------------------------------------------------------------------------------------------------------------


class Collected:
    """What a sender would send, by what it was asked to."""

    address = "here"

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def send(self, request: Any) -> None:
        self.requests.append(request)

    def close(self) -> None: ...

    def names(self) -> list[str]:
        return [
            span.name
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def at_wall(made: list[Event], last_ns: int) -> list[Event]:
    by = last_ns - made[-1].wall_ns
    return [msgspec.structs.replace(event, wall_ns=event.wall_ns + by) for event in made]


@pytest.mark.parametrize("profile", ["reference", "semconv"])
def test_a_turn_is_sent_when_it_is_over_and_a_killed_call_when_it_was_quiet(
    sqlite: Store, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break: in exporters/delivery/outbox.py, ``due_cursors``, forget the quiet ones;

    or in ``_advance``, take no call as going on.
    """
    again = [(ms + 60_000, hook, args) for ms, hook, args in QUESTION]
    now = time.time_ns()
    sqlite.append(at_wall(events([*ANSWERED, *again]), now))
    sender = Collected()
    to = Spans(sender, profile)

    def sent() -> list[str]:
        before = len(sender.names())
        outcomes = list(deliver(sqlite, to, due_cursors(sqlite, to.name), workers=1))
        assert [(outcome.left, outcome.parked) for outcome in outcomes] in ([], [(None, None)])
        return sender.names()[before:]

    first = sent()
    assert "Turn #1" in first
    assert not {"Turn #2", "Agent Session"} & set(first), "these may change"
    assert due_cursors(sqlite, to.name) == []
    monkeypatch.setattr(time, "time_ns", lambda: now + QUIET_NS + 1)
    rest = sent()
    assert "Turn #2" in rest
    assert "Turn #1" not in rest, "it is not sent again"
    assert ("Agent Session" in rest) == (profile == "reference")
    assert due_cursors(sqlite, to.name) == []


# which reading --------------------------------------------------------------------------------------------------------


def test_the_reading_of_the_release_that_the_session_names() -> None:
    """Break: in projections/readings.py, ``release``, take the next release instead of the one before."""
    for version, rules in [("", "videosdk-1.0"), ("1.0.2", "videosdk-1.0"), ("1.0.13", "videosdk-1.0.11"),
                           ("1.0.24", "videosdk-1.0.24"), ("2.0", "videosdk-1.0.30"),
                           ("0.0.40", "videosdk-1.0")]:  # fmt: skip
        log: Log = [(0, "set_framework", {"name": "videosdk-agents", "version": version})] if version else []
        for how in ("framework", "drop-in"):
            found = reading(events([*log, *ENDED]), how)
            assert isinstance(found, Call)
            assert found.rules == rules
    assert framework_of(events([*LIVEKIT, *ENDED])) == ("livekit-agents", "1.2.3")
    assert reading(events([*LIVEKIT, *ENDED]), "drop-in").rules == "turnlog"
    with pytest.raises(
        UnknownRules, match=r"livekit-agents has no rule sets of its own; known: turnlog, videosdk-1\.0"
    ):
        reading(events([*LIVEKIT, *ENDED]), "framework")
