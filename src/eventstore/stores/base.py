"""The event store: what every backend offers."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from eventstore.event import Event
from eventstore.stores.chain import Linked, Origin
from eventstore.stores.records import Cursor, Key, Tombstone


class Session(NamedTuple):
    """A recorded session, as the list of sessions shows it."""

    session_id: str
    events: int
    origins: int
    started_ns: int
    """Wall clock of the first event of its earliest origin, since the epoch."""
    ended_ns: int
    """Wall clock of the last event of its latest origin."""


class Followed(NamedTuple):
    """An event as a follower gets it."""

    position: str
    """Where to go on: give it to `Store.follow` as ``after``. Opaque; of this store only."""
    event: Event


class Ledger(Protocol):
    """What a store keeps beside the events; see `eventstore.stores.ledger`."""

    def has_keys(self) -> bool: ...
    def key(self, session_id: str) -> Key | None: ...
    def forgotten_sessions(self, sessions: Collection[str]) -> set[str]: ...
    def add_key(self, key: Key) -> Key: ...
    def destroy_key(self, session_id: str, forgotten_ns: int) -> None: ...
    def masters(self) -> dict[str, int]: ...
    def keys(self, after: str = "", limit: int = 1000) -> list[Key]: ...
    def rewrap(self, keys: Sequence[tuple[Key, Key]]) -> int: ...
    def remove(self, tombstone: Tombstone) -> None: ...
    def scrub(self) -> None: ...
    def tombstones(self) -> list[Tombstone]: ...
    def cursors(self, exporter: str | None = None) -> list[Cursor]: ...
    def save_cursor(self, cursor: Cursor) -> None: ...
    def exclusive_delivery(self, exporter: str) -> AbstractContextManager[None]: ...


class Store(Protocol):
    """An append-only log of events. Safe to use from several threads at once."""

    encrypts: bool
    """Whether content is sealed before it is stored; then no copy of it may lie about elsewhere, either."""

    @property
    def ledger(self) -> Ledger:
        """Keys of encrypted sessions, tombstones of removed ones, cursors of deliveries."""
        ...

    @property
    def journal(self) -> Path | None:
        """The folder where recorders keep calls that are not in the store yet."""
        ...

    def append(self, events: Iterable[Event]) -> Sequence[int]:
        """Append in one transaction, all or nothing; returns each event's position (looked up when asked for).

        Idempotent: an event that is stored already gives its old position. Positions only grow, are never reused, and
        mean nothing else. Raises `IdentityConflict` if an identity is stored with other content, `StoreUnavailable`
        if trying again may help, `StoreReadOnly`.
        """
        ...

    def read(self, session_id: str) -> Iterator[Event]:
        """Stream a session's events in canonical order (`eventstore.event.merge`); none if it is unknown."""
        ...

    def chains(self, session_id: str) -> Iterator[tuple[Origin, Iterator[Linked]]]:
        """A session's origins by name, each with its events as they are stored, in the order in which they were.

        Each origin's events must be read before the next origin is asked for.
        """
        ...

    def sessions(self) -> list[Session]:
        """All sessions, the latest started first."""
        ...

    def follow(
        self, after: str | None = None, *, session_id: str | None = None, stop: threading.Event | None = None
    ) -> Iterator[Followed]:
        """Catch up from behind ``after`` (None: from the beginning), then stay, as events are committed.

        Every committed event comes exactly once, in an order in which it was safe to read them; inside one origin not
        necessarily by ``seq``. Ends when ``stop`` is set. Raises `StoreUnavailable` if the database goes away: follow
        again from the last position.
        """
        ...

    def close(self) -> None: ...
