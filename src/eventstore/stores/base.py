"""The `Store` and `Ledger` protocols that every backend implements."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from eventstore.event import Event
from eventstore.stores.chain import Linked, Origin
from eventstore.stores.records import Cursor, Head, Key, Part, RowKey, StoredRow, Tombstone


class Session(NamedTuple):
    """Summary of a recorded session, as listed by `Store.sessions`."""

    session_id: str
    events: int
    origins: int
    started_ns: int
    """Wall clock of the first event of its earliest origin, since the epoch."""
    ended_ns: int
    """Wall clock of the last event of its latest origin."""


class Followed(NamedTuple):
    """An event with its position, as `Store.follow` yields it."""

    position: str
    """Resume point: pass it to `Store.follow` as ``after``. Opaque, and valid for this store only."""
    event: Event


class Ledger(Protocol):
    """Content keys, tombstones and delivery cursors; documented in `eventstore.stores.ledger`."""

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


class Rows(Protocol):
    """A place for rows of read models. Safe to use from several threads and processes at once."""

    def read(self, keys: Sequence[RowKey], parts: Collection[Part] = ()) -> dict[str, StoredRow]:
        """The fresh rows among those with these keys, by session; the keys have the same rules and engine."""
        ...

    def fresh(self, keys: Sequence[RowKey]) -> set[str]:
        """The sessions of those keys that have a fresh row; without reading it."""
        ...

    def put(self, rows: Sequence[StoredRow]) -> None:
        """Insert or replace rows, in one transaction.

        Rows of sessions that have changed since are left out. Raises `StoreUnavailable`, `StoreReadOnly`.
        """
        ...

    def stored_keys(self) -> list[RowKey]:
        """The keys of all rows, ordered by session."""
        ...

    def delete(self, sessions: Collection[str]) -> None:
        """Delete all rows of the sessions."""
        ...


class Store(Protocol):
    """An append-only log of events. Safe to use from several threads at once."""

    encrypts: bool
    """Whether content is encrypted before it is stored. If so, the journal must not keep a clear copy either."""

    reopen: Callable[[], Store] | None
    """Opens the same log in a different process, to which it can be pickled; None for a store in memory."""

    @property
    def ledger(self) -> Ledger:
        """Keys of encrypted sessions, tombstones of removed ones, cursors of deliveries."""
        ...

    @property
    def decrypts(self) -> bool:
        """Whether there is a master key, so that `read` decrypts content."""
        ...

    @property
    def rows(self) -> Rows:
        """Rows of the read models, derived from the log."""
        ...

    @property
    def journal(self) -> Path | None:
        """Folder where recorders keep calls that are not in the store yet."""
        ...

    def append(self, events: Iterable[Event]) -> Sequence[int]:
        """Append in one transaction, all or nothing; returns each event's position (looked up lazily).

        Idempotent: an event that is stored already keeps its position. Positions only grow and are never reused; they
        have no other meaning. Raises `IdentityConflict` if an identity is stored with different content,
        `StoreUnavailable` if a retry may succeed, `StoreReadOnly`.
        """
        ...

    def read(self, session_id: str) -> Iterator[Event]:
        """Stream a session's events in canonical order (`eventstore.event.merge`); empty if the session is unknown."""
        ...

    def read_many(self, session_ids: Iterable[str]) -> Iterator[tuple[str, Iterator[Event]]]:
        """Each session's name and events, in the order of the names; faster than `read` for each where that matters.

        Read each session's events before advancing to the next. An error of a session is raised by its events.
        """
        ...

    def chains(self, session_id: str) -> Iterator[tuple[Origin, Iterator[Linked]]]:
        """A session's origins by name, each with its events as stored, in storage order.

        Read each origin's events before advancing to the next origin.
        """
        ...

    def sessions(self) -> list[Session]:
        """All sessions, most recently started first."""
        ...

    def heads(self) -> dict[str, Head]:
        """What identifies the content of each session now, by name."""
        ...

    def follow(
        self, after: str | None = None, *, session_id: str | None = None, stop: threading.Event | None = None
    ) -> Iterator[Followed]:
        """Yield the events after the position ``after`` (None: from the beginning), then new ones as they are
        committed.

        Every committed event is yielded exactly once, in an order that is safe to resume; within one origin not
        necessarily by ``seq``. Ends when ``stop`` is set. Raises `StoreUnavailable` if the database goes away: call it
        again with the last position.
        """
        ...

    def close(self) -> None: ...
