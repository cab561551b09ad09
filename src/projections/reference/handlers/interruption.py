"""Barge-ins, real and false."""

from __future__ import annotations

from eventstore.arguments import Args
from projections.reference.handlers.carry_over import barge_in_start
from projections.reference.handlers.table import bare, with_args
from projections.reference.metrics import Interruption, Turn
from projections.reference.signals import play
from projections.reference.state import State
from projections.reference.timing import milliseconds


@bare
def on_interrupted(s: State, now: float) -> None:
    """Counts only while the agent speaks, or is thought to: an interrupted agent never reports its end."""
    if s.rules.interruptions_recorded and s.turn is not None and s.turn.is_interrupted:
        return  # told twice
    s.told_at = now
    if not s.agent_speaking:
        return
    s.total_interruptions += 1
    if s.turn is not None:
        s.turn.is_interrupted = True
        s.interrupted_at = now
        play(s, "interrupted", True)
        if s.rules.interruptions_recorded:
            began = barge_in_start(s, s.turn)
            _record(s.turn).interrupt_start_time = now if began is None else began


@with_args
def on_false_interrupt_start(s: State, now: float, args: Args) -> None:
    if s.turn is None:
        return
    interruption = _record(s.turn)
    interruption.is_false_interrupt = True
    interruption.false_interrupt_start_time = now
    if args.get("pause_duration") is not None:
        interruption.false_interrupt_pause_duration = args["pause_duration"]


def _record(turn: Turn) -> Interruption:
    if turn.interruption_metrics is None:
        turn.interruption_metrics = Interruption()
    return turn.interruption_metrics


def _known(s: State) -> Interruption | None:
    """The open turn's record; where the rules say so, a new one for an end whose start nobody told."""
    if s.turn is None:
        return None
    return _record(s.turn) if s.rules.interruptions_recorded else s.turn.interruption_metrics


def _end_false(interruption: Interruption, now: float) -> None:
    interruption.false_interrupt_end_time = now
    if interruption.false_interrupt_start_time:
        interruption.false_interrupt_duration = milliseconds(now - interruption.false_interrupt_start_time)


@bare
def on_false_interrupt_resume(s: State, now: float) -> None:
    interruption = _known(s)
    if interruption is None:
        return
    interruption.resumed_after_false_interrupt = True
    interruption.resume_on_false_interrupt = True
    _end_false(interruption, now)


@with_args
def on_false_interrupt_escalated(s: State, now: float, args: Args) -> None:
    interruption = _known(s)
    if interruption is None:
        return
    interruption.is_false_interrupt = False
    if args.get("word_count") is not None:
        interruption.false_interrupt_words = args["word_count"]
    if s.rules.interruptions_recorded:
        _end_false(interruption, now)
