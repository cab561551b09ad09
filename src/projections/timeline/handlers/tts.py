"""TTS runs. A run may be armed before there is text: a second start before its first byte is the actual start."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.timeline.activity import Activity
from projections.timeline.handlers.usage import run_of_usage
from projections.timeline.registry import count, text, with_args, without_args
from projections.timeline.state import Timeline


@without_args
def on_tts_start(t: Timeline, now: int) -> None:
    t.resynthesised, t.cut_speech = True, None
    run = t.tts
    armed = run is not None and run.first is None and run.end is None and not run.id and not t.say_pending
    t.say_pending = False
    if run is not None and armed and not (t.llm is not None and t.llm.at > run.at):
        run.data.setdefault("armed", run.start)
        run.start = now
        run.add_source("start", t.at)
        return
    t.tts = t.begin("tts", now)
    t.step("tts started", t.tts)


def _running(t: Timeline) -> Activity:
    if t.tts is None:
        t.tts = t.begin_unreported("tts")
        t.step("tts started", t.tts)
    return t.tts


@without_args
def on_tts_first_byte(t: Timeline, now: int) -> None:
    _running(t).set_first_output(now, t.at)


@with_args
def add_tts_characters(t: Timeline, now: int, args: Args) -> None:
    run = t.tts if t.tts is not None and not t.usage_of else run_of_usage(t, "tts", _running(t))
    if run is not None:
        run.data["characters"] = run.data.get("characters", 0) + count(args.get("count"))
        run.add_source("characters", t.at)


@with_args
def on_tts_complete(t: Timeline, now: int, args: Args) -> None:
    run_id = text(args.get("run_id"))
    run = t.runs.get(("tts", run_id)) if run_id else t.tts
    if run is None:
        t.ignore("no synthesis had started")
    elif not run.end_reported:
        run.finish(now, "done" if run.status != "cancelled" else "cancelled", t.at, reported=True)
