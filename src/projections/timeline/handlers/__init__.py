"""What each hook says of what ran when: one module a component. Importing this fills `table.HANDLERS`."""

from projections.timeline.handlers import (
    agent,
    eou,
    failures,
    interruption,
    knowledge_base,
    llm,
    marks,
    realtime,
    session,
    sounds,
    stt,
    tools,
    traces,
    tts,
    voice,
)

__all__ = [
    "agent",
    "eou",
    "failures",
    "interruption",
    "knowledge_base",
    "llm",
    "marks",
    "realtime",
    "session",
    "sounds",
    "stt",
    "tools",
    "traces",
    "tts",
    "voice",
]  # fmt: skip
