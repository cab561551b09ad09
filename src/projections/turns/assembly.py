"""Assembly of activities into exchanges, by cause rather than by the turn that the framework had open.

A fold over the timeline's steps in time order. A voice stays in ``pending`` until it is known to belong to a question
or to none; work whose question is not known yet stays in ``early``.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from projections.timeline import Step, Timeline
from projections.turns import answering, ending, listening
from projections.turns.state import Assembly, Unassigned

__all__ = ["Assembly", "Unassigned", "assemble"]


def assemble(t: Timeline) -> Assembly:
    """Group the timeline's activities into exchanges, ordered by opening time."""
    a = Assembly(t)
    for step in sorted(t.steps, key=attrgetter("time")):  # stable: event order within one time
        handler = STEPS.get(step.kind)
        if handler is not None:
            handler(a, step)
    ending.finish(a)
    a.exchanges.sort(key=lambda x: (x.opened, x.at))
    return a


STEPS: dict[str, Callable[[Assembly, Step], None]] = {
    "voice started": listening.voice_started,
    "interim": listening.recognised,
    "preflight": listening.transcribed,
    "final": listening.transcribed,
    "question text": listening.question_text,
    "llm started": answering.llm_started,
    "tts started": answering.tts_started,
    "agent started": answering.agent_started,
    "agent text": answering.agent_text,
    "scripted speech": answering.scripted_speech,
    "tool started": answering.tool_started,
    "run started": answering.run_started,
    "run ended": answering.run_ended,
    "realtime usage": answering.realtime_usage,
    "interrupted": ending.interrupted,
    "false interruption": answering.belongs_to_current,
    "error": answering.belongs_to_current,
    "fallback": answering.belongs_to_current,
    "sound": answering.belongs_to_current,
    "hold": answering.belongs_to_current,
    "log": answering.belongs_to_current,
    "agent ended": ending.agent_ended,
    "turn closed": ending.turn_closed,
    "hand-off": ending.handed_off,
    "session ended": ending.session_ended,
}
