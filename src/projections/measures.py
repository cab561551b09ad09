"""What is counted of a turn: one flat record for each, whatever the rules, for statistics over many calls.

Names end in their unit where they have one: ``_ms`` is milliseconds. A number is None where nothing was measured, and
where an agent handed over what is no finite number. Of each component the last entry counts, as in `Latency`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from eventstore.event import Event
from projections import rules as rule_sets
from projections.barge_in import BargeIn, barge_ins, turn_of
from projections.fold import begin, fold
from projections.model import Session, Turn
from projections.payload import summed
from projections.replay import Call, call_of, latency_of
from projections.response import response
from projections.rules import VIDEOSDK_1_0, Rules


class TurnMeasures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A turn's numbers, and what they can be grouped by."""

    session: str
    """The session's name in the log."""
    turn: int | None
    """Number among the completed turns, from 1; None if it was discarded."""
    turn_id: str
    opened_at: float
    """Seconds since the epoch."""

    e2e_ms: float | None
    """As the rules reckon it."""
    response_ms: float | None
    """By the wall: from the user's last word to the agent's first (`projections.response`)."""
    eou_wait_ms: float | None
    """How much of that the agent waited for the user to go on."""
    stt_ms: float | None
    stt_interim_ms: float | None
    """Until the first interim transcript."""
    stt_preflight_ms: float | None
    """Until the transcript on which the LLM could start early."""
    eou_ms: float | None
    kb_ms: float | None
    """Retrieval from the knowledge base."""
    llm_ttft_ms: float | None
    """Until the first token."""
    llm_ms: float | None
    """Until the last token."""
    tts_ms: float | None
    """From the request to the first byte, known only once the agent has finished speaking."""
    tts_first_byte_ms: float | None
    """The same, known at once; not a part of ``e2e_ms``."""
    realtime_ms: float | None
    """Until a speech-to-speech model answers."""
    user_speech_ms: float | None
    agent_speech_ms: float | None
    yield_ms: float | None
    """From the user's barge-in until the agent was silent (`projections.barge_in`); the longest, of several."""
    overlap_ms: float | None
    """How long both spoke at once, in all."""

    prompt_tokens: float | None
    completion_tokens: float | None
    total_tokens: float | None
    cached_tokens: float | None
    tokens_per_second: float | None
    stt_tokens: float | None
    realtime_input_tokens: float | None
    realtime_output_tokens: float | None
    realtime_tokens: float | None
    tts_characters: float | None

    interrupted: bool
    """The user cut the agent off."""
    false_interruption: bool
    """The agent stopped for what was no barge-in, as far as was known when the turn ended."""
    tools: int
    errors: int
    fallbacks: int
    """Providers that failed over, or came back."""
    discarded: str | None
    """Why, if it was."""
    at: int | None
    """Index of the event at which it was discarded."""

    stt: str
    """Who served the component when the turn was completed, as ``provider/model``; empty where nothing was said."""
    llm: str
    tts: str
    realtime: str
    version: str
    """The agent's, from the ``meta`` with which it joined (``add_participant_metrics``); empty if it says none."""


def measures(events: Iterable[Event], rules: str | Rules = VIDEOSDK_1_0) -> list[TurnMeasures]:
    """A record for each turn of a session: the completed ones in order, then the discarded ones.

    Raises what `projections.replay.replay` does.
    """
    events = list(events)
    call = call_of(fold(begin(rule_sets.find(rules), spans=False, signals=False), events))
    return measures_of(call, barge_ins(events))


def measures_of(call: Call, ledger: Sequence[BargeIn] = ()) -> list[TurnMeasures]:
    """The same, of a call that was replayed already, and its barge-ins. A turn that is still open is not counted."""
    version = _version(call.session)
    in_turns = [(turn_of(call, record), record) for record in ledger]
    found = []
    for number, turn in enumerate(call.turns, 1):
        providers = _sent(call.payloads[number - 1]) if number <= len(call.payloads) else _set(call.session)
        record = _record(call, number, turn, providers, version)
        found.append(_with_barge_ins(record, [barge_in for where, barge_in in in_turns if where == number]))
    for turn, reason, at in call.discarded:
        record = _record(call, None, turn, _set(call.session), version)
        found.append(msgspec.structs.replace(record, discarded=reason, at=at))
    return found


