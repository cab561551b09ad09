"""Transcripts of the user and the agent."""

from __future__ import annotations

from typing import Any

from eventstore.hooks.arguments import Args
from projections.reference.handlers.turn import current_turn
from projections.reference.metrics import snapshot
from projections.reference.registry import with_args
from projections.reference.signals import emit, send_playground
from projections.reference.state import State
from projections.reference.timing import label_timeline


def _signal(s: State, text: Any) -> dict[str, Any]:
    return {"text": snapshot(text), "type": "final"} if s.rules.typed_transcripts else {"text": snapshot(text)}


@with_args
def set_user_transcript(s: State, now: float, args: Args) -> None:
    """Set the user's transcript; ignored if the turn has one and is being answered."""
    turn = s.turn
    if turn is None:
        return
    text = args["transcript"]
    if turn.user_speech and (s.agent_speaking or turn.llm_metrics or turn.tts_metrics):
        return
    turn.user_speech = text
    emit(s, "USER_TRANSCRIPT_ADDED", _signal(s, text))
    label_timeline(turn, "user_speech", text, now)
    send_playground(s, "user_speech", text)


@with_args
def set_agent_response(s: State, now: float, args: Args) -> None:
    turn = current_turn(s, now)
    text = turn.agent_speech = args["response"]
    if args.get("emit_transport", True) or not s.rules.typed_transcripts:
        emit(s, "AGENT_TRANSCRIPT_ADDED", _signal(s, text))
    label_timeline(turn, "agent_speech", text, now)
    send_playground(s, "agent_speech", text)


def _stream(s: State, name: str, args: Args) -> None:
    """Signal a streamed transcript; the turn's own transcript is set by other hooks."""
    text, utterance = args["text"], args.get("utterance_ts")
    if not s.rules.typed_transcripts or not text or not str(text).strip():
        return
    data = {"text": str(text).strip(), "type": snapshot(args["type"])}
    if s.rules.utterance_named and utterance is not None:
        data["utterance_ts"] = snapshot(utterance)
    emit(s, name, data)


@with_args
def emit_user_transcript_transport(s: State, now: float, args: Args) -> None:
    _stream(s, "USER_TRANSCRIPT_ADDED", args)


@with_args
def emit_agent_transcript_transport(s: State, now: float, args: Args) -> None:
    _stream(s, "AGENT_TRANSCRIPT_ADDED", args)
