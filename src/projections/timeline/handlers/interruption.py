"""Interruptions, and suspected ones ("doubts"): false interruptions after which the agent may resume."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.timeline.registry import ns, with_args, without_args
from projections.timeline.state import Timeline


@without_args
def on_interrupted(t: Timeline, now: int) -> None:
    interrupt(t, now)


def interrupt(t: Timeline, now: int) -> None:
    """Cancel the agent's speech and its running LLM, TTS and realtime runs."""
    cut = t.begin("interruption", now)
    cut.finish(now, "done", t.at, reported=True)
    if t.speech is not None:
        t.speech.data["cut"] = t.at
        t.speech.finish(now, "cancelled", t.at, reported=False)
        t.cut_speech, t.speech = t.speech, None
    for run in (t.llm, t.tts, t.response):
        if run is not None and run.end is None:
            run.finish(now, "cancelled", t.at, reported=False)
    t.step("interrupted", cut)


@with_args
def on_false_interrupt_start(t: Timeline, now: int, args: Args) -> None:
    """Open a doubt; only frameworks that pass a ``pause_duration`` pause the agent."""
    pause = ns(args.get("pause_duration"))
    t.doubt = t.begin("doubt", now, paused=pause is not None, pause_duration=args.get("pause_duration"))
    t.step("false interruption", t.doubt)


@without_args
def on_false_interrupt_resume(t: Timeline, now: int) -> None:
    if t.doubt is None or t.doubt.end is not None:
        t.ignore("no false interruption was open")
        return
    t.doubt.finish(now, "done", t.at, reported=True)


@with_args
def on_false_interrupt_escalated(t: Timeline, now: int, args: Args) -> None:
    if t.doubt is None:
        t.ignore("no false interruption was open")
        return
    t.doubt.data["escalated"], t.doubt.data["words"] = True, args.get("word_count")
    t.doubt.add_source("escalated", t.at)
    if t.doubt.end is None:
        t.doubt.finish(now, "cancelled", t.at, reported=True)
