"""The Postgres store (psycopg 3): many hosts, one log.

A large batch is copied straight into the table, in binary; should one of its events be there already, the transaction
is undone and the batch takes the careful way, which a small batch takes at once: one statement, one round trip, that
inserts what is new, and nothing at all if an identity is taken by other content.

Each row carries the id of its transaction. A transaction may commit after one that began later, so a reader that went
by position would pass over its rows; `follow` goes by ``(xid, position)`` and only as far as no transaction is open.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from hashlib import blake2b
from itertools import starmap
from threading import Event as Flag
from typing import Any

import msgspec
import psycopg
from platformdirs import user_state_path
from psycopg import errors, sql
from sqlalchemy import URL, create_engine
from sqlalchemy.exc import DBAPIError

from eventstore import schema
from eventstore.errors import IdentityConflict, StoreError, StoreReadOnly, StoreUnavailable
from eventstore.event import Event, conflict, merge
from eventstore.store import Followed, Session

_TYPES = ("text", "text", "int8", "text", "int4", "int8", "int8", "text")
_COLUMNS = ", ".join(schema.COLUMNS)
_UNNEST = ", ".join(f"%s::{kind}[]" for kind in _TYPES)
_INSERT = f"""
WITH offered AS (SELECT * FROM unnest({_UNNEST}) AS o ({_COLUMNS}))
INSERT INTO events ({_COLUMNS}) SELECT * FROM offered WHERE NOT EXISTS (
    SELECT FROM offered o JOIN events e USING (session_id, origin, seq)
    WHERE ({", ".join(f"e.{c}" for c in schema.COLUMNS[3:])})
        IS DISTINCT FROM ({", ".join(f"o.{c}" for c in schema.COLUMNS[3:])}))
ON CONFLICT (session_id, origin, seq) DO NOTHING
RETURNING session_id, origin, seq, position
"""
_FIND = f"SELECT position, {_COLUMNS} FROM events WHERE session_id = %s AND origin = %s AND seq = %s"
_POSITIONS = "SELECT nextval(pg_get_serial_sequence('events', 'position')) FROM generate_series(1, %s)"
_COPY = f"COPY events (position, {_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_ORIGINS = "SELECT DISTINCT origin FROM events WHERE session_id = %s"
_READ = f"SELECT {', '.join(schema.COLUMNS[2:])} FROM events WHERE session_id = %s AND origin = %s ORDER BY seq"
_FOLLOW = f"""
SELECT xid::text, position, {_COLUMNS} FROM events
WHERE (xid, position) > (%s::xid8, %s) AND xid < pg_snapshot_xmin(pg_current_snapshot())
    AND (%s::text IS NULL OR session_id = %s)
