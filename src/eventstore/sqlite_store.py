"""The SQLite store: one file, WAL, safe for many threads and processes at once.

SQLAlchemy keeps the connections and runs the migrations; the hot paths speak to the driver (an insert through Core
costs more than twice the driver's ``executemany``).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain, starmap
from pathlib import Path
from threading import Event as Flag
from typing import Any, Self
from urllib.parse import quote, unquote

import msgspec
from sqlalchemy import URL, create_engine, event, make_url
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from eventstore import schema
from eventstore.errors import IdentityConflict, StoreError, StoreReadOnly, StoreUnavailable
from eventstore.event import Event, conflict, merge
from eventstore.store import Followed, Session

_COLUMNS = ", ".join(schema.COLUMNS)
_INSERT = (
    f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (session_id, origin, seq) DO NOTHING"
)
_FIND = f"SELECT position, {_COLUMNS} FROM events WHERE session_id = ? AND origin = ? AND seq = ?"
_READ = f"SELECT {', '.join(schema.COLUMNS[2:])} FROM events WHERE session_id = ? AND origin = ? ORDER BY seq"
_ORIGINS = "SELECT DISTINCT origin FROM events WHERE session_id = ? ORDER BY origin"
_FOLLOW = f"""
SELECT position, {_COLUMNS} FROM events WHERE position > ? AND (? IS NULL OR session_id = ?)
ORDER BY position LIMIT {schema.FOLLOW_BATCH}
"""
POLL_SECONDS = 0.02
"""How often a follower asks whether somebody has committed."""
BUSY_SECONDS = 5.0
"""How long a transaction waits for another process's."""
_as_tuple = msgspec.structs.astuple


