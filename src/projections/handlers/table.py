"""The table of handlers, keyed by hook. A handler registers itself; its name is the hook's.

A handler is ``(state, now)``, with ``now`` in seconds on the monotonic clock, or ``(state, now, args)`` where it needs
the arguments: only then is the payload decoded. What a handler raises, the reference raises into its caller.
"""

from __future__ import annotations

from collections.abc import Callable

from eventstore.arguments import Args
from projections.state import State

Bare = Callable[[State, float], None]
WithArgs = Callable[[State, float, Args], None]

BARE: dict[str, Bare] = {}
WITH_ARGS: dict[str, WithArgs] = {}


def bare(handler: Bare) -> Bare:
    BARE[handler.__name__] = handler
    return handler


def with_args(handler: WithArgs) -> WithArgs:
    WITH_ARGS[handler.__name__] = handler
    return handler


def traces_bare(handler: Bare) -> Bare:
    BARE["traces." + handler.__name__] = handler
    return handler


def traces_with_args(handler: WithArgs) -> WithArgs:
    WITH_ARGS["traces." + handler.__name__] = handler
    return handler
