"""What was said: the user's transcript and the agent's response."""

from __future__ import annotations

from eventstore.arguments import Args
from projections.handlers.table import with_args
from projections.handlers.turn import current_turn
from projections.model import snapshot
from projections.signals import emit, play
from projections.state import State
from projections.timing import label_timeline


@with_args
def set_user_transcript(s: State, now: float, args: Args) -> None:
    """The user's words, unless the turn has some and is being answered: then they are the next turn's."""
    turn = s.turn
    if turn is None:
        return
    answering = s.agent_speaking or turn.llm_metrics or turn.tts_metrics
    if answering and turn.user_speech:
        return
    text = turn.user_speech = args["transcript"]
    emit(s, "USER_TRANSCRIPT_ADDED", {"text": snapshot(text)})
    label_timeline(turn, "user_speech", text, now)
    play(s, "user_speech", text)


@with_args
def set_agent_response(s: State, now: float, args: Args) -> None:
    turn = current_turn(s, now)
    text = turn.agent_speech = args["response"]
    emit(s, "AGENT_TRANSCRIPT_ADDED", {"text": snapshot(text)})
    label_timeline(turn, "agent_speech", text, now)
    play(s, "agent_speech", text)
