"""What each hook says of what ran when: one module a component. Importing this fills `table.HANDLERS`."""

from projections.timeline.handlers import (
    agent,
    eou,
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
    trouble,
    tts,
    voice,
)

__all__ = [
    "agent", "eou", "interruption", "knowledge_base", "llm", "marks", "realtime", "session", "sounds", "stt", "tools",
    "traces", "trouble", "tts", "voice",
]  # fmt: skip
