"""Records that a store keeps beside events: content keys, tombstones, delivery cursors, rows of read models."""

from __future__ import annotations

from typing import Literal, NamedTuple

Part = Literal["numbers", "labels", "speech"]
ALL_PARTS: tuple[Part, ...] = ("numbers", "labels", "speech")


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


class Head(NamedTuple):
    """What identifies the content of a session now."""

    session_id: str
    events: int
    seal: str
    """`eventstore.stores.chain.seal` of its origins."""
    has_key: bool
    """Whether its content is encrypted, and not forgotten."""


class RowKey(NamedTuple):
    """What a row was derived from; a row with a different key is stale."""

    session_id: str
    rules: str
    opened: bool
    """Whether the session's content was decrypted; see `eventstore.stores.encrypted`."""
    engine: str
    seal: str


class StoredRow(NamedTuple):
    """The row of a session. Parts that were not read are empty."""

    session_id: str
    rules: str
    opened: bool
    engine: str
    seal: str
    events: int
    turns: int
    voices: int
    response_p95_ms: float | None
    slowest_ms: float | None
    errors: int
    interruptions: int
    no_response: int
    labels: bytes
    speech: bytes
    numbers: bytes

    @property
    def key(self) -> RowKey:
        return RowKey(self.session_id, self.rules, self.opened, self.engine, self.seal)
