"""Measures of all turns of a session; `projections.measures.turn` defines them.

Under ``turnlog``, the default, they come from the caller's reading, in one pass; under a framework's rules from the
fields of that release's turns, and are None where these have none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from eventstore.event import Event
from projections.caller import RULES as TURNLOG
from projections.caller import Reading, read
from projections.measures.reading import measures_of_reading
from projections.measures.turn import COMPONENTS, TurnMeasures, label_of
from projections.model import SessionDetails
from projections.reference import rules as rule_sets
from projections.reference.fold import begin, fold
from projections.reference.metrics import Turn
from projections.reference.replay import Call, call_of, latency_of
from projections.reference.rules import Rules


class SessionMeasures(NamedTuple):
    """Measures of a session's turns, with the number of unassigned voices."""

    turns: list[TurnMeasures]
    """In order; then those that a framework's rules discarded."""
    voices: int
    """Number of voices that belong to no question: back-channels and noise. Only under ``turnlog``."""


def measures(events: Iterable[Event], rules: str | Rules = TURNLOG) -> list[TurnMeasures]:
    """A record for each turn of a session: the turns in order, then those that a framework's rules discarded.

    Raises the same errors as `projections.caller.read` and `projections.reference.replay`.
    """
    return session_measures(events, rules).turns


def session_measures(events: Iterable[Event], rules: str | Rules = TURNLOG) -> SessionMeasures:
    """`measures`, with the number of unassigned voices."""
    if rules == TURNLOG:
        found = read(events)
        return SessionMeasures(
            measures_of(found), sum(left.activity.kind == "voice" for left in found.assembly.unassigned)
        )
    call = call_of(fold(begin(rule_sets.find_rules(rules), spans=False, signals=False), events))
    return SessionMeasures(measures_of_call(call), 0)


def measures_of(reading: Reading, framework_e2e: Sequence[float | None] = ()) -> list[TurnMeasures]:
    """Measures of a reading; ``framework_e2e``: the framework's own latencies by turn, in milliseconds."""
    return measures_of_reading(reading, _version(reading.session), framework_e2e)


def measures_of_call(call: Call) -> list[TurnMeasures]:
    """Measures of a framework's reading. A turn that is still open is left out."""
    version = _version(call.session)
    found = []
    for number, turn in enumerate(call.turns, 1):
        providers = (
            _turn_providers(call.payloads[number - 1])
            if number <= len(call.payloads)
            else _session_providers(call.session)
        )
        found.append(_record(call, number, turn, providers, version))
    for turn, reason, at in call.discarded:
        record = _record(call, None, turn, _session_providers(call.session), version)
        found.append(msgspec.structs.replace(record, discarded=reason, at=at))
    return found


def _record(call: Call, number: int | None, turn: Turn, providers: dict[str, Any], version: str) -> TurnMeasures:
    found = latency_of(turn, number or 0)
    stt = turn.stt_metrics[-1] if turn.stt_metrics else None
    llm = turn.llm_metrics[-1] if turn.llm_metrics else None
    realtime = turn.realtime_metrics[-1] if turn.realtime_metrics else None
    return TurnMeasures(
        session=call.session_name,
        turn=number,
        turn_id=turn.turn_id,
        opened_at=turn.timestamp,
        e2e_ms=_number(found.e2e),
        response_ms=None,
        eou_wait_ms=_number(found.eou_wait),
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
        prompt_tokens=_number(llm.prompt_tokens) if llm else None,
        completion_tokens=_number(llm.completion_tokens) if llm else None,
        total_tokens=_number(llm.total_tokens) if llm else None,
        cached_tokens=_number(llm.prompt_cached_tokens) if llm else None,
        tokens_per_second=_number(llm.tokens_per_second) if llm else None,
        stt_tokens=_number(stt.stt_total_tokens) if stt else None,
        realtime_input_tokens=_number(realtime.realtime_input_tokens) if realtime else None,
        realtime_output_tokens=_number(realtime.realtime_output_tokens) if realtime else None,
        realtime_tokens=_number(realtime.realtime_total_tokens) if realtime else None,
        tts_characters=_number(turn.tts_metrics[-1].tts_characters) if turn.tts_metrics else None,
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


def _number(value: Any) -> float | None:
    """An untrusted value as a float; None if not a finite number."""
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


def _turn_providers(payload: dict[str, Any]) -> dict[str, Any]:
    """Provider labels from a turn's payload; those of the session may have changed since."""
    return {c: label_of(payload.get(f"{c}ProviderClass"), payload.get(f"{c}ModelName")) for c in COMPONENTS}


def _session_providers(session: SessionDetails) -> dict[str, Any]:
    found = {c: session.provider_per_component.get(c, {}) for c in COMPONENTS}
    return {c: label_of(provider.get("provider_class"), provider.get("model_name")) for c, provider in found.items()}


def _version(session: SessionDetails) -> str:
    for participant in session.participant_metrics:
        if participant.kind == "agent" and type(participant.meta) is dict:
            version = participant.meta.get("version")
            if version is not None:
                return str(version)
    return ""
