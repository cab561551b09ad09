"""Retry policy: exponential backoff with jitter, never sooner than the receiver's ``Retry-After``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_before_delay,
    stop_when_event_set,
    wait_random_exponential,
)

from exporters.delivery.destination import Busy


class Patience(NamedTuple):
    """Retry limits, in seconds."""

    first: float = 0.5
    """Upper bound of the random pause before the second attempt; it doubles with each further one."""
    longest: float = 30.0
    """Upper bound of every pause."""
    in_all: float = 30.0
    """Total time after which to give up."""


def pause(first: float = Patience().first, longest: float = Patience().longest) -> Callable[[RetryCallState], float]:
    """Return tenacity's wait function: a random, exponentially growing pause, at least the receiver's request."""
    backoff = wait_random_exponential(multiplier=first, max=longest)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        requested = error.retry_after_seconds if isinstance(error, Busy) else None
        return max(requested or 0.0, backoff(state))

    return wait


def retrying(patience: Patience, stop: threading.Event) -> Retrying:
    """Return a retrier for functions that raise `Busy`; it re-raises when it gives up or ``stop`` is set."""
    return Retrying(
        retry=retry_if_exception_type(Busy),
        wait=pause(patience.first, patience.longest),
        stop=stop_when_event_set(stop) | stop_before_delay(patience.in_all),
        sleep=sleep_using_event(stop),
        reraise=True,
    )
