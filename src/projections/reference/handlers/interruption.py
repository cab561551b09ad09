"""True and false interruptions."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.reference.metrics import Interruption
from projections.reference.registry import with_args, without_args
from projections.reference.signals import send_playground
from projections.reference.state import State
from projections.reference.timing import milliseconds


@without_args
def on_interrupted(s: State, now: float) -> None:
    """Count an interruption while the agent speaks, or seems to: an interrupted agent never reports its end."""
    if not s.agent_speaking:
        return
    s.total_interruptions += 1
    if s.turn is not None:
        s.turn.is_interrupted = True
        s.interrupted_at = now
        send_playground(s, "interrupted", True)


@with_args
def on_false_interrupt_start(s: State, now: float, args: Args) -> None:
    if s.turn is None:
        return
    if s.turn.interruption_metrics is None:
        s.turn.interruption_metrics = Interruption()
    interruption = s.turn.interruption_metrics
    interruption.is_false_interrupt = True
    interruption.false_interrupt_start_time = now
    if args.get("pause_duration") is not None:
        interruption.false_interrupt_pause_duration = args["pause_duration"]


@without_args
def on_false_interrupt_resume(s: State, now: float) -> None:
    interruption = s.turn.interruption_metrics if s.turn is not None else None
    if interruption is None:
        return
    interruption.resumed_after_false_interrupt = True
    interruption.resume_on_false_interrupt = True
    interruption.false_interrupt_end_time = now
    if interruption.false_interrupt_start_time:
        interruption.false_interrupt_duration = milliseconds(now - interruption.false_interrupt_start_time)


@with_args
def on_false_interrupt_escalated(s: State, now: float, args: Args) -> None:
    interruption = s.turn.interruption_metrics if s.turn is not None else None
    if interruption is None:
        return
    interruption.is_false_interrupt = False
    if args.get("word_count") is not None:
        interruption.false_interrupt_words = args["word_count"]
