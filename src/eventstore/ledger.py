"""What a database keeps beside the events: the sessions' content keys, and the tombstones of what was removed.

The same SQL for every database. Nothing here is on a hot path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from eventstore.chain import Origin, seal
from eventstore.errors import StoreError


class Key(NamedTuple):
    """A session's content key, as the database has it."""

    session_id: str
    master: str
    """Which master key wrapped it: a fingerprint."""
    wrapped: bytes | None
    """None once it was forgotten."""
    forgotten_ns: int | None = None
    """When, since the epoch."""


class Removal(NamedTuple):
    """The tombstone of a session that retention has removed."""

    session_id: str
    events: int
    started_ns: int
    ended_ns: int
    seal: str
    """What `eventstore.chain.seal` made of the session; its archive must give the same."""
    archive: str
    """Where it was archived."""
    removed_ns: int


class Ledger:
    """Keys and tombstones in an SQL database."""

    def __init__(
        self, engine: Engine, errors: Callable[[], AbstractContextManager[None]], scrub: Callable[[], None]
    ) -> None:
        """``scrub`` takes from the files what a transaction has overwritten."""
        self._engine, self._errors, self._scrub = engine, errors, scrub

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        """A transaction in which what is deleted is overwritten, not only unlinked."""
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
            yield connection

    # keys ------------------------------------------------------------------------------------------------------

    def has_keys(self) -> bool:
        """Whether any session of this log is, or was, encrypted."""
        with self._errors(), self._engine.connect() as connection:
            return bool(connection.execute(text("SELECT EXISTS (SELECT 1 FROM keys)")).scalar())

    def key(self, session_id: str) -> Key | None:
        with self._errors(), self._engine.connect() as connection:
            return _key(connection, session_id)

    def add_key(self, key: Key) -> Key:
        """Keep the session's key; returns the one that is kept, which may be another's who came first."""
        insert = "INSERT INTO keys (session_id, master, wrapped) VALUES (:session_id, :master, :wrapped)"
        with self._errors(), self._engine.begin() as connection:
            connection.execute(text(insert + " ON CONFLICT (session_id) DO NOTHING"), key._asdict())
            kept = _key(connection, key.session_id)
        assert kept is not None, "a key is never deleted"
        return kept

    def destroy_key(self, session_id: str, forgotten_ns: int) -> None:
        """Destroy the session's key, in the database's files too, as far as that can be done from here."""
        update = "UPDATE keys SET wrapped = NULL, forgotten_ns = :now WHERE session_id = :id AND wrapped IS NOT NULL"
        with self._errors(), self._begin() as connection:
            connection.execute(text(update), {"now": forgotten_ns, "id": session_id})
        self._scrub()

    # removals --------------------------------------------------------------------------------------------------

    def remove(self, removal: Removal) -> None:
        """Remove a session, leaving the tombstone.

        Raises `StoreError`, with nothing done, if the session is no longer what the tombstone's seal says.
        """
        one = {"id": removal.session_id}
        theirs = "WHERE origin_id IN (SELECT id FROM origins WHERE session_id = :id)"
        lock = "" if self._engine.dialect.name == "sqlite" else " FOR UPDATE"
        select = "SELECT session_id, origin, events, link FROM origins WHERE session_id = :id AND events > 0"
        with self._errors(), self._begin() as connection:
            origins = [Origin(*row) for row in connection.execute(text(select + lock), one)]
            if seal(origins) != removal.seal:
                raise StoreError(f"session {removal.session_id!r} has changed since it was archived; it is not removed")
            connection.execute(text("INSERT INTO unlocked (session_id) VALUES (:id)"), one)
            connection.execute(text(f"DELETE FROM events {theirs}"), one)
            connection.execute(text("DELETE FROM origins WHERE session_id = :id"), one)
            connection.execute(text("DELETE FROM unlocked WHERE session_id = :id"), one)
            columns = ", ".join(Removal._fields)
            values = ", ".join(f":{name}" for name in Removal._fields)
            connection.execute(text(f"INSERT INTO removals ({columns}) VALUES ({values})"), removal._asdict())

    def removals(self) -> list[Removal]:
        """All tombstones, the oldest first."""
        select = f"SELECT {', '.join(Removal._fields)} FROM removals ORDER BY id"
        with self._errors(), self._engine.connect() as connection:
            return [Removal(*row) for row in connection.execute(text(select))]


def _key(connection: Connection, session_id: str) -> Key | None:
    select = text("SELECT session_id, master, wrapped, forgotten_ns FROM keys WHERE session_id = :id")
    row = connection.execute(select, {"id": session_id}).first()
    return None if row is None else Key(*row)
