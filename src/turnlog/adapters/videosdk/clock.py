"""One reading of the clock per call: what the recorder read is what the framework's collector reads.

Without it the collector reads the clock a little later than the recorder, and replayed times differ from those that
the framework sent, by scheduling jitter.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from eventstore import Clock


class _Here(threading.local):
    """What this thread is doing. Hooks are plain functions, so nothing else runs on it meanwhile."""

    inside: bool = False
    """A recorded call is being passed on: the collector's calls of itself are part of it."""
    log: Any = None
    """The log (`videosdk_log.CallLog`) that has the call being passed on."""
    recorded: Any = None
    """The log of the last call that was recorded."""
    perf_ns: int = 0
    wall_ns: int = 0
    """The recorder's last reading of the clocks."""
    lent: tuple[int, int] | None = None
    """The reading, monotonic and wall, that the framework's modules see instead of the clock."""


HERE = _Here()


def _perf_ns() -> int:
    HERE.perf_ns = now = time.perf_counter_ns()
    return now


def _wall_ns() -> int:
    HERE.wall_ns = now = time.time_ns()
    return now


NOTED = Clock(_perf_ns, _wall_ns)
"""The real clock, whose last reading on each thread is kept in `HERE`."""


def enter(log: Any, *, lend: bool) -> None:
    """The framework's own method begins. ``lend`` it the recorder's last reading, if that was for this call."""
    here = HERE
    here.inside, here.log = True, log
    if lend and log is not None:
        here.lent = here.perf_ns, here.wall_ns


def leave() -> None:
    """It has returned."""
    here = HERE
    here.inside, here.log, here.lent = False, None, None


class LentTime:
    """Stands in for the module ``time`` in a module of the framework."""

    def perf_counter(self) -> float:
        return time.perf_counter() if HERE.lent is None else HERE.lent[0] / 1e9

    def perf_counter_ns(self) -> int:
        return time.perf_counter_ns() if HERE.lent is None else HERE.lent[0]

    def time(self) -> float:
        return time.time() if HERE.lent is None else HERE.lent[1] / 1e9

    def time_ns(self) -> int:
        return time.time_ns() if HERE.lent is None else HERE.lent[1]

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)
