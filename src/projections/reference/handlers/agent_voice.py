"""When the agent falls silent: by its own word, or as it is cut off."""

from __future__ import annotations

from projections.reference.metrics import Turn
from projections.reference.state import State
from projections.reference.timing import end_timeline, milliseconds


def fall_silent(s: State, turn: Turn, now: float) -> None:
    """End the speech of an agent that is still heard when its turn ends; cut off, it ended when it was told to."""
    if s.agent_speaking and turn.agent_speech_start_time is not None:
        end_speech(s, turn, s.interrupted_at if turn.is_interrupted else now)
    s.agent_speaking = False


def end_speech(s: State, turn: Turn, end: float) -> None:
    """Write down that the agent was heard until ``end``, with what else ended then."""
    start = turn.agent_speech_start_time
    end_timeline(turn, "agent_speech", end)
    turn.agent_speech_end_time = end
    if start is not None and s.rules.agent_ends_with_turn:
        turn.agent_speech_duration = milliseconds(end - start)
    if s.rules.tts_ends_with_speech and turn.tts_metrics and turn.tts_metrics[-1].tts_start_time is not None:
        turn.tts_metrics[-1].tts_end_time = end
    interruption = turn.interruption_metrics
    if interruption is not None and interruption.interrupt_start_time is not None:
        interruption.interrupt_end_time = end
        interruption.interrupt_duration = milliseconds(end - interruption.interrupt_start_time)
