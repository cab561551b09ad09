"""How long to go on trying: exponential backoff with jitter, and never sooner than the other side asks."""

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
    """All in seconds."""

    first: float = 0.5
    """Before the second try at most so long, at random; twice as long before each further one."""
    longest: float = 30.0
    in_all: float = 30.0
    """After so long it is left for later."""


def pause(first: float = Patience().first, longest: float = Patience().longest) -> Callable[[RetryCallState], float]:
    """Seconds until the next try: at random, up to an exponentially growing bound, or what the other side asked for."""
    backoff = wait_random_exponential(multiplier=first, max=longest)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after_seconds if isinstance(error, Busy) else None
        return max(asked or 0.0, backoff(state))

    return wait


def retrying(patience: Patience, stop: threading.Event) -> Retrying:
    """Call it with what may raise `Busy`, which it lets through when it gives up or ``stop`` is set."""
    return Retrying(
        retry=retry_if_exception_type(Busy),
        wait=pause(patience.first, patience.longest),
        stop=stop_when_event_set(stop) | stop_before_delay(patience.in_all),
        sleep=sleep_using_event(stop),
        reraise=True,
    )
