"""Speech to text.

The reference's skipping of a final after a preemptive one is not here: no hook sets the flags it asks for.
"""

from __future__ import annotations

from eventstore.arguments import Args
from projections.handlers.table import bare, with_args
from projections.model import Stt, Turn
from projections.signals import play
from projections.state import State
from projections.timing import milliseconds


def _last(turn: Turn) -> Stt:
    if not turn.stt_metrics:
        turn.stt_metrics.append(Stt())
    return turn.stt_metrics[-1]


@bare
def on_stt_start(s: State, now: float) -> None:
    s.stt_start = now
    if s.turn is None:
        return
    if not s.turn.stt_metrics or s.turn.stt_metrics[-1].stt_latency is not None:
        s.turn.stt_metrics.append(Stt())
    s.turn.stt_metrics[-1].stt_start_time = now


@with_args
def on_stt_complete(s: State, now: float, args: Args) -> None:
    if s.turn is None:
        return
    stt = _last(s.turn)
    stt.stt_end_time = now
    if s.stt_start:
        stt.stt_latency = milliseconds(now - s.stt_start)
        stt.stt_confidence = args.get("confidence", 0.0)
        stt.stt_duration = args.get("duration", 0.0)
        play(s, "stt_latency", stt.stt_latency)
    if args.get("transcript"):
        stt.stt_transcript = args["transcript"]
    s.stt_start = None


@with_args
def on_stt_preflight_end(s: State, now: float, args: Args) -> None:
    if s.turn is None or not s.turn.stt_metrics:
        return
    stt = s.turn.stt_metrics[-1]
    if stt.stt_start_time:
        stt.stt_preflight_end_time = now
        stt.stt_preflight_latency = milliseconds(now - stt.stt_start_time)
        stt.stt_preflight_transcript = args.get("transcript", "")
        play(s, "stt_preflight_latency", stt.stt_preflight_latency)


@bare
def on_stt_interim_end(s: State, now: float) -> None:
    if s.turn is None or not s.turn.stt_metrics:
        return
    stt = s.turn.stt_metrics[-1]
    if stt.stt_start_time and not stt.stt_interim_latency:
        stt.stt_interim_end_time = now
        stt.stt_interim_latency = milliseconds(now - stt.stt_start_time)
        play(s, "stt_interim_latency", stt.stt_interim_latency)


@with_args
def set_stt_usage(s: State, now: float, args: Args) -> None:
    if s.turn is None:
        return
    stt = _last(s.turn)
    stt.stt_input_tokens = args.get("input_tokens", 0)
    stt.stt_output_tokens = args.get("output_tokens", 0)
    stt.stt_total_tokens = args.get("total_tokens", 0)


@with_args
def set_preemptive_generation_enabled(s: State, now: float, args: Args) -> None:
    s.preemptive_generation = args["enabled"]
