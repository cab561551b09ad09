"""Agent speech: its times and its text."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.timeline.registry import text, with_args, without_args
from projections.timeline.state import Timeline


@without_args
def on_agent_speech_start(t: Timeline, now: int) -> None:
    """Start a speech; a second start without a new synthesis is the same speech, reported twice."""
    if t.speech is not None and not t.resynthesised:
        t.speech.add_source("start", t.at)
        return
    if t.speech is not None:
        t.speech.finish(now, "done", t.at, reported=False)
    t.speech = t.begin("agent", now, agent=t.agent)
    t.cut_speech, t.resynthesised = None, False
    if t.voice is not None:
        t.voice.data["answered"] = True
    t.step("agent started", t.speech)


@without_args
def on_agent_speech_end(t: Timeline, now: int) -> None:
    """End the current speech, or an interrupted one: some frameworks report that end late, some never."""
    speech = t.speech or t.cut_speech
    if speech is None:
        t.ignore("the agent was not speaking")
        return
    speech.finish(max(now, speech.start or now), "cancelled" if "cut" in speech.data else "done", t.at, reported=True)
    if t.tts is not None and t.tts.end is None and t.tts.first is not None:
        t.tts.finish(now, "done", t.at, reported=False)
    t.speech = t.cut_speech = None
    t.step("agent ended", speech)


@with_args
def set_agent_response(t: Timeline, now: int, args: Args) -> None:
    if text(args.get("response")):
        t.step("agent text", text=text(args["response"]))


@with_args
def agent_active(t: Timeline, now: int, args: Args) -> None:
    t.agent = text(args.get("name"))


@without_args
def set_a2a_handoff(t: Timeline, now: int) -> None:
    t.step("hand-off")