class SqliteStore:
    @classmethod
    def at(cls, path: Path) -> Self:
        """The store in that file."""
        return cls(URL.create("sqlite", database=str(path)))

    def __init__(self, url: str | URL) -> None:
        """``url`` as SQLAlchemy reads it: ``sqlite:///calls.db``. Raises `StoreError` with what to do."""
        url = make_url(url)
        database = url.database
        self._name = database or "sqlite in memory"
        if not database or database == ":memory:":
            raise StoreError("an SQLite database in memory is one per connection; use memory: instead")
        path = Path(unquote(database.removeprefix("file:"))).absolute()
        self.journal = path.with_name(path.name + ".journal")
        if not database.startswith("file:"):
            url = self._make_openable(url, path)
        self._engine = _engine(url)
        self._appending = threading.RLock()
        """Held in a transaction: no process may fork in the middle of one, see `_before_fork`."""
        _stores.add(self)
        schema.dispose_in_child(self._engine)
        try:
            with self._appending, self._errors(), self._engine.connect() as connection:
                if schema.revision(connection) != schema.HEAD:
                    connection.rollback()
                    with connection.begin():
                        schema.migrate(connection)
        except BaseException:
            self._engine.dispose()
            raise

    def _make_openable(self, url: URL, path: Path) -> URL:
        if path.is_dir():
            raise StoreError(f"{path} is a folder, not a database file")
        if path.exists() and not os.access(path, os.W_OK) and not path.with_name(path.name + "-wal").exists():
            # SQLite wants to write beside a database in WAL mode even to read it, unless told that nobody changes it
            query = {"mode": "ro", "immutable": "1", "uri": "true"}
            return URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder {path.parent}: {error.strerror}") from error
        return url

    def __repr__(self) -> str:
        return f"SQLite database {self._name}"

    # writing ---------------------------------------------------------------------------------------------------

    def append(self, events: Iterable[Event]) -> Sequence[int]:
        """See `Store.append`."""
        rows = list(map(_as_tuple, events))
        if not rows:
            return []
        with self._appending, self._errors(), self._driver() as driver:
            driver.execute("BEGIN IMMEDIATE")
            try:
                cursor = driver.executemany(_INSERT, rows)
                if cursor.rowcount == len(rows):
                    # nobody else writes in this transaction, so AUTOINCREMENT has counted without gaps
                    last = driver.execute("SELECT last_insert_rowid()").fetchone()[0]
                    positions: Sequence[int] = range(last - len(rows) + 1, last + 1)
                else:
                    positions = [_stored_position(driver, row) for row in rows]
                driver.execute("COMMIT")
            except BaseException:
                if driver.in_transaction:
                    driver.execute("ROLLBACK")
                raise
            return positions

    # reading ---------------------------------------------------------------------------------------------------

    def read(self, session_id: str) -> Iterator[Event]:
        """See `Store.read`. Holds one connection, and one snapshot of the database, until it is exhausted or closed."""
        with self._errors(), self._driver() as driver:
            driver.execute("BEGIN")
            try:
                origins = [row[0] for row in driver.execute(_ORIGINS, (session_id,))]
                streams = [
                    starmap(partial(Event, session_id, origin), _rows(driver.execute(_READ, (session_id, origin))))
                    for origin in origins
                ]
                yield from streams[0] if len(streams) == 1 else merge(streams)
            finally:
                driver.execute("ROLLBACK")

    def sessions(self) -> list[Session]:
        """See `Store.sessions`."""
        with self._errors(), self._driver() as driver:
            found = list(starmap(Session, driver.execute(schema.SESSIONS)))
        return sorted(found, key=lambda s: (-s.started_ns, s.session_id))

    def follow(
        self, after: str | None = None, *, session_id: str | None = None, stop: Flag | None = None
    ) -> Iterator[Followed]:
        """See `Store.follow`. SQLite has one writer at a time, so positions grow in the order of commits."""
        (position,) = schema.parse_cursor(after, 1)
        stop, seen = stop or Flag(), None
        with self._errors(), self._driver() as driver:
            while not stop.is_set():
                # changes with every commit of another connection, and every append of ours is one
                version = driver.execute("PRAGMA data_version").fetchone()
                rows = driver.execute(_FOLLOW, (position, session_id, session_id)).fetchall() if version != seen else []
                for row in rows:
                    position = row[0]
                    yield Followed(str(position), Event(*row[1:]))
                if len(rows) < schema.FOLLOW_BATCH:
                    seen = version
                    stop.wait(POLL_SECONDS)

    def close(self) -> None:
        self._engine.dispose()

    # inside ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _driver(self) -> Iterator[sqlite3.Connection]:
        with closing(self._engine.raw_connection()) as connection:
            driver = connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            yield driver

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except (sqlite3.Error, DBAPIError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_READONLY:
                raise StoreReadOnly(f"{self._name} is read-only: {cause}") from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreUnavailable(
                    f"{self._name} is locked by another process; try again when it is done"
                ) from error
            if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
                raise StoreUnavailable(f"{self._name}: {cause}") from error
            if code == sqlite3.SQLITE_NOTADB:
                raise StoreError(f"{self._name} is not an SQLite database") from error
            raise StoreError(f"{self._name}: {cause}") from error


_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()
_forking = threading.RLock()
"""One fork at a time: `_held` is of that one."""
_held: list[SqliteStore] = []


def _before_fork() -> None:
    """Wait until no store is in a transaction.

    SQLite keeps its locks in the process's memory as well. A child that inherits one that another thread held would
    find the database locked for ever.
    """
    _forking.acquire()
    _held[:] = sorted(_stores, key=id)
    for store in _held:
        store._appending.acquire()


def _after_fork() -> None:
    while _held:
        _held.pop()._appending.release()
    _forking.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def _rows(cursor: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
    """The cursor's rows, fetched some hundred at a time: a fifth faster than one at a time."""
    return chain.from_iterable(iter(partial(cursor.fetchmany, 256), []))


def _stored_position(driver: sqlite3.Connection, row: tuple[object, ...]) -> int:
    position, *stored = driver.execute(_FIND, row[:3]).fetchone()
    if tuple(stored) != row:
        raise IdentityConflict(conflict(Event(*stored), Event(*row)))  # type: ignore[arg-type]
    return int(position)


def _engine(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(driver: sqlite3.Connection, _record: object) -> None:
        driver.isolation_level = None  # transactions begin where we say, see `begin` below
        driver.execute("PRAGMA recursive_triggers = ON")  # else INSERT OR REPLACE slips past the delete trigger
        if driver.execute("PRAGMA journal_mode").fetchone()[0] != "wal" and not _is_read_only(url):
            driver.execute("PRAGMA journal_mode = WAL")
        driver.execute("PRAGMA synchronous = FULL")  # what is acknowledged survives a power cut, not only a crash

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # SQLAlchemy's transactions (the migrations) take the write lock at once: a deferred one may fail half-way
        connection.exec_driver_sql("BEGIN" if _is_read_only(url) else "BEGIN IMMEDIATE")

    return engine


def _is_read_only(url: URL) -> bool:
    return url.query.get("mode") == "ro"
