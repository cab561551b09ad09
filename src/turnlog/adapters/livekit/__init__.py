"""The adapter for LiveKit Agents."""

from typing import TYPE_CHECKING

from eventstore import lazy

if TYPE_CHECKING:
    from turnlog.adapters.livekit.adapter import LiveKitAdapter, attach

__all__ = ["LiveKitAdapter", "attach"]
if not TYPE_CHECKING:  # a type checker shall know the names above, and no others
    __getattr__ = lazy.names(
        __name__, {"LiveKitAdapter": "turnlog.adapters.livekit.adapter", "attach": "turnlog.adapters.livekit.adapter"}
    )
