"""TTS metrics, and the agent's speech."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.reference.handlers.realtime import freeze_ttfb
from projections.reference.handlers.turn import current_turn
from projections.reference.metrics import Tts, Turn
from projections.reference.registry import with_args, without_args
from projections.reference.signals import component_metric, send_playground
from projections.reference.state import State
from projections.reference.timing import end_timeline, ensure_open_timeline, milliseconds


def _last(turn: Turn) -> Tts:
    if not turn.tts_metrics:
        turn.tts_metrics.append(Tts())
    return turn.tts_metrics[-1]


@without_args
def on_tts_start(s: State, now: float) -> None:
    turn = current_turn(s, now)
    s.tts_start = now
    s.tts_first_byte = None
    _last(turn).tts_start_time = now


@without_args
def on_tts_first_byte(s: State, now: float) -> None:
    if not s.tts_start:
        return
    if s.turn is not None and s.turn.tts_metrics:
        tts = s.turn.tts_metrics[-1]
        tts.tts_end_time = tts.tts_first_byte_time = now
        tts.ttfb = milliseconds(now - s.tts_start)
        send_playground(s, "ttfb", tts.ttfb)
    s.tts_first_byte = now


@without_args
def on_agent_speech_start(s: State, now: float) -> None:
    turn = current_turn(s, now)
    s.agent_speaking = True
    started = turn.agent_speech_start_time is not None
    if started and s.rules.agent_first_start_wins:
        return
    turn.agent_speech_start_time = now
    if s.rules.realtime_ttfb_frozen and not started:
        freeze_ttfb(s, turn, now)
    ensure_open_timeline(turn, "agent_speech", now)


@without_args
def on_agent_speech_end(s: State, now: float) -> None:
    """End the agent's speech; the TTS latency is set only here, so an interrupted turn has none."""
    s.agent_speaking = False
    turn = s.turn
    if turn is not None:
        end_timeline(turn, "agent_speech", now)
        turn.agent_speech_end_time = now
    if not s.tts_start:
        return
    if s.tts_first_byte and turn is not None and turn.agent_speech_start_time:
        tts = turn.tts_metrics[-1] if turn.tts_metrics else None
        if tts is not None:
            tts.tts_latency = milliseconds(s.tts_first_byte - s.tts_start)
        turn.agent_speech_duration = milliseconds(now - turn.agent_speech_start_time)
        send_playground(s, "tts_latency", tts.tts_latency if tts is not None else None)
        send_playground(s, "agent_speech_duration", turn.agent_speech_duration)
        if s.rules.component_signals:
            if tts is None:
                raise UnboundLocalError("there is no TTS entry to signal")  # as in the reference
            component_metric(s, "tts", tts)
    s.tts_start = s.tts_first_byte = None


@with_args
def add_tts_characters(s: State, now: float, args: Args) -> None:
    if s.turn is None:
        return
    # a third of all events, so avoid needless calls
    tts = s.turn.tts_metrics[-1] if s.turn.tts_metrics else _last(s.turn)
    tts.tts_characters = (tts.tts_characters or 0) + args["count"]
    if s.playground_attached:
        send_playground(s, "tts_characters", tts.tts_characters)
