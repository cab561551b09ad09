"""The SQLite store: one file in WAL mode, safe for concurrent threads and processes.

SQLAlchemy manages connections and migrations; the hot paths use the driver directly (an insert through Core costs more
than twice as much as the driver's ``executemany``).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from hashlib import blake2b
from itertools import chain, starmap
from pathlib import Path
from threading import Event as Flag
from typing import Any, Self
from urllib.parse import quote, unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import DBAPIError

from eventstore.errors import StoreDamaged, StoreError, StoreReadOnly, StoreUnavailable
from eventstore.event import Event, merge
from eventstore.stores import schema
from eventstore.stores.base import Followed, Session, Store
from eventstore.stores.chain import ChainHead, Linked, Origin
from eventstore.stores.ledger import SqlLedger
from eventstore.stores.records import Head
from eventstore.stores.rows import Execute, SqlRows, heads_in, tolerant
from eventstore.stores.sqlite.engine import is_read_only, make_engine
from eventstore.stores.sqlite.file import DatabaseFile
from eventstore.stores.sqlite.rows import append_new_rows, append_rows, assign_log_id
from eventstore.stores.sqlite.watch import BUSY_SECONDS, Watch

_FIELDS = ", ".join(schema.FIELDS)
_ORIGINS = "SELECT id, origin, events, link FROM origins WHERE session_id = ? AND events > 0 ORDER BY origin"
_READ = f"SELECT {_FIELDS} FROM events WHERE origin_id = ? ORDER BY seq"
_CHAIN = f"SELECT {_FIELDS}, link FROM events WHERE origin_id = ? ORDER BY position"
_FOLLOW = f"""
SELECT position, session_id, origin, {_FIELDS} FROM events CROSS JOIN origins ON id = origin_id
WHERE position > ? AND (? IS NULL OR session_id = ?) ORDER BY position LIMIT {schema.FOLLOW_BATCH}
"""
_NEWEST = "SELECT COALESCE(MAX(position), 0) FROM events"
_BEGIN = """
SELECT COALESCE(MIN(position) - 1, 0) FROM origins CROSS JOIN events ON origin_id = id WHERE session_id = ?
"""
_DATA_ERRORS = frozenset(
    {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE}
)
"""Errors that the appended data causes. (An error raised by the driver itself has no code.)"""
POLL_SECONDS = 0.02
"""Polling interval of a follower."""


class SqliteStore:
    encrypts = False
    decrypts = False
    reopen: Callable[[], Store] | None = None

    @classmethod
    def at(cls, path: Path) -> Self:
        """The store in the file at ``path``."""
        return cls(URL.create("sqlite", database=str(path)))

    def __init__(self, url: str | URL) -> None:
        """``url``: an SQLAlchemy URL such as ``sqlite:///calls.db``. Raises `StoreError` with what to do."""
        url = make_url(url)
        database = url.database
        self._name = database or "sqlite in memory"
        if url.host:
            raise StoreError(
                f"a path takes three slashes: sqlite:///{url.host}{'/' if database else ''}{database or ''}"
            )
        if not database or database == ":memory:":
            raise StoreError("an in-memory SQLite database is private to one connection; use memory: instead")
        path = Path(unquote(database.removeprefix("file:"))).absolute()
        self.journal = path.with_name(path.name + ".journal")
        if not database.startswith("file:"):
            url = self._make_openable(url, path)
        self._file = None if is_read_only(url) else DatabaseFile(path)
        self._engine = make_engine(url, self._file, BUSY_SECONDS)
        self._watch = None if self._file is None else Watch(self._file, self._engine, self._connection, self._open)
        self.ledger = SqlLedger(self._engine, self._guarded, self._scrub, self._exclusive_delivery)
        self.rows = SqlRows(self._reading, self._writing_rows, heads_in)
        self._appending = threading.RLock()
        """Held during a transaction, in which the process must not fork; see `_before_fork`."""
        _stores.add(self)
        schema.dispose_in_child(self._engine)
        weakref.finalize(self, self._engine.dispose).atexit = False
        try:
            with self._appending, self._errors():
                self._open()
        except BaseException:
            self._engine.dispose()
            raise

    def _open(self) -> None:
        with self._engine.connect() as connection:
            if schema.revision(connection) != schema.HEAD:
                connection.rollback()
                with connection.begin():
                    schema.migrate(connection)
        if self._file is not None:
            self._file.restrict_permissions()
            with self._connection() as driver:
                assign_log_id(driver)
            self._file.remember_content()

    def _make_openable(self, url: URL, path: Path) -> URL:
        if path.is_dir():
            raise StoreError(f"{path} is a folder, not a database file")
        if path.exists() and not os.access(path, os.W_OK) and not path.with_name(path.name + "-wal").exists():
            # to read a database in WAL mode SQLite creates sidecar files, unless it is declared immutable
            query = {"mode": "ro", "immutable": "1", "uri": "true"}
            return URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot create the folder {path.parent}: {error.strerror}") from error
        return url

    def __repr__(self) -> str:
        return f"SQLite database {self._name}"

    # writing ---------------------------------------------------------------------------------------------------

    def append(self, events: Iterable[Event]) -> Sequence[int]:
        """See `Store.append`. Also raises `StoreReplaced`: append again, to the database that is at the path now.

        Returns only if the committed events are in the file at the path.
        """
        batch = list(events)
        if not batch:
            return []
        heads: dict[tuple[str, str], ChainHead] = {}
        with self._guarded():
            with self._connection() as driver:
                try:
                    with self._transaction(driver) as known:
                        positions = append_rows(driver, batch, heads, known)
                except sqlite3.IntegrityError:  # some of it is stored already
                    heads.clear()
                    with self._transaction(driver) as known:
                        positions = append_new_rows(driver, batch, heads, known)
            if self._watch is not None:
                there = self._watch.committed()
                self._watch.raise_if_replaced()
                if not there:
                    raise StoreUnavailable(f"{self._name} was removed, moved or replaced during an append; try again")
                self._watch.remember(heads)
        return positions

    # reading ---------------------------------------------------------------------------------------------------

    def read(self, session_id: str) -> Generator[Event, None, None]:
        """See `Store.read`. Holds a connection and a snapshot of the database until it is exhausted or closed."""
        with self._errors(), self._driver() as driver:
            yield from self._read(driver, session_id)

    def read_many(self, session_ids: Iterable[str]) -> Iterator[tuple[str, Iterator[Event]]]:
        """See `Store.read_many`. Holds one connection, and a snapshot for each session, until it is closed."""
        with self._errors(), self._driver() as driver:
            for session_id in session_ids:
                there = self._file is None or self._file.is_there()
                events = self._read(driver, session_id) if there else self.read(session_id)  # of the file there now
                yield session_id, events
                events.close()

    def _read(self, driver: sqlite3.Connection, session_id: str) -> Generator[Event, None, None]:
        with self._errors(), _snapshot(driver):
            streams = [
                starmap(partial(Event, session_id, origin), _rows(driver.execute(_READ, (number,))))
                for number, origin, _events, _link in driver.execute(_ORIGINS, (session_id,)).fetchall()
            ]
            yield from streams[0] if len(streams) == 1 else merge(streams)

    def chains(self, session_id: str) -> Iterator[tuple[Origin, Iterator[Linked]]]:
        """See `Store.chains`."""
        with self._errors(), self._driver() as driver, _snapshot(driver):
            for number, origin, events, link in driver.execute(_ORIGINS, (session_id,)).fetchall():
                yield Origin(session_id, origin, events, link), self._linked(driver, number, session_id, origin)

    def _linked(self, driver: sqlite3.Connection, number: int, session_id: str, origin: str) -> Iterator[Linked]:
        with self._errors():
            for row in _rows(driver.execute(_CHAIN, (number,))):
                yield Linked(Event(session_id, origin, *row[:-1]), row[-1])

    def sessions(self) -> list[Session]:
        """See `Store.sessions`."""
        with self._errors(), self._driver() as driver:
            found = list(starmap(Session, driver.execute(schema.SESSIONS)))
        return sorted(found, key=lambda s: (-s.started_ns, s.session_id))

    def heads(self) -> dict[str, Head]:
        """See `Store.heads`."""
        with self._reading() as execute:
            return heads_in(execute)

    def follow(
        self, after: str | None = None, *, session_id: str | None = None, stop: Flag | None = None
    ) -> Iterator[Followed]:
        """See `Store.follow`. SQLite has one writer at a time, so positions grow in commit order."""
        (position,) = schema.parse_cursor(after, 1)
        stop, seen = stop or Flag(), None
        with self._errors(), self._driver() as driver:
            if session_id is not None:
                position = max(position, driver.execute(_BEGIN, (session_id,)).fetchone()[0])
            while not stop.is_set():
                if self._file is not None and not self._file.is_at_path():
                    raise StoreUnavailable(f"{self._name} was removed, moved or replaced while it was followed")
                # changes with each commit of another connection; our appends use other ones
                version = driver.execute("PRAGMA data_version").fetchone()
                if version == seen:
                    stop.wait(POLL_SECONDS)
                    continue
                newest = driver.execute(_NEWEST).fetchone()[0]
                rows = driver.execute(_FOLLOW, (position, session_id, session_id)).fetchall()
                for row in rows:
                    position = row[0]
                    yield Followed(str(position), Event(*row[1:]))
                if len(rows) < schema.FOLLOW_BATCH:
                    seen = version
                    position = max(position, newest)  # events of other sessions are not read again

    def close(self) -> None:
        self._engine.dispose()

    # internals -------------------------------------------------------------------------------------------------

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """A context for changes: no fork during it, the file is checked, errors are translated."""
        with self._appending, self._errors():
            if self._watch is not None:
                self._watch.check()
            yield

    @contextmanager
    def _transaction(self, driver: sqlite3.Connection) -> Iterator[dict[tuple[str, str], ChainHead]]:
        """A transaction, with the heads of chains that it has read."""
        driver.execute("BEGIN IMMEDIATE")
        try:
            yield {} if self._watch is None else self._watch.check_heads(driver)
            driver.execute("COMMIT")
        except BaseException:
            if driver.in_transaction:
                driver.execute("ROLLBACK")
            raise

    @contextmanager
    def _reading(self) -> Iterator[Execute]:
        with self._errors(), self._driver() as driver, _snapshot(driver), tolerant(driver):
            yield driver.execute

    @contextmanager
    def _writing_rows(self) -> Iterator[Execute]:
        with self._guarded(), self._connection() as driver, self._transaction(driver):
            yield driver.execute

    def _scrub(self) -> None:
        """Truncate the write-ahead log, which still has old pages; `StoreUnavailable` if other processes read it."""
        with self._errors(), self._driver() as driver:
            busy, _pages, _moved = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreUnavailable(
                f"{self._name}: done, but other processes still read the previous state; repeat it later to erase that "
                "from the disk too"
            )

    @contextmanager
    def _exclusive_delivery(self, exporter: str) -> Iterator[None]:
        """Hold a file lock, which ends with the process."""
        name = f"deliver-{blake2b(exporter.encode(), digest_size=8).hexdigest()}.lock"
        try:
            self.journal.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self.journal / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreReadOnly(f"cannot create {self.journal / name}: {error.strerror}") from error
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreUnavailable(f"another process delivers {exporter!r} already") from error
            yield
        finally:
            os.close(fd)

    @contextmanager
    def _driver(self) -> Iterator[sqlite3.Connection]:
        if self._file is not None and self._watch is not None and not self._file.is_there():
            with self._appending:
                self._watch.check()
        with self._connection() as driver:
            yield driver

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(self._engine.raw_connection()) as connection:
            driver = connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            yield driver

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Translate SQLite's errors into `StoreError`."""
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
            if code == sqlite3.SQLITE_NOTADB:
                raise StoreUnavailable(f"{self._name} is not an SQLite database") from error
            if code in _DATA_ERRORS or not code:
                raise StoreError(f"{self._name}: {cause}") from error
            if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT):
                raise StoreDamaged(f"{self._name}: {cause}") from error
            raise StoreUnavailable(f"{self._name}: {cause}") from error
        except (OverflowError, UnicodeError) as error:
            raise StoreError(f"{self._name} cannot store this: {error}") from error
        except OSError as error:
            raise StoreUnavailable(f"{self._name}: {error.strerror or error}") from error


_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()
_forking = threading.RLock()
"""Held during a fork, which owns `_held`."""
_held: list[SqliteStore] = []


def _before_fork() -> None:
    """Wait until no store is in a transaction.

    SQLite also keeps its locks in process memory: a child that inherits a lock of another thread would find the
    database locked forever.
    """
    _forking.acquire()
    _held[:] = sorted(_stores, key=id)
    for store in _held:
        store._appending.acquire()  # noqa: SLF001 - its own fork handlers


def _after_fork() -> None:
    while _held:
        _held.pop()._appending.release()  # noqa: SLF001 - its own fork handlers
    _forking.release()


def _after_fork_in_child() -> None:
    for store in _stores:
        if store._file is not None:  # noqa: SLF001 - its own fork handlers
            store._file.connections = 0  # they belong to the parent  # noqa: SLF001 - its own fork handlers
    _after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


def _rows(cursor: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
    """The cursor's rows, fetched in batches: a fifth faster than one at a time."""
    return chain.from_iterable(iter(partial(cursor.fetchmany, 256), []))


@contextmanager
def _snapshot(driver: sqlite3.Connection) -> Iterator[None]:
    driver.execute("BEGIN")
    try:
        yield
    finally:
        driver.execute("ROLLBACK")
