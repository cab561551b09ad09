"""The Postgres store (psycopg 3): many hosts, one log.

A large batch is copied straight into the table, in binary; a small one is one statement and one round trip. Either
first moves the ends of its origins' hash chains on, from where this process last saw them; if somebody else has moved
one, the transaction is undone and begins anew from there. If an event is there already, only the others go in.

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
from eventstore.chain import Linked, Origin, Row, Tail, extend, genesis
from eventstore.errors import IdentityConflict, StoreError, StoreReadOnly, StoreUnavailable
from eventstore.event import Event, conflict, merge
from eventstore.ledger import Ledger
from eventstore.store import Followed, Session

_TYPES = ("int8", "int8", "text", "int4", "int8", "int8", "text", "bytea")
_FIELDS = ", ".join(schema.FIELDS)
_COLUMNS = f"origin_id, {_FIELDS}, link"
_UNNEST = ", ".join(f"%s::{kind}[]" for kind in _TYPES)
_MOVE = "append_to(%s::int8[], %s::bytea[], %s::bytea[], %s::int8[], %s)"
_INSERT = f"""
WITH offered AS (SELECT * FROM unnest({_UNNEST}) WITH ORDINALITY AS o ({_COLUMNS}, n)),
    moved AS MATERIALIZED (SELECT {_MOVE} AS positions)
INSERT INTO events (position, {_COLUMNS}) SELECT positions[n], {_COLUMNS} FROM offered, moved RETURNING position
"""
_COPY = f"COPY events (position, {_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_FIND = f"""
SELECT n, position, {_FIELDS.replace("seq", "e.seq")}
FROM unnest(%s::text[], %s::text[], %s::int8[]) WITH ORDINALITY AS i (session_id, origin, seq, n)
    JOIN origins o USING (session_id, origin) JOIN events e ON e.origin_id = o.id AND e.seq = i.seq
"""
_TAILS = """
WITH wanted AS (SELECT * FROM unnest(%s::text[], %s::text[], %s::bytea[]) AS w (session_id, origin, link)),
    begun AS (
        INSERT INTO origins (session_id, origin, events, link) SELECT session_id, origin, 0, link FROM wanted
        ON CONFLICT DO NOTHING RETURNING id, session_id, origin, events, link)
SELECT session_id, origin, id, events, link FROM begun UNION ALL
SELECT session_id, origin, id, events, o.link FROM origins o JOIN wanted USING (session_id, origin)
"""
_ORIGINS = (
    'SELECT id, origin, events, link FROM origins WHERE session_id = %s AND events > 0 ORDER BY origin COLLATE "C"'
)
_READ = f"SELECT {_FIELDS} FROM events WHERE origin_id = %s ORDER BY seq"
_CHAIN = f"SELECT {_FIELDS}, link FROM events WHERE origin_id = %s ORDER BY position"
_FOLLOW = f"""
SELECT xid::text, position, session_id, origin, {_FIELDS} FROM events JOIN origins ON id = origin_id
WHERE (xid, position) > (%s::xid8, %s) AND xid < pg_snapshot_xmin(pg_current_snapshot())
    AND (%s::text IS NULL OR session_id = %s)
