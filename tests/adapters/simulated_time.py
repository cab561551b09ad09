"""Time that passes only when nothing is left to do: a scene is played the same on any machine, however busy.

Import it before the framework. While `run` runs, the clocks of `time` and the event loop's stand still as code runs and
go on to the next timer as soon as the loop is idle, so a call of a minute takes as long as its computing does. For
other threads, and outside of `run`, the clocks go on by themselves; the loop waits for its own work in threads.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from eventstore import Clock

T = TypeVar("T")
READING_NS = 1_000
"""What reading a clock takes: two readings differ."""


class _Clock:
    """All clocks of `time`, by one number of nanoseconds since this module was imported."""

    def __init__(self) -> None:
        self._real = time.perf_counter_ns
        self._ahead = 0
        """How far simulated time got ahead of the real one."""
        self.now: int | None = None
        """Nanoseconds, while time is simulated."""
        self._simulated_for = 0
        """The thread."""
        origin = self._real()
        for name in ("time", "perf_counter", "monotonic"):
            began = getattr(time, f"{name}_ns")() - (self._real() - origin)
            self._replace(name, began - origin)

    def _replace(self, name: str, shift: int) -> None:
        def nanoseconds() -> int:
            return self.read() + shift

        def seconds() -> float:
            return nanoseconds() / 1e9

        setattr(time, f"{name}_ns", nanoseconds)
        setattr(time, name, seconds)

    def read(self) -> int:
        if self.now is None or threading.get_ident() != self._simulated_for:
            return self._real() + self._ahead
        self.now += READING_NS
        return self.now

    def stop(self) -> None:
        self.now, self._simulated_for = self._real() + self._ahead, threading.get_ident()

    def go_on(self) -> None:
        assert self.now is not None
        self._ahead, self.now = max(self._ahead, self.now - self._real()), None  # no clock goes back


CLOCK = _Clock()


def recorder_clock() -> Clock:
    """For a `Recorder`: its own default reads the clocks as they were when it was imported."""
    return Clock(time.perf_counter_ns, time.time_ns)


class _Loop(asyncio.SelectorEventLoop):
    _at_work = 0
    """Calls in threads."""

    def time(self) -> float:
        return (CLOCK.now or 0) / 1e9

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        self._at_work += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._is_back)
        return future

    def _is_back(self, _future: object) -> None:
        self._at_work -= 1

    def _run_once(self) -> None:
        loop: Any = self
        if not loop._ready and not self._at_work:
            loop._process_events(loop._selector.select(0))
        if not loop._ready and not self._at_work:
            timers = loop._scheduled
            while timers and timers[0]._cancelled:
                loop._timer_cancelled_count -= 1
                heapq.heappop(timers)._scheduled = False
            if timers and CLOCK.now is not None:
                CLOCK.now = max(CLOCK.now, round(timers[0]._when * 1e9))
        super()._run_once()  # type: ignore[misc]


def run(main: Coroutine[Any, Any, T], seconds: float = 300.0) -> T:
    """`asyncio.run` in simulated time. Raises `TimeoutError` if it takes more than ``seconds`` of simulated time."""

    async def limited() -> T:
        return await asyncio.wait_for(main, seconds)

    CLOCK.stop()
    try:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            return runner.run(limited())
    finally:
        CLOCK.go_on()
