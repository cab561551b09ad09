"""The adapter for LiveKit Agents."""

from typing import TYPE_CHECKING

from eventstore import lazy

if TYPE_CHECKING:
    from turnlog.adapters.livekit.adapter import Adapter, attach

__all__ = ["Adapter", "attach"]
__getattr__ = lazy.names(
    __name__, {"Adapter": "turnlog.adapters.livekit.adapter", "attach": "turnlog.adapters.livekit.adapter"}
)
