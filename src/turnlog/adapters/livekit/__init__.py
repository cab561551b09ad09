"""The adapter for LiveKit Agents."""

from typing import TYPE_CHECKING

from turnlog import lazy

if TYPE_CHECKING:
    from turnlog.adapters.livekit.adapter import LiveKitAdapter, attach

__all__ = ["LiveKitAdapter", "attach"]
__getattr__ = lazy.names(
    __name__, {"LiveKitAdapter": "turnlog.adapters.livekit.adapter", "attach": "turnlog.adapters.livekit.adapter"}
)
