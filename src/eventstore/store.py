"""The event store: what every backend offers, and `open_store`, which picks one by URL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from eventstore.errors import StoreError
from eventstore.event import Event


class Session(NamedTuple):
    """A recorded session, as the list of sessions shows it."""

    session_id: str
    events: int
    origins: int
    started_ns: int
    """Wall clock of the first event of its earliest origin, since the epoch."""
    ended_ns: int
    """Wall clock of the last event of its latest origin."""


class Store(Protocol):
    """An append-only log of events. Safe to use from several threads at once."""

    @property
    def journal(self) -> Path | None:
        """The folder where recorders keep calls that are not in the store yet."""
        ...

    def append(self, events: Iterable[Event]) -> Sequence[int]:
        """Append in one transaction, all or nothing; returns each event's position.

        Idempotent: an event that is stored already gives its old position. Positions only grow, are never reused, and
        mean nothing else. Raises `IdentityConflict` if an identity is stored with other content, `StoreUnavailable`
        if trying again may help, `StoreReadOnly`.
        """
        ...

    def read(self, session_id: str) -> Iterator[Event]:
        """Stream a session's events in canonical order (`eventstore.event.merge`); none if it is unknown."""
        ...

    def sessions(self) -> list[Session]:
        """All sessions, the latest started first."""
        ...

    def close(self) -> None: ...


def open_store(url: str | Path) -> Store:
    """Open the store at ``url``, creating or migrating it where needed.

    ``sqlite:///calls.db`` (or just a path) is an embedded database, ``memory:`` a store that ends with the process.
    Raises `StoreError`, or one of its kinds, with what to do.
    """
    text = str(url)
    if "://" not in text and text != "memory:":
        from eventstore.sqlite_store import SqliteStore

        return SqliteStore.at(Path(text).expanduser())
    if text == "memory:":
        from eventstore.memory_store import MemoryStore

        return MemoryStore()
    if text.startswith("sqlite:"):
        from eventstore.sqlite_store import SqliteStore

        return SqliteStore(text)
    scheme = text.partition(":")[0]
    raise StoreError(f"no store for {scheme!r} URLs in this version; use sqlite:///PATH, a path, or memory:")
