"""Background and thinking audio."""

from __future__ import annotations

import posixpath

from eventstore.hooks.arguments import Args
from projections.reference.registry import with_args, without_args
from projections.reference.spans.session import background_audio_span
from projections.reference.state import State
from projections.reference.timing import end_timeline, start_timeline


@with_args
def on_background_audio_start(s: State, now: float, args: Args) -> None:
    path, looping = args.get("file_path"), args.get("looping", False)
    name = posixpath.basename(path) if path else None
    if s.turn is not None:
        s.turn.background_audio_file_path = name
        s.turn.background_audio_looping = looping
        start_timeline(s.turn, "background_audio", now)
    if s.traces.attached:
        background_audio_span(s, now, "start", name, looping, now)


@without_args
def on_background_audio_stop(s: State, now: float) -> None:
    if s.turn is not None:
        end_timeline(s.turn, "background_audio", now)
    if s.traces.attached:
        background_audio_span(s, now, "stop", None, False, now)


@with_args
def on_thinking_audio_start(s: State, now: float, args: Args) -> None:
    path, looping = args.get("file_path"), args.get("looping", False)
    name = posixpath.basename(path) if path else None
    if s.turn is not None:
        s.turn.thinking_audio_file_path = name
        s.turn.thinking_audio_looping = looping
        start_timeline(s.turn, "thinking_audio", now)


@without_args
def on_thinking_audio_stop(s: State, now: float) -> None:
    if s.turn is not None:
        end_timeline(s.turn, "thinking_audio", now)
