"""Shared clock readings: the framework's collector sees the time that the recorder has read for the same call.

Without it, the collector reads the clock slightly later than the recorder, and replayed times differ from the
framework's by scheduling jitter.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from eventstore import Clock


class _CallContext(threading.local):
    """The state of this thread. Hooks are plain functions, so nothing else runs on the thread during one."""

    inside: bool = False
    """True while the framework's method runs: the collector's calls of itself are part of the recorded call."""
    log: Any = None
    """The `VideoSDKCall` of that method call."""
    recorded: Any = None
    """The `VideoSDKCall` of the last recorded method call."""
    perf_ns: int = 0
    wall_ns: int = 0
    """The recorder's last reading of the clocks."""
    lent: tuple[int, int] | None = None
    """The reading, monotonic and wall, that the framework's modules get instead of the clock's."""


CALL_CONTEXT = _CallContext()


def _perf_ns() -> int:
    CALL_CONTEXT.perf_ns = now = time.perf_counter_ns()
    return now


def _wall_ns() -> int:
    CALL_CONTEXT.wall_ns = now = time.time_ns()
    return now


RECORDING_CLOCK = Clock(_perf_ns, _wall_ns)
"""The real clock; its last reading on each thread is kept in `CALL_CONTEXT`."""


def enter(log: Any, *, lend: bool) -> None:
    """Mark the start of the framework's method. With ``lend``, it gets the recorder's reading for this call."""
    context = CALL_CONTEXT
    context.inside, context.log = True, log
    if lend and log is not None:
        context.lent = context.perf_ns, context.wall_ns


def leave() -> None:
    """Mark the end of the framework's method."""
    context = CALL_CONTEXT
    context.inside, context.log, context.lent = False, None, None


class LentTime:
    """A replacement for the module ``time`` in the framework's modules."""

    def perf_counter(self) -> float:
        return time.perf_counter() if CALL_CONTEXT.lent is None else CALL_CONTEXT.lent[0] / 1e9

    def perf_counter_ns(self) -> int:
        return time.perf_counter_ns() if CALL_CONTEXT.lent is None else CALL_CONTEXT.lent[0]

    def time(self) -> float:
        return time.time() if CALL_CONTEXT.lent is None else CALL_CONTEXT.lent[1] / 1e9

    def time_ns(self) -> int:
        return time.time_ns() if CALL_CONTEXT.lent is None else CALL_CONTEXT.lent[1]

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)
