"""Opening, completing and discarding turns."""

from __future__ import annotations

try:
    from _md5 import md5  # type: ignore[import-not-found]  # OpenSSL's takes three times as long to begin
except ImportError:
    from hashlib import md5

from projections.reference.carry_over import apply_carry_over, extract_carry_over
from projections.reference.handlers.logs import clear_turn_number
from projections.reference.metrics import Turn, turn_dict
from projections.reference.payload import analytics_payload
from projections.reference.registry import without_args
from projections.reference.rules import Rules
from projections.reference.signals import component_metric, emit
from projections.reference.spans.turn import trace_turn
from projections.reference.state import Discarded, Interrupted, PlaygroundMessage, State
from projections.reference.timing import e2e, ensure_timeline, milliseconds, start_timeline

NO_LATENCY = "no latency was measured: no STT, EOU, LLM, TTS or realtime result"


def current_turn(s: State, now: float) -> Turn:
    """The open turn; opens one if there is none."""
    if s.turn is None:
        start_turn(s, now)
    assert s.turn is not None
    return s.turn


@without_args
def start_turn(s: State, now: float) -> None:
    if s.turn is not None:
        complete_turn(s, now)
    opened_at = s.wall_ns / 1e9
    s.total_turns += 1
    turn = s.turn = Turn(
        turn_id=_turn_id(opened_at, s.session.session_id, s.total_turns - s.forgotten.total_turns),
        timestamp=opened_at,
        preemtive_generation_enabled=s.preemptive_generation,
    )
    s.turn_has_session = False
    if s.pending_user_start is not None:
        turn.user_speech_start_time = s.pending_user_start
        start_timeline(turn, "user_speech", s.pending_user_start)
    apply_carry_over(s, turn)
    if s.user_speaking and s.user_input_start and turn.user_speech_start_time is None:
        turn.user_speech_start_time = s.user_input_start
        ensure_timeline(turn, "user_speech", s.user_input_start)


def _turn_id(opened_at: float, session_id: object, count: int) -> str:
    digest: str = md5(f"{opened_at}_{session_id or 'default'}_{count}".encode(), usedforsecurity=False).hexdigest()
    return digest[:16]


@without_args
def complete_turn(s: State, now: float) -> None:
    """Complete the open turn, if there is one, or discard it."""
    turn, rules = s.turn, s.rules
    if turn is None:
        return
    s.turn_has_session = True
    latency = e2e(turn, rules)
    if latency is not None:  # else keep the one set by the realtime timer
        turn.e2e_latency = latency
    opened = s.total_turns - s.forgotten.total_turns
    if opened > 1 and not is_meaningful(turn):
        _discard(s, turn)
        return
    if turn.is_interrupted:
        s.interruptions.append(Interrupted(len(s.turns) + 1, s.interrupted_at, extract_carry_over(s, turn), s.at))
    if s.traces.attached:
        trace_turn(s, now, turn)
    s.turns.append(turn)
    if s.playground_attached and s.signals_wanted:
        s.playground.append(PlaygroundMessage(turn_dict(turn, s.session), True, s.at))
    completed = len(s.turns) - s.forgotten.turns
    payload = analytics_payload(turn, s.session, rules, turns_opened=opened, turns_completed=completed)
    emit(s, "TURN_METRICS_ADDED", {"metrics": payload})
    s.payloads.append(payload)
    s.payloads_at.append(s.at)
    s.turn = s.pending_user_start = s.stt_start = None
    s.user_speaking = False


def is_meaningful(turn: Turn) -> bool:
    """Whether any latency was measured in the turn (reference: ``_validate_turn``)."""
    return (
        turn.e2e_latency is not None  # first, as it holds for nearly every turn
        or any(stt.stt_latency is not None for stt in turn.stt_metrics)
        or any(llm.llm_ttft is not None for llm in turn.llm_metrics)
        or any(tts.tts_latency is not None or tts.ttfb is not None for tts in turn.tts_metrics)
        or any(eou.eou_latency is not None for eou in turn.eou_metrics)
        or bool(turn.realtime_metrics)
    )


def _discard(s: State, turn: Turn) -> None:
    """Drop the turn; only the earliest start of the user's speech is kept, for the next turn."""
    start = turn.user_speech_start_time
    if start is not None and (s.pending_user_start is None or start < s.pending_user_start):
        s.pending_user_start = start
    s.discarded.append(Discarded(turn, NO_LATENCY, s.at))
    clear_turn_number(s, turn)
    s.turn = None


@without_args
def schedule_turn_complete(s: State, now: float) -> None:
    """No effect: the timer's firing is an event of its own."""


@without_args
def finalize_realtime_turn(s: State, now: float) -> None:
    """The turn's timer fired: close open intervals, set the realtime latency, and complete the turn."""
    turn = s.turn
    if turn is None or (s.holds and s.rules.turn_holds):
        return
    if turn.agent_speech_start_time and not turn.agent_speech_end_time:
        turn.agent_speech_end_time = now
    if turn.user_speech_start_time and not turn.user_speech_end_time:
        turn.user_speech_end_time = now
    for event in turn.timeline_event_metrics:
        if event.end_time is None:
            event.end_time = now
            event.duration_ms = milliseconds(now - event.start_time)  # type: ignore[operator]  # may raise, as the reference does
    _set_realtime_latency(turn, s.rules)
    if turn.agent_speech_start_time and turn.agent_speech_end_time:
        turn.agent_speech_duration = milliseconds(turn.agent_speech_end_time - turn.agent_speech_start_time)
    if turn.realtime_metrics and s.rules.component_signals:
        component_metric(s, "realtime", turn.realtime_metrics[-1])
    complete_turn(s, now)


def _set_realtime_latency(turn: Turn, rules: Rules) -> None:
    """Set the latency from the end of the user's speech to the start of the agent's."""
    realtime = turn.realtime_metrics[-1] if turn.realtime_metrics else None
    if rules.realtime_ttfb_frozen and realtime is not None and realtime.realtime_ttfb is not None:
        turn.e2e_latency = realtime.realtime_ttfb
    elif turn.user_speech_end_time and turn.agent_speech_start_time:
        latency = milliseconds(turn.agent_speech_start_time - turn.user_speech_end_time)
        if latency < 0 and rules.realtime_negatives_skipped:
            return
        turn.e2e_latency = latency
        if realtime is not None:
            realtime.realtime_ttfb = latency
