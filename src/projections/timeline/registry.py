"""The registry of handlers by hook. A handler has the name of its hook.

A handler is ``(timeline, now)`` or, where it needs the arguments, ``(timeline, now, args)``; ``now`` is in nanoseconds
on the session's clock. Arguments are untrusted: a value of the wrong type counts as missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from eventstore.hooks.arguments import Args
from eventstore.hooks.vocabulary import HOOKS, TRACES
from projections.timeline.state import Timeline

SEALED = "[sealed]"
"""Placeholder for text whose key is missing or was destroyed."""
HandlerWithoutArgs = Callable[[Timeline, int], None]
HandlerWithArgs = Callable[[Timeline, int, Args], None]
HANDLERS: dict[str, tuple[Callable[..., None] | None, bool, int]] = {}
"""By hook: the handler, whether it takes the arguments, and the version of the arguments that it reads."""


def without_args(handler: HandlerWithoutArgs) -> HandlerWithoutArgs:
    HANDLERS[handler.__name__] = handler, False, HOOKS[handler.__name__].version
    return handler


def with_args(handler: HandlerWithArgs) -> HandlerWithArgs:
    HANDLERS[handler.__name__] = handler, True, HOOKS[handler.__name__].version
    return handler


def traces(handler: HandlerWithArgs) -> HandlerWithArgs:
    name = TRACES + handler.__name__
    HANDLERS[name] = handler, True, HOOKS[name].version
    return handler


def register_remaining() -> None:
    """Register the remaining hooks, which the timeline ignores."""
    for name, hook in HOOKS.items():
        HANDLERS.setdefault(name, (None, False, hook.version))


def text(value: Any) -> str:
    """Text without surrounding white space; empty if sealed or not text."""
    return value.strip() if isinstance(value, str) and value != SEALED else ""


def count(value: Any) -> int:
    """A count, never negative; 0 if not a number."""
    if type(value) is int:
        return value if 0 < value < 2**53 else 0
    return int(value) if type(value) is float and 0 < value < 2**53 else 0


def ns(seconds: Any) -> int | None:
    """Seconds as nanoseconds; None if not a finite number."""
    if type(seconds) in (int, float) and abs(seconds) < 9e9 and math.isfinite(seconds):
        return round(float(seconds) * 1e9)
    return None


def to_session_time(t: Timeline, seconds: Any) -> int | None:
    """Convert an agent's time, in seconds on its monotonic clock or since the epoch, to the session's clock.

    None if it is after the event, or more than a day before it.
    """
    time = ns(seconds)
    if not time:
        return None
    for converted in (time + t.offset, time - t.wall_shift):
        if t.now - 86_400_000_000_000 <= converted <= t.now + 1_000_000:
            return min(converted, t.now)
    return None
