"""What a database keeps beside the events: the sessions' content keys, the tombstones of what was removed, and how far
sessions were delivered.

The same SQL for every database. Nothing here is on a hot path.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, Engine, bindparam, text

from eventstore.errors import StoreError
from eventstore.stores.chain import Origin, seal
from eventstore.stores.records import Cursor, Key, Tombstone


class SqlLedger:
    """Keys, tombstones and cursors in an SQL database."""

    def __init__(
        self,
        engine: Engine,
        errors: Callable[[], AbstractContextManager[None]],
        scrub: Callable[[], None],
        exclusive_delivery: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        """``scrub`` takes from the files what a transaction has overwritten; ``alone`` is what `alone` does."""
        self._engine, self._errors, self._scrub, self._exclusive_delivery = engine, errors, scrub, exclusive_delivery

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        """A transaction in which what is deleted is overwritten, not only unlinked."""
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
            yield connection

    # reading what is stored, whatever it is ---------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """Of the database; for `eventstore.integrity.audit`."""
        return self._engine

    def errors(self) -> AbstractContextManager[None]:
        """In it, the driver's errors are raised as `StoreError`."""
        return self._errors()

    # keys ------------------------------------------------------------------------------------------------------

    def has_keys(self) -> bool:
        """Whether any session of this log is, or was, encrypted."""
        with self._errors(), self._engine.connect() as connection:
            return bool(connection.execute(text("SELECT EXISTS (SELECT 1 FROM keys)")).scalar())

    def key(self, session_id: str) -> Key | None:
        with self._errors(), self._engine.connect() as connection:
            return _key(connection, session_id)

    def forgotten_sessions(self, sessions: Collection[str]) -> set[str]:
        """Those of the sessions whose key is destroyed."""
        if not sessions:
            return set()
        select = text("SELECT session_id FROM keys WHERE wrapped IS NULL AND session_id IN :ids")
        named = select.bindparams(bindparam("ids", expanding=True))
        with self._errors(), self._engine.connect() as connection:
            return set(connection.execute(named, {"ids": list(sessions)}).scalars())

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
            connection.execute(text(_REDACT_DELIVERIES), {"id": session_id, "empty": b""})
        self._scrub()

    def masters(self) -> dict[str, int]:
        """How many sessions' keys each master key wraps, by its fingerprint; destroyed ones are not counted."""
        select = "SELECT master, COUNT(*) FROM keys WHERE wrapped IS NOT NULL GROUP BY master ORDER BY master"
        with self._errors(), self._engine.connect() as connection:
            return {master: count for master, count in connection.execute(text(select))}

    def keys(self, after: str = "", limit: int = 1000) -> list[Key]:
        """The keys that are not destroyed, by session, at most ``limit`` of those behind ``after``."""
        select = (
            "SELECT session_id, master, wrapped, forgotten_ns FROM keys "
            "WHERE wrapped IS NOT NULL AND session_id > :after ORDER BY session_id LIMIT :limit"
        )
        with self._errors(), self._engine.connect() as connection:
            return [Key(*row) for row in connection.execute(text(select), {"after": after, "limit": limit})]

    def rewrap(self, keys: Sequence[tuple[Key, Key]]) -> int:
        """Put each second key in the place of the first, in one transaction; returns how many were still as given.

        What they were wrapped as stays in the database's files until `scrub`.
        """
        update = text(
            "UPDATE keys SET master = :master, wrapped = :wrapped "
            "WHERE session_id = :session_id AND master = :was AND wrapped = :before"
        )
        with self._errors(), self._begin() as connection:
            return sum(
                connection.execute(update, new._asdict() | {"was": old.master, "before": old.wrapped}).rowcount
                for old, new in keys
            )

    # removals --------------------------------------------------------------------------------------------------

    def remove(self, tombstone: Tombstone) -> None:
        """Remove a session, leaving the tombstone.

        Raises `StoreError`, with nothing done, if the session is no longer what the tombstone's seal says.
        """
        one = {"id": tombstone.session_id}
        theirs = "WHERE origin_id IN (SELECT id FROM origins WHERE session_id = :id)"
        lock = "" if self._engine.dialect.name == "sqlite" else " FOR UPDATE"
        select = "SELECT session_id, origin, events, link FROM origins WHERE session_id = :id AND events > 0"
        with self._errors(), self._begin() as connection:
            origins = [Origin(*row) for row in connection.execute(text(select + lock), one)]
            if seal(origins) != tombstone.seal:
                raise StoreError(
                    f"session {tombstone.session_id!r} has changed since it was archived; it is not removed"
                )
            connection.execute(text("INSERT INTO unlocked (session_id) VALUES (:id)"), one)
            connection.execute(text(f"DELETE FROM events {theirs}"), one)
            connection.execute(text("DELETE FROM origins WHERE session_id = :id"), one)
            connection.execute(text("DELETE FROM unlocked WHERE session_id = :id"), one)
            connection.execute(text(_REDACT_DELIVERIES), one | {"empty": b""})
            columns = ", ".join(Tombstone._fields)
            values = ", ".join(f":{name}" for name in Tombstone._fields)
            connection.execute(text(f"INSERT INTO removals ({columns}) VALUES ({values})"), tombstone._asdict())

    def scrub(self) -> None:
        """Take what was removed from the database's files too, as far as that can be done from here.

        Raises `StoreUnavailable` if others still read the state before.
        """
        self._scrub()

    def tombstones(self) -> list[Tombstone]:
        """All tombstones, the oldest first."""
        select = f"SELECT {', '.join(Tombstone._fields)} FROM removals ORDER BY id"
        with self._errors(), self._engine.connect() as connection:
            return [Tombstone(*row) for row in connection.execute(text(select))]

    # deliveries ------------------------------------------------------------------------------------------------

    def cursors(self, exporter: str | None = None) -> list[Cursor]:
        """Of the exporter, or all, by exporter and session."""
        select = f"SELECT {', '.join(Cursor._fields)} FROM deliveries"
        where = "" if exporter is None else " WHERE exporter = :exporter"
        with self._errors(), self._engine.connect() as connection:
            rows = connection.execute(text(select + where), {} if exporter is None else {"exporter": exporter})
            return sorted(Cursor(*row) for row in rows)

    def save_cursor(self, cursor: Cursor) -> None:
        """Keep the cursor in the place of the one that the exporter has on the session."""
        columns, values = ", ".join(Cursor._fields), ", ".join(f":{name}" for name in Cursor._fields)
        moved = ", ".join(f"{name} = excluded.{name}" for name in Cursor._fields[2:])
        insert = f"INSERT INTO deliveries ({columns}) VALUES ({values})"
        upsert = f"{insert} ON CONFLICT (exporter, session_id) DO UPDATE SET {moved}"
        with self._errors(), self._engine.begin() as connection:
            connection.execute(text(upsert), cursor._asdict())

    def exclusive_delivery(self, exporter: str) -> AbstractContextManager[None]:
        """While it is held, no other delivers for that exporter; it ends with the process at the latest.

        Raises `StoreUnavailable` if another holds it.
        """
        return self._exclusive_delivery(exporter)


# An endpoint's reason may tell content, and so may a digest to who can guess it.
_REDACT_DELIVERIES = (
    "UPDATE deliveries SET digest = :empty, parked = CASE WHEN parked IS NULL THEN NULL ELSE 'refused' END "
    "WHERE session_id = :id"
)


def _key(connection: Connection, session_id: str) -> Key | None:
    select = text("SELECT session_id, master, wrapped, forgotten_ns FROM keys WHERE session_id = :id")
    row = connection.execute(select, {"id": session_id}).first()
    return None if row is None else Key(*row)
