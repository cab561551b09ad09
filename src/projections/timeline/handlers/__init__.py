"""Handlers of the timeline, one module per component. Importing this fills `registry.HANDLERS`."""

from projections.timeline.handlers import (  # noqa: F401
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
