"""What a store keeps beside the events: content keys, tombstones, delivery cursors."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """A session's content key, as the database has it."""

    session_id: str
    master: str
    """Which master key wrapped it: a fingerprint."""
    wrapped: bytes | None
    """None once it was forgotten."""
    forgotten_ns: int | None = None
    """When, since the epoch."""


class Tombstone(NamedTuple):
    """The tombstone of a session that retention has removed."""

    session_id: str
    events: int
    started_ns: int
    ended_ns: int
    seal: str
    """What `eventstore.stores.chain.seal` made of the session; its archive must give the same."""
    archive: str
    """Where it was archived."""
    removed_ns: int


class Cursor(NamedTuple):
    """How far a session was delivered to an exporter."""

    exporter: str
    session_id: str
    done: int = 0
    """So many of its items were taken."""
    digest: bytes = b""
    """Of those items; empty if they are not to be compared."""
    events: int = 0
    """So many events the session had when all that it gave was delivered."""
    parked: str | None = None
    """Why it is delivered no further, until somebody asks for it."""
    updated_ns: int = 0
    """Since the epoch."""
