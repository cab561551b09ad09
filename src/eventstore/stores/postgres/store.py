"""The Postgres store (psycopg 3): one log for many hosts.

A large batch is copied into the table in binary; a small one is a single statement in one round trip. Events are linked
to the chain heads as this process last saw them. A trigger advances the heads, and aborts the transaction if one has
moved; the batch is then linked again, to the current heads. If some events are stored already, only the others are
inserted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from functools import cached_property, partial
from hashlib import blake2b
from itertools import starmap
from operator import attrgetter
from threading import Event as Flag
from typing import Any

import msgspec
import psycopg
from platformdirs import user_state_path
from psycopg import errors
from sqlalchemy import URL

from eventstore.errors import IdentityConflict, StoreError, StoreUnavailable
from eventstore.event import Event, conflict_message, merge
from eventstore.stores import schema
from eventstore.stores.base import Followed, Session, Store
from eventstore.stores.chain import ChainHead, Linked, Origin, extend, genesis
from eventstore.stores.ledger import SqlLedger
from eventstore.stores.postgres import follow as postgres_follow
from eventstore.stores.postgres.connection import check_server, make_engine, translate_errors
from eventstore.stores.records import Head
from eventstore.stores.rows import LOCK_ROWS, Execute, SqlRows, heads_in
from eventstore.stores.url import without_passwords

_TYPES = ("int8", "int8", "text", "int4", "int8", "int8", "text", "bytea")
_FIELDS = ", ".join(schema.FIELDS)
_COLUMNS = f"origin_id, {_FIELDS}, link"
_UNNEST = ", ".join(f"%b::{kind}[]" for kind in _TYPES)  # arrays in text format take several times as long
_INSERT = f"""
INSERT INTO events ({_COLUMNS})
SELECT {_COLUMNS} FROM unnest({_UNNEST}) WITH ORDINALITY AS o ({_COLUMNS}, n) ORDER BY n
"""
_COPY = f"COPY events ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_FIND = f"""
SELECT n, position, {_FIELDS.replace("seq", "e.seq")}
FROM unnest(%b::text[], %b::text[], %b::int8[]) WITH ORDINALITY AS i (session_id, origin, seq, n)
    JOIN origins o USING (session_id, origin) JOIN events e ON e.origin_id = o.id AND e.seq = i.seq
"""
_FIND_OR_BEGIN = """
WITH wanted AS (SELECT * FROM unnest(%b::text[], %b::text[], %b::bytea[]) AS w (session_id, origin, link)),
    begun AS (
        INSERT INTO origins (session_id, origin, events, link) SELECT session_id, origin, 0, link FROM wanted
        ON CONFLICT DO NOTHING RETURNING id, session_id, origin, events, link)
