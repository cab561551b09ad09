"""Background and thinking sounds, and lines of the agent's log."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.timeline.registry import to_session_time, with_args, without_args
from projections.timeline.state import Timeline


@with_args
def on_background_audio_start(t: Timeline, now: int, args: Args) -> None:
    _start(t, now, "background", args)


@without_args
def on_background_audio_stop(t: Timeline, now: int) -> None:
    _stop(t, now, "background")


@with_args
def on_thinking_audio_start(t: Timeline, now: int, args: Args) -> None:
    _start(t, now, "thinking", args)


@without_args
def on_thinking_audio_stop(t: Timeline, now: int) -> None:
    _stop(t, now, "thinking")


def _start(t: Timeline, now: int, name: str, args: Args) -> None:
    if name in t.sounds:
        t.sounds[name].add_source("start", t.at)
        return
    t.sounds[name] = t.begin("sound", now, name=name, file=args.get("file_path"), looping=args.get("looping"))
    t.step("sound", t.sounds[name])


def _stop(t: Timeline, now: int, name: str) -> None:
    sound = t.sounds.pop(name, None)
    if sound is None:
        t.ignore("this sound was not playing")
        return
    sound.finish(now, "done", t.at, reported=True)


@with_args
def log_record(t: Timeline, now: int, args: Args) -> None:
    created = to_session_time(t, args.get("created"))
    data = {name: args.get(name) for name in ("level", "logger", "message", "attributes")}
    line = t.begin("log", now if created is None else created, **data)
    line.finish(line.start or now, "done", t.at, reported=True)
    t.step("log", line, line.start)
