"""The project's exceptions. Each message is one line that says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Mapping


class TurnlogError(Exception):
    """Base class of all errors of this project."""


class UnknownHook(TurnlogError):
    """A recording contains a hook that is not in the vocabulary."""


class BadArguments(TurnlogError):
    """A recorded call lacks a required argument or has an unknown one."""


class NewerEvent(TurnlogError):
    """An event has a schema version that only a newer turnlog supports."""


class NotCanonical(TurnlogError):
    """Events were passed to a projection out of order."""


class JournalError(TurnlogError):
    """A file is not a valid journal."""


class StoreError(TurnlogError):
    """The event store refused an operation.

    Subclasses about the database as a whole (`StoreUnavailable`, `StoreReadOnly`, `StoreDamaged`, `NewerDatabase`) may
    be transient. Any other one raised by an append is permanent, and about the appended events.
    """

    of_session = False
    """Whether the whole session is refused, not only one event."""


class StoreUnavailable(StoreError):
    """The database cannot take the transaction now (locked, full, gone); a later retry may succeed."""


class StoreReplaced(StoreUnavailable):
    """The database was replaced since the last append. Append again, to write to the current one.

    Events stored before may be missing from it.
    """

    def __init__(self, message: str, missing: Mapping[tuple[str, str], int]) -> None:
        """``missing``: number of stored events that are gone, by session and origin."""
        super().__init__(message)
        self.missing = missing


class StoreReadOnly(StoreError):
    """The database can be read but not written."""


class StoreDamaged(StoreError):
    """The database is damaged: a table is missing, or the file is malformed.

    The appended events are not at fault, so recorders keep them in the journal and retry.
    """


class NewerDatabase(StoreError):
    """The database has the schema of a newer turnlog."""


class IdentityConflict(StoreError):
    """``(session_id, origin, seq)`` is stored with different content; events are never rewritten."""
