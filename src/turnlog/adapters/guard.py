"""The guard of adapters: an error while recording never reaches the framework."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

from eventstore.hooks.arguments import as_text

P = ParamSpec("P")
T = TypeVar("T")


class Guard:
    """Swallows every `Exception` of a ``with`` block, counts it, and logs the first."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        """``what`` names what the adapter records, as in "a Pipecat frame"."""
        self.failed = 0
        self.last_error: str | None = None
        self._log, self._what = log, what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):  # a cancellation belongs to the application
            return False
        self.failed += 1
        self.last_error = f"{type(error).__name__}: {as_text(error)}"
        if self.failed == 1:
            message = "%s could not be recorded, and the call goes on (later failures are only counted): %s"
            self._log.error(message, self._what, self.last_error)
        return True

    def __call__(self, function: Callable[P, T]) -> Callable[P, T | None]:
        """Wrap the function so that it returns None instead of raising."""

        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T | None:
            with self:
                return function(*args, **kwargs)
            return None

        return guarded


class Guarded:
    """Base of adapters, with the counters of their guard."""

    guard: Guard

    @property
    def failed(self) -> int:
        """Number of failures to record; none of them affected the framework."""
        return self.guard.failed

    @property
    def last_error(self) -> str | None:
        return self.guard.last_error
