"""End-of-utterance inference, and the wait for additional speech."""

from __future__ import annotations

from typing import Any

from eventstore.hooks.arguments import Args
from projections.reference.handlers.turn import current_turn
from projections.reference.metrics import Eou, Turn
from projections.reference.registry import with_args, without_args
from projections.reference.rules import Rules
from projections.reference.signals import component_metric, send_playground
from projections.reference.state import State
from projections.reference.timing import milliseconds


def _new(s: State) -> Eou:
    in_ms = s.rules.eou_wait_in_ms
    return Eou(eou_wait_ms=None) if in_ms else Eou(wait_for_additional_speech_duration=None)


def _last(s: State, turn: Turn) -> Eou:
    if not turn.eou_metrics:
        turn.eou_metrics.append(_new(s))
    return turn.eou_metrics[-1]


def _set_wait(eou: Eou, seconds: Any, rules: Rules) -> None:
    if rules.eou_wait_in_ms:
        eou.eou_wait_ms = milliseconds(seconds)
    else:
        eou.wait_for_additional_speech_duration = seconds


@without_args
def on_eou_start(s: State, now: float) -> None:
    turn = current_turn(s, now)
    s.eou_start = now
    if not turn.eou_metrics or turn.eou_metrics[-1].eou_latency is not None:
        turn.eou_metrics.append(_new(s))
    turn.eou_metrics[-1].eou_start_time = now


@without_args
def on_eou_complete(s: State, now: float) -> None:
    if not s.eou_start:
        return
    latency = milliseconds(now - s.eou_start)
    if s.turn is not None:
        eou = _last(s, s.turn)
        eou.eou_end_time = now
        eou.eou_latency = latency
        send_playground(s, "eou_latency", latency)
        if s.rules.component_signals:
            component_metric(s, "eou", eou)
    s.eou_start = None


@with_args
def on_wait_for_additional_speech(s: State, now: float, args: Args) -> None:
    if s.turn is None or (s.rules.eou_wait_needs_entry and not s.turn.eou_metrics):
        return
    eou = _last(s, s.turn)
    _set_wait(eou, args["duration"], s.rules)
    eou.eou_probability = args["eou_probability"]
    eou.waited_for_additional_speech = True


@with_args
def on_wait_for_additional_speech_complete(s: State, now: float, args: Args) -> None:
    if s.rules.eou_wait_actual and s.turn is not None and s.turn.eou_metrics:
        _set_wait(s.turn.eou_metrics[-1], args["actual_duration"], s.rules)