ORDER BY xid, position LIMIT {schema.FOLLOW_BATCH}
"""
CHANNEL = "turnlog"
COPY_FROM = 50
"""Batches of at least so many events are copied."""
POLL_SECONDS = 0.1
"""How long a follower waits for a notification before it looks by itself."""
_as_tuple = msgspec.structs.astuple


class PostgresStore:
    def __init__(self, url: URL, *, migrate: bool) -> None:
        """Raises `StoreError` with what to do; without ``migrate``, also if the schema is not there or too old."""
        self._url = url.set(drivername="postgresql+psycopg")
        self._name = self._url.render_as_string(hide_password=True)
        self.journal = user_state_path("turnlog") / "journal" / blake2b(self._name.encode(), digest_size=8).hexdigest()
        self._engine = create_engine(self._url, pool_pre_ping=True, pool_size=5, max_overflow=50)
        self._notified = 0.0
        schema.dispose_in_child(self._engine)
        try:
            with self._errors(), self._engine.begin() as connection:
                if migrate:
                    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7404701)")  # one at a time
                    schema.migrate(connection)
                else:
                    schema.check(connection, f"turnlog init --db '{self._name}'")
        except BaseException:
            self._engine.dispose()
            raise

    def __repr__(self) -> str:
        return f"Postgres database {self._name}"

    # writing ---------------------------------------------------------------------------------------------------

    def append(self, events: Iterable[Event]) -> Sequence[int]:
        """See `Store.append`."""
        rows = list(map(_as_tuple, events))
        if not rows:
            return []
        with self._errors(), self._driver() as driver:
            positions: Sequence[int] | None = None
            if len(rows) >= COPY_FROM:
                positions = _copy(driver, rows)
            if positions is None:
                positions = _insert(driver, rows)
            self._notify(driver)
            return positions

    def _notify(self, driver: psycopg.Connection[Any]) -> None:
        """Wake followers, not too often: outside the transaction, as NOTIFY inside makes commits queue up."""
        now = time.monotonic()
        if now - self._notified > POLL_SECONDS / 5:
            self._notified = now
            driver.execute(sql.SQL("NOTIFY {}").format(sql.Identifier(CHANNEL)))

    # reading ---------------------------------------------------------------------------------------------------

    def read(self, session_id: str) -> Iterator[Event]:
        """See `Store.read`. Holds one connection, and one snapshot of the database, until it is exhausted or closed."""
        with self._errors(), self._driver() as driver, driver.transaction(), ExitStack() as cursors:
            driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            origins = [row[0] for row in driver.execute(_ORIGINS, (session_id,))]
            streams = []
            for n, origin in enumerate(origins):
                cursor = cursors.enter_context(driver.cursor(f"read_{n}"))
                cursor.itersize = 5000
                rows = cursor.execute(_READ, (session_id, origin))
                streams.append(starmap(partial(Event, session_id, origin), rows))
            yield from streams[0] if len(streams) == 1 else merge(streams)

    def sessions(self) -> list[Session]:
        """See `Store.sessions`."""
        with self._errors(), self._driver() as driver:
            found = [Session(row[0], int(row[1]), *row[2:]) for row in driver.execute(schema.SESSIONS)]
        return sorted(found, key=lambda s: (-s.started_ns, s.session_id))

    def follow(
        self, after: str | None = None, *, session_id: str | None = None, stop: Flag | None = None
    ) -> Iterator[Followed]:
        """See `Store.follow`."""
        xid, position = schema.parse_cursor(after, 2)
        with self._errors(), self._driver() as driver:
            driver.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
            try:
                while stop is None or not stop.is_set():
                    rows = driver.execute(_FOLLOW, (str(xid), position, session_id, session_id)).fetchall()
                    for row in rows:
                        xid, position = int(row[0]), row[1]
                        yield Followed(f"{xid}:{position}", Event(*row[2:]))
                    if not rows:
                        for _notification in driver.notifies(timeout=POLL_SECONDS, stop_after=1):
                            pass
            finally:
                if not driver.closed:
                    driver.execute("UNLISTEN *")

    def close(self) -> None:
        self._engine.dispose()

    # inside ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _driver(self) -> Iterator[psycopg.Connection[Any]]:
        with closing(self._engine.raw_connection()) as connection:
            driver = connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            driver.autocommit = True
            try:
                yield driver
            finally:
                if driver.closed:
                    connection.invalidate()
                else:
                    driver.autocommit = False  # as SQLAlchemy expects it

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """psycopg's errors as ours; a password is in none of them."""
        try:
            yield
        except (psycopg.Error, DBAPIError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            line = str(cause).strip().partition("\n")[0]
            if isinstance(cause, (errors.ReadOnlySqlTransaction, errors.InsufficientPrivilege)):
                raise StoreReadOnly(f"{self._name} is read-only here: {line}") from error
            if isinstance(cause, psycopg.OperationalError):
                raise StoreUnavailable(f"{self._name} cannot be reached now: {line}") from error
            raise StoreError(f"{self._name}: {line}") from error


def _copy(driver: psycopg.Connection[Any], rows: list[tuple[Any, ...]]) -> Sequence[int] | None:
    """Copy straight into the table; None, and nothing done, if any of the events is there already."""
    try:
        with driver.transaction(), driver.cursor() as cursor:
            positions = [row[0] for row in cursor.execute(_POSITIONS, (len(rows),), binary=True)]
            with cursor.copy(_COPY) as copy:
                copy.set_types(("int8", *_TYPES))
                for position, row in zip(positions, rows, strict=True):
                    copy.write_row((position, *row))
    except errors.UniqueViolation:
        return None
    return positions


def _insert(driver: psycopg.Connection[Any], rows: list[tuple[Any, ...]]) -> Sequence[int]:
    """Insert what is new. Raises `IdentityConflict`, with nothing inserted, if an identity has other content."""
    offered: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in rows:
        if offered.setdefault(row[:3], row) != row:
            raise IdentityConflict(conflict(Event(*offered[row[:3]]), Event(*row)))
    columns = [list(column) for column in zip(*offered.values(), strict=True)]
    found = {row[:3]: row[3] for row in driver.execute(_INSERT, columns)}
    for identity in offered.keys() - found.keys():
        stored = driver.execute(_FIND, identity).fetchone()
        if stored is None or stored[1:] != offered[identity]:
            raise _conflict(driver, offered)
        found[identity] = stored[0]
    return [found[row[:3]] for row in rows]


def _conflict(driver: psycopg.Connection[Any], offered: dict[tuple[Any, ...], tuple[Any, ...]]) -> StoreError:
    for identity, row in offered.items():
        stored = driver.execute(_FIND, identity).fetchone()
        if stored is not None and stored[1:] != row:
            return IdentityConflict(conflict(Event(*stored[1:]), Event(*row)))
    return StoreUnavailable("somebody else appended the same events at this moment; try again")
