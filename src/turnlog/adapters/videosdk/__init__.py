"""The adapter for videosdk-agents."""

from typing import TYPE_CHECKING

from eventstore import lazy

if TYPE_CHECKING:
    from turnlog.adapters.videosdk.adapter import Adapter, AdapterInstalled
    from turnlog.adapters.videosdk.installer import install

__all__ = ["Adapter", "AdapterInstalled", "install"]
__getattr__ = lazy.names(
    __name__,
    {
        "Adapter": "turnlog.adapters.videosdk.adapter",
        "AdapterInstalled": "turnlog.adapters.videosdk.adapter",
        "install": "turnlog.adapters.videosdk.installer",
    },
)
