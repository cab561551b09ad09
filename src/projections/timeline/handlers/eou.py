"""End of utterance: inference runs of the turn detector, and the endpointing delays that they schedule."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.timeline.activity import Activity
from projections.timeline.handlers.voice import latest
from projections.timeline.registry import ns, with_args, without_args
from projections.timeline.state import Timeline


@without_args
def on_eou_start(t: Timeline, now: int) -> None:
    if t.eou is None or t.eou.end is not None:
        t.eou = t.begin("eou", now)
        t.step("run started", t.eou)
    else:
        t.eou.start = now
        t.eou.add_source("start", ~t.at)
    _set_voice(t, t.eou)


def _set_voice(t: Timeline, run: Activity) -> None:
    """Set the voice of a run: that of the last final transcript, or the last voice where there was none yet."""
    voice = latest(t)
    at = t.transcribed_voice if t.transcribed_voice is not None else voice.at if voice is not None else -1
    if at >= 0:
        run.data["voice"] = at


@without_args
def on_eou_complete(t: Timeline, now: int) -> None:
    if t.eou is None or t.eou.end is not None:
        t.ignore("no end-of-utterance inference was running")
        return
    t.eou.finish(now, "done", t.at, reported=True)


@with_args
def on_wait_for_additional_speech(t: Timeline, now: int, args: Args) -> None:
    """Start a wait of the scheduled duration, which holds unless the actual one is reported."""
    duration = ns(args.get("duration"))
    if t.eou is not None:
        t.eou.data["probability"] = args.get("eou_probability")
        t.eou.add_source("probability", t.at)
    if not duration or duration < 0:
        t.ignore("the wait has no duration")
        return
    t.eou_wait = t.begin("eou_wait", now)
    t.eou_wait.finish(now + duration, "done", t.at, reported=False)
    _set_voice(t, t.eou_wait)
    t.step("run started", t.eou_wait)


@with_args
def on_wait_for_additional_speech_complete(t: Timeline, now: int, args: Args) -> None:
    actual = ns(args.get("actual_duration"))
    if t.eou_wait is None or t.eou_wait.start is None or actual is None or actual < 0:
        t.ignore("no wait was active")
        return
    t.eou_wait.finish(t.eou_wait.start + actual, "done", t.at, reported=True)
