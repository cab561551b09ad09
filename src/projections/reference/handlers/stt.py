"""STT metrics.

The reference's skipping of a final after a preemptive one is left out: no hook sets the flags that it checks.
"""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.reference.handlers.turn import current_turn
from projections.reference.metrics import Stt, Turn
from projections.reference.registry import with_args, without_args
from projections.reference.signals import component_metric, send_playground
from projections.reference.state import State
from projections.reference.timing import milliseconds


def _new(s: State) -> Stt:
    with_interims = s.rules.stt_from_last_interim
    return Stt(stt_last_interim_time=None, stt_interim_count=0) if with_interims else Stt()


def _last(s: State, turn: Turn) -> Stt:
    if not turn.stt_metrics:
        turn.stt_metrics.append(_new(s))
    return turn.stt_metrics[-1]


@without_args
def on_stt_start(s: State, now: float) -> None:
    s.stt_start = now
    turn = s.turn
    if turn is None:
        return
    if not turn.stt_metrics or turn.stt_metrics[-1].stt_latency is not None:
        turn.stt_metrics.append(_new(s))
    turn.stt_metrics[-1].stt_start_time = now


@with_args
def on_stt_complete(s: State, now: float, args: Args) -> None:
    rules = s.rules
    if rules.stt_final_opens_turn:
        current_turn(s, now)
    if s.turn is None:
        return
    stt = _last(s, s.turn)
    stt.stt_end_time = now
    start = _latency_start(stt, now) if rules.stt_from_last_interim else s.stt_start
    if start and not (rules.stt_first_final_wins and stt.stt_latency is not None):
        stt.stt_latency = milliseconds(now - start)
        stt.stt_confidence = args.get("confidence", 0.0)
        stt.stt_duration = args.get("duration", 0.0)
        send_playground(s, "stt_latency", stt.stt_latency)
    if args.get("transcript"):
        stt.stt_transcript = args["transcript"]
    if s.rules.component_signals:
        component_metric(s, "stt", stt)
    s.stt_start = None


def _latency_start(stt: Stt, now: float) -> float | None:
    """The last interim or start before now, from which the STT latency counts."""
    return max((t for t in (stt.stt_last_interim_time, stt.stt_start_time) if t is not None and t < now), default=None)


@with_args
def on_stt_preflight_end(s: State, now: float, args: Args) -> None:
    if s.turn is None or not s.turn.stt_metrics:
        return
    stt = s.turn.stt_metrics[-1]
    if stt.stt_start_time:
        stt.stt_preflight_end_time = now
        stt.stt_preflight_latency = milliseconds(now - stt.stt_start_time)
        stt.stt_preflight_transcript = args.get("transcript", "")
        send_playground(s, "stt_preflight_latency", stt.stt_preflight_latency)


@without_args
def on_stt_interim_end(s: State, now: float) -> None:
    if s.turn is None or not s.turn.stt_metrics:
        return
    stt = s.turn.stt_metrics[-1]
    if s.rules.stt_from_last_interim:
        stt.stt_last_interim_time = now
        stt.stt_interim_count += 1
    if stt.stt_start_time and not stt.stt_interim_latency:
        stt.stt_interim_end_time = now
        stt.stt_interim_latency = milliseconds(now - stt.stt_start_time)
        send_playground(s, "stt_interim_latency", stt.stt_interim_latency)


@with_args
def set_stt_usage(s: State, now: float, args: Args) -> None:
    if s.turn is None:
        return
    stt = _last(s, s.turn)
    stt.stt_input_tokens = args.get("input_tokens", 0)
    stt.stt_output_tokens = args.get("output_tokens", 0)
    stt.stt_total_tokens = args.get("total_tokens", 0)


@with_args
def set_preemptive_generation_enabled(s: State, now: float, args: Args) -> None:
    s.preemptive_generation = args["enabled"]
