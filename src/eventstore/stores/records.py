"""Records of a store's ledger: content keys, tombstones, delivery cursors."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """A session's content key, as stored."""

    session_id: str
    master: str
    """Fingerprint of the master key that wrapped it."""
    wrapped: bytes | None
    """The encrypted key; None once the session was forgotten."""
    forgotten_ns: int | None = None
    """When the key was destroyed, since the epoch."""


class Tombstone(NamedTuple):
    """The tombstone of a session that retention has removed."""

    session_id: str
    events: int
    started_ns: int
    ended_ns: int
    seal: str
    """`eventstore.stores.chain.seal` of the session; its archive must have the same."""
    archive: str
    """Path of the archive."""
    removed_ns: int


class Cursor(NamedTuple):
    """How far a session was delivered to an exporter."""

    exporter: str
    session_id: str
    done: int = 0
    """Number of the session's items that were delivered."""
    digest: bytes = b""
    """Digest of those items; empty if they are not to be compared."""
    events: int = 0
    """Number of events the session had when all its items were delivered."""
    parked: str | None = None
    """Why delivery is suspended, until it is requested explicitly; None if it is not."""
    updated_ns: int = 0
    """When the cursor was last saved, since the epoch."""
