"""What each hook means, one module per component. Importing this fills `table`."""

from projections.reference.handlers import (  # noqa: F401
    audio,
    eou,
    fallback,
    framework,
    interruption,
    kb,
    llm,
    logs,
    realtime,
    session,
    speech,
    stt,
    tools,
    traces,
    tts,
    turn,
    vad,
)
from projections.reference.handlers.table import HANDLERS

__all__ = ["HANDLERS"]
