"""Handlers of the timeline, one module per component. Importing this fills `registry.HANDLERS`."""

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
