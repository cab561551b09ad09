"""The Postgres store (psycopg 3): one log for many hosts.

A large batch is copied into the table, packed and sent while the server stores its beginning; a small one is a single
statement in one round trip. After a lost connection an append is tried once more. Events are linked
to the chain heads as this process last saw them. A trigger advances the heads, and aborts the transaction if one has
moved; the batch is then linked again, to the current heads. If some events are stored already, only the others are
inserted.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import cached_property, partial
from hashlib import blake2b
from itertools import islice, starmap
from threading import Event as Flag
from typing import Any

import psycopg
from platformdirs import user_state_path
from psycopg import errors
from sqlalchemy import URL

from eventstore.errors import StoreError, StoreUnavailable
from eventstore.event import Event, merge
from eventstore.stores import schema
from eventstore.stores.base import Followed, Session, Store
from eventstore.stores.chain import ChainHead, Linked, Origin
from eventstore.stores.ledger import SqlLedger
from eventstore.stores.postgres import follow as postgres_follow
from eventstore.stores.postgres.append import ChainHeads, Key, find_stored, write
from eventstore.stores.postgres.connection import check_server, is_lost, make_engine, translate_errors
from eventstore.stores.records import Head
from eventstore.stores.rows import LOCK_ROWS, Execute, SqlRows, heads_in
from eventstore.stores.url import without_passwords

_FIELDS = ", ".join(schema.FIELDS)
_ORIGINS = (
    'SELECT id, origin, events, link FROM origins WHERE session_id = %s AND events > 0 ORDER BY origin COLLATE "C"'
)
_ORIGINS_OF_MANY = """
SELECT session_id, id, origin, events FROM origins WHERE session_id = ANY(%s) AND events > 0 ORDER BY origin COLLATE "C"
"""
# Includes the schema: two logs in one database can be delivered at the same time.
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema() || ' deliver ' || %s::text, 0))"
_READ = f"SELECT {_FIELDS} FROM events WHERE origin_id = %s ORDER BY seq"
_CHAIN = f"SELECT {_FIELDS}, link FROM events WHERE origin_id = %s ORDER BY position"
FETCH_ALL_EVENTS = 10_000
"""A session of one origin with at most this many events is fetched at once; a longer one is streamed."""
READ_TOGETHER = 50
"""Number of sessions that are fetched at once, if they have at most `FETCH_ALL_EVENTS` together."""
ATTEMPTS = 8
"""Number of attempts of an append while other processes append to the same origin."""
REMEMBERED_HEADS = 10_000
"""Number of origins whose chain heads are cached."""


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
        new, lost = batch, False
        with self._errors():
            for _attempt in range(ATTEMPTS):
                try:
                    if new:
                        self._write(new)
                    return _Positions(self, batch)
                except (UnicodeError, OverflowError, struct.error) as error:
                    raise StoreError(f"{self._name} cannot store an event: {error}") from error
                except errors.UniqueViolation:  # some of it is stored already, or repeated in it
                    with self._driver() as driver:
                        _positions, new = find_stored(driver, batch)
                except (errors.SerializationFailure, errors.DeadlockDetected):  # another process has advanced a chain
                    continue
                except psycopg.Error as error:
                    if lost or not is_lost(error):
                        raise
                    lost = True  # once more: what was committed all the same is found then
        raise StoreUnavailable(f"{self._name}: other processes keep appending to the same origins; try again")

    def _write(self, events: list[Event]) -> None:
        """Link and insert the events in one transaction, then wake followers."""
        keys = {(event.session_id, event.origin): None for event in events}  # in order, each once
        heads = ChainHeads({key: self._heads[key] for key in keys if key in self._heads})
        missing = [key for key in keys if key not in heads.seen]
        try:
            with self._connection() as (driver, prepared):
                write(driver, prepared, events, heads, missing)
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
            found, _new = find_stored(driver, events)
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

    def read_many(self, session_ids: Iterable[str]) -> Iterator[tuple[str, Iterator[Event]]]:
        """See `Store.read_many`. Holds no connection between two sessions, unless one is long."""
        names = iter(session_ids)
        wanted = list(islice(names, READ_TOGETHER))
        while wanted:
            with self._errors(), self._driver() as driver:
                found = _fetch_first(driver, wanted)
            for name, parts in found:
                yield name, _merge(name, parts)  # rows made now: thousands at once would burden garbage collection
            if not found:
                yield wanted[0], self.read(wanted[0])
            wanted = wanted[len(found) or 1 :]
            wanted += islice(names, READ_TOGETHER - len(wanted))

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
        with self._connection() as (driver, _prepared):
            yield driver

    @contextmanager
    def _connection(self) -> Iterator[tuple[psycopg.Connection[Any], set[bytes]]]:
        """A connection of the pool, and the names of the statements that it has prepared."""
        with closing(self._engine.raw_connection()) as connection:
            driver = connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            driver.autocommit = True
            try:
                yield driver, connection.info.setdefault("prepared", set())
            except errors.ReadOnlySqlTransaction:
                driver.close()  # a new connection may reach a writable server, as after a failover
                raise
            except psycopg.Error as error:
                if is_lost(error):
                    driver.close()
                    self._engine.dispose()  # the other connections are likely lost too
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


Parts = list[tuple[str, psycopg.Cursor[Any]]]
"""A session's origins, each with its fetched rows."""


def _fetch_first(driver: psycopg.Connection[Any], names: list[str]) -> list[tuple[str, Parts]]:
    """The first of the sessions, as many as may be fetched at once, from one snapshot."""
    found: list[tuple[str, Parts]] = []
    with driver.pipeline(), driver.transaction():
        driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        origins = defaultdict(list)
        for name, *origin in driver.execute(_ORIGINS_OF_MANY, (names,)):
            origins[name].append(origin)
        room = FETCH_ALL_EVENTS
        for name in names:
            room -= sum(events for _number, _origin, events in origins[name])
            if room < 0:
                break
            rows = [(at, driver.cursor(binary=True).execute(_READ, (number,))) for number, at, _events in origins[name]]
            found.append((name, rows))
    return found


def _merge(name: str, parts: Parts) -> Iterator[Event]:
    """A session's events in canonical order."""
    streams = [starmap(partial(Event, name, origin), cursor.fetchall()) for origin, cursor in parts]
    return streams[0] if len(streams) == 1 else merge(streams)


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
