"""The projections, each a function over a session's events, and `replay`, which computes all of them in one pass.

Events are those of one session in canonical order, as `Store.read` gives them. All functions raise `NotCanonical`,
`UnknownHook` and `NewerEvent` as `projections.reference.fold` does, and `UnknownRules`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from eventstore.event import Event
from projections.model import LogLine, SessionDetails
from projections.reference import rules as rule_sets
from projections.reference.fold import begin, fold
from projections.reference.metrics import Turn, turn_dict
from projections.reference.rules import VIDEOSDK_1_0, Rules
from projections.reference.spans.lifecycle import identities
from projections.reference.state import (
    Discarded,
    Emit,
    ForgottenTurn,
    Interrupted,
    PlaygroundMessage,
    Raised,
    Span,
    SpanFailure,
    State,
)
from projections.reference.timing import answering, milliseconds, wait_seconds


class Call(NamedTuple):
    """All projections of a call. ``…_at`` and ``at`` are indices into its events."""

    session_name: str
    """The session's name in the log; `SessionDetails.session_id` is the framework's."""
    rules: str
    events: int
    session: SessionDetails
    turns: list[Turn]
    """Completed turns."""
    current_turn: Turn | None
    """The open turn."""
    current_turn_session: SessionDetails | None
    """The session, if the open turn has it already (see `State.turn_has_session`)."""
    discarded: list[Discarded]
    interruptions: list[Interrupted]
    payloads: list[dict[str, Any]]
    payloads_at: list[int]
    emits: list[Emit]
    playground: list[PlaygroundMessage]
    spans: list[Span]
    """Ended spans, by end."""
    open_spans: list[Span]
    """Spans that have not ended, including those that the reference lost and never ends."""
    spans_started: int
    span_failures: list[SpanFailure]
    logs: list[LogLine]
    total_turns: int
    """Number of turns opened, including discarded ones."""
    total_interruptions: int
    forgotten: ForgottenTurn
    raised: list[Raised]


def call_of(s: State) -> Call:
    """The state of a fold as a `Call`; a view, not a copy."""
    return Call(
        session_name=s.session_name,
        rules=s.rules.name,
        events=s.at + 1,
        session=s.session,
        turns=s.turns,
        current_turn=s.turn,
        current_turn_session=s.session if s.turn_has_session else None,
        discarded=s.discarded,
        interruptions=s.interruptions,
        payloads=s.payloads,
        payloads_at=s.payloads_at,
        emits=s.emits,
        playground=s.playground,
        spans=s.spans,
        open_spans=list(s.traces.open.values()),
        spans_started=s.traces.started,
        span_failures=s.span_failures,
        logs=s.logs,
        total_turns=s.total_turns,
        total_interruptions=s.total_interruptions,
        forgotten=s.forgotten,
        raised=s.raised,
    )


def replay(events: Iterable[Event], rules: str | Rules = VIDEOSDK_1_0) -> Call:
    """All projections in one pass."""
    return call_of(fold(begin(rule_sets.find_rules(rules)), events))


def _lean(events: Iterable[Event], rules: str | Rules, *, spans: bool = False, signals: bool = False) -> State:
    return fold(begin(rule_sets.find_rules(rules), spans=spans, signals=signals), events)


def turns(events: Iterable[Event], rules: str | Rules = VIDEOSDK_1_0) -> list[Turn]:
    """The completed turns."""
    return _lean(events, rules).turns


def interruptions(events: Iterable[Event], rules: str | Rules = VIDEOSDK_1_0) -> list[Interrupted]:
    """Barge-ins in turn order, each with the entries carried over to the next turn."""
    return _lean(events, rules).interruptions


class Latency(NamedTuple):
    """Latencies of a turn in milliseconds; None where nothing was measured."""

    turn: int
    """Number among the completed turns, from 1."""
    e2e: float | None
    """The sum that `projections.reference.timing.e2e` computes."""
    stt: float | None
    eou: float | None
    eou_wait: float | None
    """Endpointing delay after the EOU inference; part of the sum with ``eou_wait_in_e2e``."""
    ttft: float | None
    """LLM: time to first token."""
    tts: float | None
    """From the request to the first byte, set when the agent has finished speaking."""
    ttfb: float | None
    """TTS: time to first byte, set immediately; not part of the sum."""
    realtime: float | None


def latency(events: Iterable[Event], rules: str | Rules = VIDEOSDK_1_0) -> list[Latency]:
    """Latencies by turn and component."""
    return [latency_of(turn, number) for number, turn in enumerate(turns(events, rules), 1)]


def latency_of(turn: Turn, number: int) -> Latency:
    """A turn's latencies; the last entry of each component counts."""
    stt, eou, llm, tts = answering(turn)
    return Latency(
        turn=number,
        e2e=turn.e2e_latency,
        stt=stt.stt_latency if stt else None,
        eou=eou.eou_latency if eou else None,
        eou_wait=(milliseconds(wait_seconds(eou)) or None) if eou else None,
        ttft=llm.llm_ttft if llm else None,
        tts=tts.tts_latency if tts else None,
        ttfb=tts.ttfb if tts else None,
        realtime=turn.realtime_metrics[-1].realtime_ttfb if turn.realtime_metrics else None,
    )


def analytics_payloads(events: Iterable[Event], rules: str | Rules = VIDEOSDK_1_0) -> list[dict[str, Any]]:
    """The analytics payloads in camelCase, one for each completed turn."""
    return _lean(events, rules).payloads


class Signals(NamedTuple):
    """Output during the call: event bus and playground."""

    emits: list[Emit]
    playground: list[PlaygroundMessage]


def signals(events: Iterable[Event], rules: str | Rules = VIDEOSDK_1_0) -> Signals:
    """Bus signals and playground messages of the call."""
    state = _lean(events, rules, signals=True)
    return Signals(state.emits, state.playground)


def span_tree(events: Iterable[Event], rules: str | Rules = VIDEOSDK_1_0) -> list[Span]:
    """The ended spans, by end; ``parent`` links them to a tree."""
    return _lean(events, rules, spans=True).spans


def call_dict(call: Call) -> dict[str, Any]:
    """The call as JSON output has it; spans have trace and span ids."""
    ids = identities(call.session_name, [*call.spans, *call.open_spans])

    def span(span: Span) -> dict[str, Any]:
        trace_id, span_id = ids[span.id]
        return {"trace_id": trace_id, "span_id": span_id, **msgspec.to_builtins(span)}

    plain = call._asdict()
    del plain["current_turn_session"]
    plain |= {
        "turns": [turn_dict(turn, call.session) for turn in call.turns],
        "current_turn": (
            turn_dict(call.current_turn, call.current_turn_session) if call.current_turn is not None else None
        ),
        "discarded": [d._asdict() | {"turn": turn_dict(d.turn, call.session)} for d in call.discarded],
        "emits": [emit._asdict() for emit in call.emits],
        "playground": [message._asdict() for message in call.playground],
        "interruptions": [found._asdict() for found in call.interruptions],
        "spans": [span(s) for s in call.spans],
        "open_spans": [span(s) for s in call.open_spans],
        "span_failures": [failure._asdict() for failure in call.span_failures],
        "logs": [line._asdict() for line in call.logs],
        "raised": [raised._asdict() for raised in call.raised],
        "forgotten": call.forgotten._asdict(),
        "session": msgspec.to_builtins(call.session),
    }
    return plain
