"""The ledger of an SQL database: content keys of sessions, tombstones of removed ones, delivery cursors.

The SQL is the same for every database. Nothing here is on a hot path.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, Engine, bindparam, text

from eventstore.errors import StoreError
from eventstore.stores.chain import Origin, seal
from eventstore.stores.records import Cursor, Key, Tombstone
from eventstore.stores.rows import LOCK_ROWS


class SqlLedger:
    """Keys, tombstones and cursors in an SQL database."""

    def __init__(
        self,
        engine: Engine,
        errors: Callable[[], AbstractContextManager[None]],
        scrub: Callable[[], None],
        exclusive_delivery: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        """``scrub`` and ``exclusive_delivery`` implement the methods of the same name for the database."""
        self._engine, self._errors, self._scrub, self._exclusive_delivery = engine, errors, scrub, exclusive_delivery

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        """A transaction in which deleted content is overwritten, not only unlinked."""
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
            yield connection

    def _delete_rows(self, connection: Connection, session_id: str) -> None:
        """Delete the session's rows of read models; no other process can insert some before the commit."""
        if self._engine.dialect.name == "postgresql":
            connection.exec_driver_sql(LOCK_ROWS)
        connection.execute(text("DELETE FROM session_rows WHERE session_id = :id"), {"id": session_id})

    # for audits -----------------------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The database's engine, for `eventstore.integrity.audit`."""
        return self._engine

    def errors(self) -> AbstractContextManager[None]:
        """A context in which the driver's errors are raised as `StoreError`."""
        return self._errors()

    # keys ------------------------------------------------------------------------------------------------------

    def has_keys(self) -> bool:
        """Whether any session of this log is or was encrypted."""
        with self._errors(), self._engine.connect() as connection:
            return bool(connection.execute(text("SELECT EXISTS (SELECT 1 FROM keys)")).scalar())

    def key(self, session_id: str) -> Key | None:
        with self._errors(), self._engine.connect() as connection:
            return _key(connection, session_id)

    def forgotten_sessions(self, sessions: Collection[str]) -> set[str]:
        """The subset of the sessions whose key is destroyed."""
        if not sessions:
            return set()
        select = text("SELECT session_id FROM keys WHERE wrapped IS NULL AND session_id IN :ids")
        named = select.bindparams(bindparam("ids", expanding=True))
        with self._errors(), self._engine.connect() as connection:
            return set(connection.execute(named, {"ids": list(sessions)}).scalars())

    def add_key(self, key: Key) -> Key:
        """Store a session's key; returns the stored one, which is different if another process was first."""
        insert = "INSERT INTO keys (session_id, master, wrapped) VALUES (:session_id, :master, :wrapped)"
        with self._errors(), self._engine.begin() as connection:
            connection.execute(text(insert + " ON CONFLICT (session_id) DO NOTHING"), key._asdict())
            kept = _key(connection, key.session_id)
        assert kept is not None, "a key is never deleted"
        return kept

    def destroy_key(self, session_id: str, forgotten_ns: int) -> None:
        """Destroy the session's key, in the database's files too as far as possible."""
        update = "UPDATE keys SET wrapped = NULL, forgotten_ns = :now WHERE session_id = :id AND wrapped IS NOT NULL"
        with self._errors(), self._begin() as connection:
            connection.execute(text(update), {"now": forgotten_ns, "id": session_id})
            connection.execute(text(_REDACT_DELIVERIES), {"id": session_id, "empty": b""})
            self._delete_rows(connection, session_id)
        self._scrub()

    def masters(self) -> dict[str, int]:
        """Number of session keys that each master key wraps, by fingerprint; destroyed keys are not counted."""
        select = "SELECT master, COUNT(*) FROM keys WHERE wrapped IS NOT NULL GROUP BY master ORDER BY master"
        with self._errors(), self._engine.connect() as connection:
            return {master: count for master, count in connection.execute(text(select))}  # noqa: C416 - a result has keys()

    def keys(self, after: str = "", limit: int = 1000) -> list[Key]:
        """The keys that are not destroyed, ordered by session: at most ``limit``, after the session ``after``."""
        select = (
            "SELECT session_id, master, wrapped, forgotten_ns FROM keys "
            "WHERE wrapped IS NOT NULL AND session_id > :after ORDER BY session_id LIMIT :limit"
        )
        with self._errors(), self._engine.connect() as connection:
            return [Key(*row) for row in connection.execute(text(select), {"after": after, "limit": limit})]

    def rewrap(self, keys: Sequence[tuple[Key, Key]]) -> int:
        """Replace each first key by the second, in one transaction; returns how many were replaced.

        A key that has changed meanwhile is left. The old wrapped keys stay in the database's files until `scrub`.
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

    # tombstones ------------------------------------------------------------------------------------------------

    def remove(self, tombstone: Tombstone) -> None:
        """Replace a session by its tombstone.

        Raises `StoreError`, changing nothing, if the session no longer matches the tombstone's seal.
        """
        one = {"id": tombstone.session_id}
        theirs = "WHERE origin_id IN (SELECT id FROM origins WHERE session_id = :id)"
        lock = "" if self._engine.dialect.name == "sqlite" else " FOR UPDATE"
        select = "SELECT session_id, origin, events, link FROM origins WHERE session_id = :id AND events > 0"
        with self._errors(), self._begin() as connection:
            origins = [Origin(*row) for row in connection.execute(text(select + lock), one)]
            if seal(origins) != tombstone.seal:
                raise StoreError(
                    f"session {tombstone.session_id!r} has changed since it was archived; archive it again"
                )
            connection.execute(text("INSERT INTO unlocked (session_id) VALUES (:id)"), one)
            connection.execute(text(f"DELETE FROM events {theirs}"), one)
            connection.execute(text("DELETE FROM origins WHERE session_id = :id"), one)
            connection.execute(text("DELETE FROM unlocked WHERE session_id = :id"), one)
            connection.execute(text(_REDACT_DELIVERIES), one | {"empty": b""})
            self._delete_rows(connection, tombstone.session_id)
            columns = ", ".join(Tombstone._fields)
            values = ", ".join(f":{name}" for name in Tombstone._fields)
            connection.execute(text(f"INSERT INTO removals ({columns}) VALUES ({values})"), tombstone._asdict())

    def scrub(self) -> None:
        """Erase deleted content from the database's files too, as far as possible.

        Raises `StoreUnavailable` if other processes still read the previous state.
        """
        self._scrub()

    def tombstones(self) -> list[Tombstone]:
        """All tombstones, oldest first."""
        select = f"SELECT {', '.join(Tombstone._fields)} FROM removals ORDER BY id"
        with self._errors(), self._engine.connect() as connection:
            return [Tombstone(*row) for row in connection.execute(text(select))]

    # deliveries ------------------------------------------------------------------------------------------------

    def cursors(self, exporter: str | None = None) -> list[Cursor]:
        """The cursors of an exporter, or of all, sorted by exporter and session."""
        select = f"SELECT {', '.join(Cursor._fields)} FROM deliveries"
        where = "" if exporter is None else " WHERE exporter = :exporter"
        with self._errors(), self._engine.connect() as connection:
            rows = connection.execute(text(select + where), {} if exporter is None else {"exporter": exporter})
            return sorted(Cursor(*row) for row in rows)

    def save_cursor(self, cursor: Cursor) -> None:
        """Insert or replace the exporter's cursor on a session."""
        columns, values = ", ".join(Cursor._fields), ", ".join(f":{name}" for name in Cursor._fields)
        updates = ", ".join(f"{name} = excluded.{name}" for name in Cursor._fields[2:])
        insert = f"INSERT INTO deliveries ({columns}) VALUES ({values})"
        upsert = f"{insert} ON CONFLICT (exporter, session_id) DO UPDATE SET {updates}"
        with self._errors(), self._engine.begin() as connection:
            connection.execute(text(upsert), cursor._asdict())

    def exclusive_delivery(self, exporter: str) -> AbstractContextManager[None]:
        """A lock for delivering to an exporter, released when the process ends at the latest.

        Raises `StoreUnavailable` if another process holds it.
        """
        return self._exclusive_delivery(exporter)


# A refusal message may quote content, and a digest can be brute-forced: redact both.
_REDACT_DELIVERIES = (
    "UPDATE deliveries SET digest = :empty, parked = CASE WHEN parked IS NULL THEN NULL ELSE 'refused' END "
    "WHERE session_id = :id"
)


def _key(connection: Connection, session_id: str) -> Key | None:
    select = text("SELECT session_id, master, wrapped, forgotten_ns FROM keys WHERE session_id = :id")
    row = connection.execute(select, {"id": session_id}).first()
    return None if row is None else Key(*row)
