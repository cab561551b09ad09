"""Speech-to-speech models: token counts and frozen TTFB; see `turn` for the latency set by the turn's timer."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.reference.metrics import Realtime, Turn
from projections.reference.registry import with_args, without_args
from projections.reference.state import State
from projections.reference.timing import milliseconds

_COUNTS = {field: field.removeprefix("realtime_") for field in Realtime.__struct_fields__ if field.endswith("_tokens")}


@with_args
def set_realtime_usage(s: State, now: float, args: Args) -> None:
    usage = args["usage"]
    if s.turn is None or not usage:
        return
    if not s.turn.realtime_metrics:
        s.turn.realtime_metrics.append(Realtime())
    realtime = s.turn.realtime_metrics[-1]
    for field, key in _COUNTS.items():
        setattr(realtime, field, usage.get(key))


def freeze_ttfb(s: State, turn: Turn, now: float) -> None:
    """Set the TTFB of a speech-to-speech model at its first audio, if the user spoke before it."""
    if s.session.realtime_mode != "full_s2s":
        return
    end, start = turn.user_speech_end_time or s.user_speech_end, turn.user_speech_start_time
    if end is None or (start is not None and end < start):
        return
    ttfb = milliseconds(now - end)
    if ttfb < 0 and s.rules.realtime_negatives_skipped:
        return
    if not turn.realtime_metrics:
        turn.realtime_metrics.append(Realtime())
    turn.realtime_metrics[-1].realtime_ttfb = turn.e2e_latency = ttfb


@with_args
def set_local_vad_user_speech(s: State, now: float, args: Args) -> None:
    s.local_vad = args["owns"]


@without_args
def hold_turn(s: State, now: float) -> None:
    s.holds += 1


@without_args
def release_turn(s: State, now: float) -> None:
    s.holds = max(0, s.holds - 1)
