"""What can go wrong, each with one clear line that says what to do."""

from __future__ import annotations


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
    """The event store refused."""


class StoreUnavailable(StoreError):
    """The database cannot take the transaction now (locked, full, gone); trying again later may help."""


class StoreReadOnly(StoreError):
    """The database may be read but not written."""


class NewerDatabase(StoreError):
    """The database was migrated by a newer turnlog."""


class IdentityConflict(StoreError):
    """The same ``(session_id, origin, seq)`` came with other content: an event is never rewritten."""
