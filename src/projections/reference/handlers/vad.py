"""Voice activity of the user."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.reference.handlers.turn import current_turn
from projections.reference.metrics import Vad
from projections.reference.registry import with_args
from projections.reference.signals import send_playground
from projections.reference.state import State
from projections.reference.timing import end_timeline, ensure_timeline, milliseconds


@with_args
def on_user_speech_start(s: State, now: float, args: Args) -> None:
    if s.local_vad and s.rules.local_vad_wins and not args.get("local_vad"):
        return
    turn = current_turn(s, now)
    if s.user_speaking:
        return
    s.user_speaking = True
    s.user_input_start = now
    if turn.user_speech_start_time is None:
        turn.user_speech_start_time = now
    ensure_timeline(turn, "user_speech", now)
    if not turn.vad_metrics or turn.vad_metrics[-1].user_speech_end_time is not None:
        turn.vad_metrics.append(Vad())
    turn.vad_metrics[-1].user_speech_start_time = now


@with_args
def on_user_speech_end(s: State, now: float, args: Args) -> None:
    if s.local_vad and s.rules.local_vad_wins and not args.get("local_vad"):
        return
    s.user_speaking = False
    reported_end = args.get("at") if s.rules.user_speech_end_given else None
    end = s.user_speech_end = now if reported_end is None else reported_end
    turn = s.turn
    if turn is None or not turn.user_speech_start_time:
        return
    if s.rules.user_speech_end_given and end < turn.user_speech_start_time:
        end = s.user_speech_end = turn.user_speech_start_time
    turn.user_speech_end_time = end
    turn.user_speech_duration = milliseconds(end - turn.user_speech_start_time)
    end_timeline(turn, "user_speech", end)
    if not turn.vad_metrics:
        turn.vad_metrics.append(Vad())
    turn.vad_metrics[-1].user_speech_end_time = end
    send_playground(s, "user_speech_duration", turn.user_speech_duration)


@with_args
def set_vad_config(s: State, now: float, args: Args) -> None:
    if s.turn is None:
        raise AttributeError("no turn is open to set the VAD configuration in")
    config = args["vad_config"]
    if not s.turn.vad_metrics:
        s.turn.vad_metrics.append(Vad())
    vad = s.turn.vad_metrics[-1]
    vad.vad_threshold = config.get("threshold")
    vad.vad_min_speech_duration = config.get("min_speech_duration")
    vad.vad_min_silence_duration = config.get("min_silence_duration")
