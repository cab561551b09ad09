"""The adapter for videosdk-agents."""

from typing import TYPE_CHECKING

from eventstore import lazy

if TYPE_CHECKING:
    from turnlog.adapters.videosdk.adapter import AdapterInstalled, VideoSDKAdapter
    from turnlog.adapters.videosdk.installer import install

__all__ = ["AdapterInstalled", "VideoSDKAdapter", "install"]
if not TYPE_CHECKING:  # a type checker shall know the names above, and no others
    __getattr__ = lazy.names(
        __name__,
        {
            "VideoSDKAdapter": "turnlog.adapters.videosdk.adapter",
            "AdapterInstalled": "turnlog.adapters.videosdk.adapter",
            "install": "turnlog.adapters.videosdk.installer",
        },
    )
