"""The error for a session that cannot be replayed.

A log may hold events that turnlog did not record: payloads of other types, numbers out of range. What a projection
raises over them becomes `CannotReplay`, so that the caller can continue with the next session.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eventstore.errors import TurnlogError

UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, UnboundLocalError)
"""Errors that projections raise on unexpected values."""


class CannotReplay(TurnlogError):
    """A session that cannot be replayed."""

    def __init__(self, session_id: str, where: str, error: Exception) -> None:
        what = f"{type(error).__name__}: {str(error)[:200]}"
        super().__init__(f"session {session_id!r} cannot be replayed: {where + ': ' if where else ''}{what}")


@contextmanager
def replaying(session_id: str) -> Iterator[None]:
    """Convert the errors of a projection, or an exporter, in the block to `CannotReplay`."""
    try:
        yield
    except UNREADABLE as error:
        raise CannotReplay(session_id, "", error) from error
