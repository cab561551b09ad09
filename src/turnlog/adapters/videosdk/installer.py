"""`install`: from then on every call of this process is recorded."""

# mypy: disable-error-code="import-not-found,import-untyped,misc,untyped-decorator"
# The framework is not installed where the types are checked.

from __future__ import annotations

import atexit
from collections.abc import Callable

from eventstore import Store
from turnlog.adapters.videosdk.adapter import INSTALLED, AdapterInstalled, Mode, VideoSDKAdapter
from turnlog.adapters.videosdk.patching import wrap


def install(
    store: Store, *, mode: Mode = "shadow", lend_clock: bool = True, session_id: Callable[[], str] | None = None
) -> VideoSDKAdapter:
    """Record all calls of this process in ``store``, until `Adapter.uninstall`.

    ``shadow``: the framework's metrics go on as they are; ``replace``: they are recorded instead of made.
    ``lend_clock``: the framework's metrics see the clock value that the event has, so that a replay equals what the
    framework sent exactly. ``session_id`` names the log of each call, from the room or the job that is current
    when the call begins; by default the names are random. Raises `AdapterInstalled`, and `ValueError` for another mode.
    """
    if mode not in ("shadow", "replace"):
        raise ValueError(f"mode is 'shadow' or 'replace', not {mode!r}")
    if INSTALLED:
        raise AdapterInstalled("the videosdk adapter is installed already; uninstall that one first")
    adapter = VideoSDKAdapter(store, mode, lend_clock, session_id)
    INSTALLED.append(adapter)
    adapter._undo = wrap(adapter)
    atexit.register(adapter.close)
    return adapter
