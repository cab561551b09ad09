"""End of utterance: is the user done?"""

from __future__ import annotations

from eventstore.arguments import Args
from projections.handlers.table import bare, with_args
from projections.handlers.turn import current_turn
from projections.model import Eou, Turn
from projections.signals import play
from projections.state import State
from projections.timing import milliseconds


def _last(turn: Turn) -> Eou:
    if not turn.eou_metrics:
        turn.eou_metrics.append(Eou())
    return turn.eou_metrics[-1]


@bare
def on_eou_start(s: State, now: float) -> None:
    turn = current_turn(s, now)
    s.eou_start = now
    if not turn.eou_metrics or turn.eou_metrics[-1].eou_latency is not None:
        turn.eou_metrics.append(Eou())
    turn.eou_metrics[-1].eou_start_time = now


@bare
def on_eou_complete(s: State, now: float) -> None:
    if not s.eou_start:
        return
    latency = milliseconds(now - s.eou_start)
    if s.turn is not None:
        eou = _last(s.turn)
        eou.eou_end_time = now
        eou.eou_latency = latency
        play(s, "eou_latency", latency)
    s.eou_start = None


@with_args
def on_wait_for_additional_speech(s: State, now: float, args: Args) -> None:
    if s.turn is None:
        return
    eou = _last(s.turn)
    eou.wait_for_additional_speech_duration = args["duration"]
    eou.eou_probability = args["eou_probability"]
    eou.waited_for_additional_speech = True
