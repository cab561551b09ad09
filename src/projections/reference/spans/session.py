"""Spans without duration for the start and stop of background and thinking audio."""

from __future__ import annotations

from typing import Any

from projections.reference.spans.lifecycle import point_span
from projections.reference.state import State

_VERBS = {"start": "Playing", "stop": "Stopped"}


def background_audio_span(s: State, now: float, event: str, file_path: Any, looping: Any, time: Any) -> None:
    if s.traces.main_turn is None:
        return
    attributes = {"file_path": file_path} if file_path else {}
    attributes |= {"looping": looping, "event": event}
    point_span(s, now, f"{_VERBS[event]} Background Audio", attributes, s.traces.main_turn, time)


def thinking_audio_span(s: State, now: float, event: str, file_path: Any, looping: Any, time: Any) -> None:
    if s.traces.main_turn is None:
        return
    attributes: dict[str, Any] = {"event": event}
    if event == "start":
        attributes["looping"] = looping
    if file_path:
        attributes["file_path"] = file_path
    point_span(s, now, f"{_VERBS[event]} Thinking Audio", attributes, s.traces.main_turn, time)
