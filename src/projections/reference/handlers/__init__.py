"""Handlers of the framework's reading, one module per component. Importing this fills `registry.HANDLERS`."""

from projections.reference.handlers import (  # noqa: F401
    audio,
    eou,
    failures,
    interruption,
    knowledge_base,
    llm,
    logs,
    realtime,
    session,
    stt,
    tools,
    traces,
    transcripts,
    tts,
    turn,
    vad,
)
from projections.reference.registry import HANDLERS

__all__ = ["HANDLERS"]