def _record(call: Call, number: int | None, turn: Turn, providers: dict[str, str], version: str) -> TurnMeasures:
    found = latency_of(turn, number or 0, call.rules)
    answered = response(turn, call.session)
    stt = turn.stt_metrics[-1] if turn.stt_metrics else None
    llm = turn.llm_metrics[-1] if turn.llm_metrics else None
    realtime = turn.realtime_metrics[-1] if turn.realtime_metrics else None
    return TurnMeasures(
        session=call.session_name,
        turn=number,
        turn_id=turn.turn_id,
        opened_at=turn.timestamp,
        e2e_ms=_number(found.e2e),
        response_ms=answered.ms if answered else None,
        eou_wait_ms=sum(piece.ms for piece in answered.pieces if piece.name == "EOU wait") if answered else None,
        stt_ms=_number(found.stt),
        stt_interim_ms=_number(stt.stt_interim_latency) if stt else None,
        stt_preflight_ms=_number(stt.stt_preflight_latency) if stt else None,
        eou_ms=_number(found.eou),
        kb_ms=_number(turn.kb_metrics[-1].kb_retrieval_latency) if turn.kb_metrics else None,
        llm_ttft_ms=_number(found.ttft),
        llm_ms=_number(llm.llm_duration) if llm else None,
        tts_ms=_number(found.tts),
        tts_first_byte_ms=_number(found.ttfb),
        realtime_ms=_number(found.realtime),
        user_speech_ms=_number(turn.user_speech_duration),
        agent_speech_ms=_number(turn.agent_speech_duration),
        yield_ms=None,
        overlap_ms=None,
        prompt_tokens=_number(summed(turn.llm_metrics, "prompt_tokens")) if llm else None,
        completion_tokens=_number(summed(turn.llm_metrics, "completion_tokens")) if llm else None,
        total_tokens=_number(summed(turn.llm_metrics, "total_tokens")) if llm else None,
        cached_tokens=_number(summed(turn.llm_metrics, "prompt_cached_tokens")) if llm else None,
        tokens_per_second=_number(llm.tokens_per_second) if llm else None,
        stt_tokens=_number(stt.stt_total_tokens) if stt else None,
        realtime_input_tokens=_number(realtime.realtime_input_tokens) if realtime else None,
        realtime_output_tokens=_number(realtime.realtime_output_tokens) if realtime else None,
        realtime_tokens=_number(realtime.realtime_total_tokens) if realtime else None,
        tts_characters=_number(summed(turn.tts_metrics, "tts_characters")) if turn.tts_metrics else None,
        interrupted=turn.is_interrupted,
        false_interruption=turn.interruption_metrics is not None and turn.interruption_metrics.is_false_interrupt,
        tools=len(turn.function_tool_metrics) + len(turn.mcp_tool_metrics),
        errors=len(turn.errors),
        fallbacks=len(turn.fallback_events),
        discarded=None,
        at=None,
        version=version,
        **providers,
    )


def _with_barge_ins(record: TurnMeasures, found: list[BargeIn]) -> TurnMeasures:
    yields = [barge_in.yield_ms for barge_in in found if barge_in.yield_ms is not None and barge_in.kind != "false"]
    overlaps = [barge_in.overlap_ms for barge_in in found if barge_in.overlap_ms is not None]
    if not yields and not overlaps:
        return record
    longest, both = max(yields, default=None), sum(overlaps) if overlaps else None
    return msgspec.structs.replace(record, yield_ms=longest, overlap_ms=both)


def _number(value: Any) -> float | None:
    """An agent may hand over anything."""
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


_COMPONENTS = ("stt", "llm", "tts", "realtime")


def _sent(payload: dict[str, Any]) -> dict[str, str]:
    """The turn's payload has the providers of its time; those of the session may have changed since."""
    return {c: _label(payload.get(f"{c}ProviderClass"), payload.get(f"{c}ModelName")) for c in _COMPONENTS}


def _set(session: Session) -> dict[str, str]:
    found = {c: session.provider_per_component.get(c, {}) for c in _COMPONENTS}
    return {c: _label(provider.get("provider_class"), provider.get("model_name")) for c, provider in found.items()}


def _label(provider: Any, model: Any) -> str:
    return "/".join(str(part) for part in (provider, model) if part)


def _version(session: Session) -> str:
    for participant in session.participant_metrics:
        if participant.kind == "agent" and type(participant.meta) is dict:
            version = participant.meta.get("version")
            if version is not None:
                return str(version)
    return ""
