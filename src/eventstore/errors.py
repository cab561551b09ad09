"""What can go wrong, each with one clear line that says what to do."""

from __future__ import annotations

from collections.abc import Mapping


class TurnlogError(Exception):
    """Base of every error this project raises on purpose."""


class UnknownHook(TurnlogError):
    """A recording names a hook that the vocabulary does not have."""


class BadArguments(TurnlogError):
    """A recorded call lacks an argument, or has one that its hook does not take."""


class NewerEvent(TurnlogError):
    """An event's schema version is one that only a newer turnlog understands."""


class NotCanonical(TurnlogError):
    """Events were handed to a projection out of order."""


class JournalError(TurnlogError):
    """A journal file is not what it should be."""


class StoreError(TurnlogError):
    """The event store refused.

    Of its kinds, those that are about the database as a whole (`StoreUnavailable`, `StoreReadOnly`, `NewerDatabase`)
    may pass. Any other, raised by an append, is about what was appended, for good.
    """

    of_session = False
    """Whether it is the event's whole session that is refused."""


class StoreUnavailable(StoreError):
    """The database cannot take the transaction now (locked, full, gone); trying again later may help."""


class StoreReplaced(StoreUnavailable):
    """The database is no longer the one that was written to before; append again, to the one that is there now.

    What was stored before may be missing from it.
    """

    def __init__(self, message: str, missing: Mapping[tuple[str, str], int]) -> None:
        """``missing``: how many stored events of which session and origin are not there any more."""
        super().__init__(message)
        self.missing = missing


class StoreReadOnly(StoreError):
    """The database may be read but not written."""


class StoreDamaged(StoreError):
    """The database's own structure is not what it should be: a table is gone, the file is malformed.

    It is no fault of what was appended, so recorders keep that in their journal and try again.
    """


class NewerDatabase(StoreError):
    """The database was migrated by a newer turnlog."""


class IdentityConflict(StoreError):
    """The same ``(session_id, origin, seq)`` came with other content: an event is never rewritten."""