ORDER BY xid, position LIMIT {schema.FOLLOW_BATCH}
"""
CHANNEL = "turnlog"
COPY_FROM = 50
"""Batches of at least so many events are copied."""
POLL_SECONDS = 0.1
"""How long a follower waits for a notification before it looks by itself."""
ATTEMPTS = 8
"""How often an append is begun anew because somebody else appends to the same origin."""
TAILS = 10_000
"""Of how many origins the ends of the chains are remembered."""


class PostgresStore:
    encrypts = False

    def __init__(self, url: URL, *, migrate: bool) -> None:
        """Raises `StoreError` with what to do; without ``migrate``, also if the schema is not there or too old."""
        self._url = url.set(drivername="postgresql+psycopg")
        self._name = self._url.render_as_string(hide_password=True)
        self.journal = user_state_path("turnlog") / "journal" / blake2b(self._name.encode(), digest_size=8).hexdigest()
        self._engine = create_engine(self._url, pool_pre_ping=True, pool_size=5, max_overflow=50)
        self.ledger = Ledger(self._engine, self._errors, self._scrub)
        self._tails: dict[tuple[str, str], Tail] = {}
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
        batch = list(events)
        if not batch:
            return []
        with self._errors(), self._driver() as driver:
            found: dict[tuple[str, str, int], int] = {}
            new = batch
            for _attempt in range(ATTEMPTS):
                try:
                    positions = self._write(driver, new) if new else []
                except errors.UniqueViolation:  # something of it is stored already, or in it twice
                    found, new = _stored(driver, batch)
                except errors.SerializationFailure:  # somebody else has moved a chain on
                    self._forget_tails(new)
                else:
                    self._notify(driver)
                    if new is batch:
                        return positions
                    found |= zip((event.identity for event in new), positions, strict=True)
                    return [found[event.identity] for event in batch]
        raise StoreUnavailable(f"{self._name}: others keep appending to the same origins; try again")

    def _write(self, driver: psycopg.Connection[Any], events: list[Event]) -> Sequence[int]:
        """Link and insert, in one transaction."""
        tails: dict[tuple[str, str], Tail] = {}
        seen: list[Tail] = []
        fetched: dict[tuple[str, str], Tail] = {}

        def tail_of(session_id: str, origin: str) -> Tail:
            key = session_id, origin
            if key not in tails:
                before = self._tails.get(key) or fetched.get(key)
                if before is None:
                    fetched.update(_fetch_tails(driver, events))
                    before = fetched[key]
                seen.append(before)
                tails[key] = msgspec.structs.replace(before)
            return tails[key]

        rows = extend(events, tail_of)
        moved = list(tails.values())
        move = (
            [tail.id for tail in moved],
            [tail.link for tail in seen],
            [tail.link for tail in moved],
            [tail.events - before.events for tail, before in zip(moved, seen, strict=True)],
            len(rows),
        )
        try:
            positions = _copy(driver, rows, move) if len(rows) >= COPY_FROM else _insert(driver, rows, move)
        except BaseException:
            self._forget_tails(events)  # whether it was committed is not known
            raise
        if len(self._tails) > TAILS:
            self._tails.clear()
        self._tails.update(tails)
        return positions

    def _forget_tails(self, events: Iterable[Event]) -> None:
        for event in events:
            self._tails.pop((event.session_id, event.origin), None)

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
            streams = []
            for number, origin, _events, _link in driver.execute(_ORIGINS, (session_id,)).fetchall():
                rows = _stream(driver, cursors, number, _READ)
                streams.append(starmap(partial(Event, session_id, origin), rows))
            yield from streams[0] if len(streams) == 1 else merge(streams)

    def chains(self, session_id: str) -> Iterator[tuple[Origin, Iterator[Linked]]]:
        """See `Store.chains`."""
        with self._errors(), self._driver() as driver, driver.transaction(), ExitStack() as cursors:
            driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            for number, origin, events, link in driver.execute(_ORIGINS, (session_id,)).fetchall():
                rows = _stream(driver, cursors, number, _CHAIN)
                linked = (Linked(Event(session_id, origin, *row[:-1]), row[-1]) for row in rows)
                yield Origin(session_id, origin, events, link), linked

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

    def _scrub(self) -> None:
        """Old versions of a destroyed key go now. (Of removed events, when the server vacuums.)"""
        with self._errors(), self._driver() as driver:
            driver.execute("VACUUM keys")

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


Move = tuple[list[int], list[bytes], list[bytes], list[int], int]
"""What ``append_to`` of the schema takes: origins, links seen, links now, events added, positions wanted."""


def _copy(driver: psycopg.Connection[Any], rows: list[Row], move: Move) -> Sequence[int]:
    with driver.cursor(binary=True) as cursor:
        try:
            with driver.pipeline():  # one round trip
                driver.execute("BEGIN")
                cursor.execute(f"SELECT {_MOVE}", move)
            (positions,) = cursor.fetchone() or ([],)
            with cursor.copy(_COPY) as copy:
                copy.set_types(("int8", *_TYPES))
                for position, row in zip(positions, rows, strict=True):
                    copy.write_row((position, *row))
            driver.execute("COMMIT")
        except BaseException:
            if not driver.closed:
                driver.execute("ROLLBACK")
            raise
    found: Sequence[int] = positions
    return found


def _insert(driver: psycopg.Connection[Any], rows: list[Row], move: Move) -> Sequence[int]:
    columns = [list(column) for column in zip(*rows, strict=True)]
    return [row[0] for row in driver.execute(_INSERT, (*columns, *move))]


def _fetch_tails(driver: psycopg.Connection[Any], events: Iterable[Event]) -> dict[tuple[str, str], Tail]:
    """Where the origins' chains end, begun if they are new, in one round trip."""
    missing = list(dict.fromkeys((event.session_id, event.origin) for event in events))
    found: dict[tuple[str, str], Tail] = {}
    while missing:  # again only if another begins one at this moment
        columns = [*map(list, zip(*missing, strict=True)), [genesis(*key) for key in missing]]
        for session_id, origin, *tail in driver.execute(_TAILS, columns):
            found[session_id, origin] = Tail(*tail)
        missing = [key for key in missing if key not in found]
    return found


def _stored(
    driver: psycopg.Connection[Any], events: list[Event]
) -> tuple[dict[tuple[str, str, int], int], list[Event]]:
    """The positions of those that are stored, and the others, each once. Raises `IdentityConflict`."""
    positions: dict[tuple[str, str, int], int] = {}
    known: dict[tuple[str, str, int], Event] = {}
    columns = [list(column) for column in zip(*(event.identity for event in events), strict=True)]
    for number, position, *fields in driver.execute(_FIND, columns):
        offered = events[number - 1]
        positions[offered.identity] = position
        known[offered.identity] = Event(offered.session_id, offered.origin, *fields)
    for event in events:
        if known.setdefault(event.identity, event) != event:
            raise IdentityConflict(conflict(known[event.identity], event))
    return positions, [event for identity, event in known.items() if identity not in positions]


def _stream(driver: psycopg.Connection[Any], cursors: ExitStack, origin_id: int, query: str) -> Iterable[Any]:
    cursor = cursors.enter_context(driver.cursor(f"origin_{origin_id}"))
    cursor.itersize = 5000
    return cursor.execute(query, (origin_id,))