SELECT session_id, origin, id, events, link FROM begun UNION ALL
SELECT session_id, origin, id, events, o.link FROM origins o JOIN wanted USING (session_id, origin)
"""
_ORIGINS = (
    'SELECT id, origin, events, link FROM origins WHERE session_id = %s AND events > 0 ORDER BY origin COLLATE "C"'
)
# Includes the schema: two logs in one database can be delivered at the same time.
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema() || ' deliver ' || %s::text, 0))"
_READ = f"SELECT {_FIELDS} FROM events WHERE origin_id = %s ORDER BY seq"
_CHAIN = f"SELECT {_FIELDS}, link FROM events WHERE origin_id = %s ORDER BY position"
_NOTIFY = f"NOTIFY {postgres_follow.CHANNEL}"
COPY_FROM = 50
"""Batches of at least this many events are copied."""
PIPELINE_CHARACTERS = 16_384
"""Size limit of a pipelined batch: with more than the socket buffer takes, psycopg 3.3 may hang in a pipeline."""
FETCH_ALL_EVENTS = 10_000
"""A session of one origin with at most this many events is fetched at once; a longer one is streamed."""
MAX_VERSION = 2**31 - 1
ATTEMPTS = 8
"""Number of attempts of an append while other processes append to the same origin."""
REMEMBERED_HEADS = 10_000
"""Number of origins whose chain heads are cached."""


_version = attrgetter("version")
Key = tuple[str, str]
Identity = tuple[str, str, int]


class PostgresStore:
    encrypts = False
    decrypts = False
    reopen: Callable[[], Store] | None = None

    def __init__(self, url: URL, *, migrate: bool) -> None:
        """``url`` as returned by `parse_url`. Raises `StoreError` with what to do.

        Without ``migrate``, that includes a missing or outdated schema.
        """
        self._name = without_passwords(url)
        place = url.render_as_string(hide_password=True)
        self.journal = user_state_path("turnlog") / "journal" / blake2b(place.encode(), digest_size=8).hexdigest()
        self._engine = make_engine(url)
        self.ledger = SqlLedger(self._engine, self._errors, self._scrub, self._exclusive_delivery)
        self.rows = SqlRows(self._reading, self._writing_rows, heads_in)
        self._heads: dict[Key, ChainHead] = {}
        schema.dispose_in_child(self._engine)
        try:
            with self._errors(), self._engine.begin() as connection:
                check_server(connection, self._name)
                if migrate:
                    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7404701)")  # one migration at a time
                    schema.migrate(connection)
                else:
                    schema.check_revision(connection, f"turnlog init --db '{self._name}'")
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
        if max(map(abs, map(_version, batch))) > MAX_VERSION:  # a binary copy would truncate it to its lower half
            raise StoreError(f"{self._name} cannot store an event with a version above {MAX_VERSION}")
        new = batch
        with self._errors(), self._driver() as driver:
            for _attempt in range(ATTEMPTS):
                try:
                    if new:
                        self._write(driver, new)
                    return _Positions(self, batch)
                except (UnicodeError, OverflowError, struct.error) as error:
                    raise StoreError(f"{self._name} cannot store an event: {error}") from error
                except errors.UniqueViolation:  # some of it is stored already, or repeated in it
                    _positions, new = _find_stored(driver, batch)
                except errors.SerializationFailure:  # another process has advanced a chain
                    continue
        raise StoreUnavailable(f"{self._name}: other processes keep appending to the same origins; try again")

    def _write(self, driver: psycopg.Connection[Any], events: list[Event]) -> None:
        """Link and insert the events in one transaction, then wake followers."""
        keys = {(event.session_id, event.origin): None for event in events}  # in order, each once
        heads = _ChainHeads({key: self._heads[key] for key in keys if key in self._heads})
        missing = [key for key in keys if key not in heads.seen]
        try:
            (_insert if _is_small(events) else _copy)(driver, events, heads, missing)
        except BaseException:
            for key in keys:  # it may or may not have been committed
                self._heads.pop(key, None)
            raise
        if len(self._heads) > REMEMBERED_HEADS:
            self._heads.clear()
        self._heads.update(heads.advanced)

    def positions_of(self, events: list[Event]) -> list[int]:
        """The positions of stored events."""
        with self._errors(), self._driver() as driver:
            found, _new = _find_stored(driver, events)
            return [found[event.identity] for event in events]

    # reading ---------------------------------------------------------------------------------------------------

    def read(self, session_id: str) -> Iterator[Event]:
        """See `Store.read`. Holds a connection and a snapshot of the database until it is exhausted or closed."""
        with self._errors(), self._driver() as driver:
            origins = driver.execute(_ORIGINS, (session_id,)).fetchall()
            if len(origins) == 1 and origins[0][2] <= FETCH_ALL_EVENTS:
                rows = driver.cursor(binary=True).execute(_READ, origins[0][:1]).fetchall()
                yield from starmap(partial(Event, session_id, origins[0][1]), rows)
                return
            with _snapshot(driver) as stream:
                yield from merge(
                    starmap(partial(Event, session_id, origin), stream(number, _READ))
                    for number, origin, _events, _link in driver.execute(_ORIGINS, (session_id,)).fetchall()
                )

    def chains(self, session_id: str) -> Iterator[tuple[Origin, Iterator[Linked]]]:
        """See `Store.chains`."""
        with self._errors(), self._driver() as driver, _snapshot(driver) as stream:
            for number, origin, events, link in driver.execute(_ORIGINS, (session_id,)).fetchall():
                rows = stream(number, _CHAIN)
                yield Origin(session_id, origin, events, link), self._linked(rows, session_id, origin)

    def _linked(self, rows: Iterable[Any], session_id: str, origin: str) -> Iterator[Linked]:
        with self._errors():
            for row in rows:
                yield Linked(Event(session_id, origin, *row[:-1]), row[-1])

    def sessions(self) -> list[Session]:
        """See `Store.sessions`."""
        with self._errors(), self._driver() as driver:
            found = [Session(row[0], int(row[1]), *row[2:]) for row in driver.execute(schema.SESSIONS)]
        return sorted(found, key=lambda s: (-s.started_ns, s.session_id))

    def heads(self) -> dict[str, Head]:
        """See `Store.heads`."""
        with self._reading() as execute:
            return heads_in(execute)

    def follow(
        self, after: str | None = None, *, session_id: str | None = None, stop: Flag | None = None
    ) -> Iterator[Followed]:
        """See `Store.follow`."""
        with self._errors(), self._driver() as driver:
            yield from postgres_follow.follow(driver, after, session_id, stop)

    def close(self) -> None:
        self._engine.dispose()

    # internals -------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Execute]:
        with self._errors(), self._driver() as driver, driver.transaction():
            driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield partial(_execute, driver)

    @contextmanager
    def _writing_rows(self) -> Iterator[Execute]:
        with self._errors(), self._driver() as driver, driver.transaction():
            driver.execute(LOCK_ROWS)
            yield partial(_execute, driver)

    def _scrub(self) -> None:
        """Erase old versions of destroyed keys and rows now; those of removed events go when the server vacuums."""
        with self._errors(), self._driver() as driver:
            driver.execute("VACUUM keys, session_rows")

    @contextmanager
    def _exclusive_delivery(self, exporter: str) -> Iterator[None]:
        """Hold a transaction-level advisory lock, which ends with its connection and works behind a pooler.

        The transaction has no id and no snapshot, so it blocks neither followers nor vacuum.
        """
        with self._errors(), self._driver() as driver:
            driver.execute("BEGIN")
            try:
                driver.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                if driver.execute(_TRY_LOCK, (exporter,)).fetchone() != (True,):
                    raise StoreUnavailable(f"another process delivers {exporter!r} already")
                yield
            finally:
                if not driver.closed:
                    driver.execute("ROLLBACK")

    @contextmanager
    def _driver(self) -> Iterator[psycopg.Connection[Any]]:
        with closing(self._engine.raw_connection()) as connection:
            driver = connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            driver.autocommit = True
            try:
                yield driver
            except errors.ReadOnlySqlTransaction:
                driver.close()  # a new connection may reach a writable server, as after a failover
                raise
            finally:
                if driver.closed:
                    connection.invalidate()
                else:
                    driver.autocommit = False  # as SQLAlchemy expects it

    def _errors(self) -> AbstractContextManager[None]:
        return translate_errors(self._name)


def _execute(driver: psycopg.Connection[Any], statement: str, parameters: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
    cursor = driver.cursor(binary=True).execute(statement.replace("?", "%s"), parameters)
    return cursor.fetchall() if cursor.description else ()


class _Positions(Sequence[int]):
    """Positions, looked up on first access: they are rarely needed, and every append would pay for them."""

    def __init__(self, store: PostgresStore, events: list[Event]) -> None:
        self._store, self._events = store, events

    @cached_property
    def _found(self) -> list[int]:
        return self._store.positions_of(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, index: Any) -> Any:
        return self._found[index]


class _ChainHeads:
    """The chain heads of a batch: as last seen, and advanced by the batch."""

    def __init__(self, seen: dict[Key, ChainHead]) -> None:
        self.seen = seen
        self.advanced: dict[Key, ChainHead] = {}

    def head_of(self, session_id: str, origin: str) -> ChainHead:
        key = session_id, origin
        if key not in self.advanced:
            self.advanced[key] = msgspec.structs.replace(self.seen[key])
        return self.advanced[key]

    def add(self, rows: Iterable[tuple[Any, ...]], missing: list[Key]) -> None:
        """Add rows of `_FIND_OR_BEGIN`. Raises `SerializationFailure` if another process is beginning an origin."""
        for session_id, origin, *head in rows:
            self.seen[session_id, origin] = ChainHead(*head)
        if not self.seen.keys() >= set(missing):
            raise errors.SerializationFailure("another process has begun an origin")


def _copy(driver: psycopg.Connection[Any], events: list[Event], heads: _ChainHeads, missing: list[Key]) -> None:
    """Copy the events; a single statement unless it begins an origin."""
    if not missing:
        _copy_rows(driver, events, heads)
        driver.execute(_NOTIFY)
        return
    try:
        with driver.pipeline() if len(missing) < COPY_FROM else nullcontext():  # one round trip
            driver.execute("BEGIN")
            found = driver.execute(_FIND_OR_BEGIN, _origin_columns(missing))
        heads.add(found, missing)
        _copy_rows(driver, events, heads)
        with driver.pipeline() as pipeline:
            driver.execute("COMMIT")
            pipeline.sync()
            driver.execute(_NOTIFY)
    except BaseException:
        if not driver.closed:
            driver.execute("ROLLBACK")
        raise


def _copy_rows(driver: psycopg.Connection[Any], events: list[Event], heads: _ChainHeads) -> None:
    with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.set_types(_TYPES)
        for row in extend(events, heads.head_of):
            copy.write_row(row)


def _is_small(events: list[Event]) -> bool:
    return len(events) < COPY_FROM and sum(len(event.payload) for event in events) < PIPELINE_CHARACTERS


def _insert(driver: psycopg.Connection[Any], events: list[Event], heads: _ChainHeads, missing: list[Key]) -> None:
    """Insert the events with one statement in one round trip, unless it begins an origin."""
    if missing:
        heads.add(driver.execute(_FIND_OR_BEGIN, _origin_columns(missing)), missing)
    columns = [list(column) for column in zip(*extend(events, heads.head_of), strict=True)]
    with driver.pipeline() as pipeline:
        driver.execute(_INSERT, columns)
        pipeline.sync()  # NOTIFY gets its own transaction, as it serializes commits
        driver.execute(_NOTIFY)


def _origin_columns(keys: list[Key]) -> list[list[Any]]:
    return [*map(list, zip(*keys, strict=True)), [genesis(*key) for key in keys]]


def _find_stored(driver: psycopg.Connection[Any], events: list[Event]) -> tuple[dict[Identity, int], list[Event]]:
    """The positions of the stored events, and the other events without duplicates. Raises `IdentityConflict`."""
    positions: dict[Identity, int] = {}
    known: dict[Identity, Event] = {}
    columns = [list(column) for column in zip(*(event.identity for event in events), strict=True)]
    for number, position, *fields in driver.execute(_FIND, columns):
        offered = events[number - 1]
        positions[offered.identity] = position
        known[offered.identity] = Event(offered.session_id, offered.origin, *fields)
    for event in events:
        if known.setdefault(event.identity, event) != event:
            raise IdentityConflict(conflict_message(known[event.identity], event))
    return positions, [event for identity, event in known.items() if identity not in positions]


@contextmanager
def _snapshot(driver: psycopg.Connection[Any]) -> Iterator[Callable[[int, str], Iterable[Any]]]:
    """A read-only snapshot transaction; yields a function that streams a query on one origin."""
    with driver.transaction(), ExitStack() as cursors:
        driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

        def stream(origin_id: int, query: str) -> Iterable[Any]:
            cursor = cursors.enter_context(driver.cursor(f"origin_{origin_id}", binary=True))
            cursor.itersize = 5000
            return cursor.execute(query, (origin_id,))

        yield stream
