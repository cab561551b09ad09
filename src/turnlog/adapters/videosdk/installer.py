"""`install` starts recording all calls of this process."""

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
    """Record all calls of this process in ``store``, until `VideoSDKAdapter.uninstall`.

    ``shadow`` keeps the framework's metrics running; ``replace`` records their calls instead. With ``lend_clock``, the
    framework's metrics see the event's clock values, so that a replay equals exactly what the framework sent.
    ``session_id`` returns the name of each new call, e.g. from the current room or job; the default is random.
    Raises `AdapterInstalled`, and `ValueError` for an unknown mode.
    """
    if mode not in ("shadow", "replace"):
        raise ValueError(f"mode must be 'shadow' or 'replace', not {mode!r}")
    if INSTALLED:
        raise AdapterInstalled("the videosdk adapter is already installed; uninstall it first")
    adapter = VideoSDKAdapter(store, mode, lend_clock, session_id)
    INSTALLED.append(adapter)
    adapter._undo = wrap(adapter)  # noqa: SLF001 - what the adapter undoes
    atexit.register(adapter.close)
    return adapter
