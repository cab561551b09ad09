"""Marks of the framework: text it sends to the model, ends of turns, held turns, the end of the session."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.timeline.registry import text, with_args, without_args
from projections.timeline.state import Timeline


@with_args
def set_user_transcript(t: Timeline, now: int, args: Args) -> None:
    """The question's text as sent to the model; without a voice, it was typed."""
    words = text(args.get("transcript"))
    if not words:
        t.ignore("the transcript is empty")
        return
    if t.voice is not None and not t.realtime:
        t.voice.data["answered"] = True
    t.step("question text", text=words)


@without_args
def complete_turn(t: Timeline, now: int) -> None:
    t.step("turn closed")


@without_args
def finalize_realtime_turn(t: Timeline, now: int) -> None:
    t.step("turn closed")


@without_args
def finalize_session(t: Timeline, now: int) -> None:
    t.session.session_end_time = t.wall_ns / 1e9
    t.ended = True
    t.step("session ended")


@with_args
def session_ended(t: Timeline, now: int, args: Args) -> None:
    t.end_reason, t.ended = text(args.get("reason")), True
    t.step("session ended")


@without_args
def hold_turn(t: Timeline, now: int) -> None:
    t.hold.append(t.begin("hold", now))
    t.step("hold", t.hold[-1])


@without_args
def release_turn(t: Timeline, now: int) -> None:
    if not t.hold:
        t.ignore("no turn was held")
        return
    t.hold.pop().finish(now, "done", t.at, reported=True)
