"""Where a session that cannot be replayed becomes one clear error.

A log may hold what no recorder of ours wrote: payloads of other types, numbers beyond every range. Whatever a
projection stumbles over there is `CannotReplay`, so that the next session can go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eventstore.errors import TurnlogError

UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, UnboundLocalError)
"""What projections raise over values they did not expect."""


class CannotReplay(TurnlogError):
    """A session of which no projection can be made."""

    def __init__(self, session_id: str, where: str, error: Exception) -> None:
        what = f"{type(error).__name__}: {str(error)[:200]}"
        super().__init__(f"session {session_id!r} cannot be replayed: {where + ': ' if where else ''}{what}")


@contextmanager
def replaying(session_id: str) -> Iterator[None]:
    """Raises `CannotReplay` for what a projection, or an exporter, stumbles over inside."""
    try:
        yield
    except UNREADABLE as error:
        raise CannotReplay(session_id, "", error) from error
