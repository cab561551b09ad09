"""Rows of the read models, in a table of an SQL database. They are derived from the log, and can be thrown away.

What a row holds is opaque here: figures, packed numbers, labels and speech as bytes. A row is fresh if its `RowKey` is
the one that the reader computes from the log now; any other row is ignored, and overwritten.

The same table is in the log's database, in the user's cache file and in a memory store.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Engine

from eventstore.stores.chain import Origin, seal
from eventstore.stores.records import ALL_PARTS, Head, Part, RowKey, StoredRow

T = TypeVar("T")
TABLES = sa.MetaData()
# Blobs come last: SQLite then reads the other columns without touching the pages that the blobs overflow to.
sa.Table(
    "session_rows",
    TABLES,
    sa.Column("session_id", sa.Text, primary_key=True),
    sa.Column("rules", sa.Text, primary_key=True),
    sa.Column("opened", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("seal", sa.Text, nullable=False),
    sa.Column("events", sa.BigInteger, nullable=False),
    sa.Column("turns", sa.BigInteger, nullable=False),
    sa.Column("voices", sa.BigInteger, nullable=False),
    sa.Column("response_p95_ms", sa.Double),
    sa.Column("slowest_ms", sa.Double),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("interruptions", sa.BigInteger, nullable=False),
    sa.Column("no_response", sa.BigInteger, nullable=False),
    sa.Column("labels", sa.LargeBinary, nullable=False),
    sa.Column("speech", sa.LargeBinary, nullable=False),
    sa.Column("numbers", sa.LargeBinary, nullable=False),
)
LOCK_ROWS = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' rows', 0))"
"""Postgres: excludes other writers of rows until the transaction ends, as each transaction on SQLite does."""
MANY = 400
"""Number of sessions or rows in one statement; databases limit the number of its parameters."""
_DERIVED = StoredRow._fields[len(RowKey._fields) :]
Execute = Callable[[str, Sequence[Any]], Iterable[tuple[Any, ...]]]
"""Executes a statement, whose parameters are written ``?``, and returns its rows."""


class SqlRows:
    """Rows in an SQL database."""

    def __init__(
        self,
        reading: Callable[[], AbstractContextManager[Execute]],
        writing: Callable[[], AbstractContextManager[Execute]],
        heads: Callable[[Execute, Sequence[str]], dict[str, Head]] | None = None,
    ) -> None:
        """``reading`` and ``writing`` begin a transaction: a snapshot, and one that excludes other writers of rows.

        ``heads`` returns the current heads of sessions, as seen in the transaction; without it rows are not compared.
        """
        self._reading, self._writing, self._heads = reading, writing, heads

    def read(self, keys: Sequence[RowKey], parts: Collection[Part] = ()) -> dict[str, StoredRow]:
        """See `eventstore.stores.base.Rows.read`."""
        found: dict[str, StoredRow] = {}
        shown = ", ".join(name if name not in ALL_PARTS or name in parts else "NULL" for name in _DERIVED)
        for some in _batches(keys):
            wanted = {(key.session_id, key.opened, key.seal): key for key in some}  # 0 and 1 equal False and True
            chosen, parameters = _chosen(some[0], [key.session_id for key in some])
            with self._reading() as execute:
                for row in execute(f"SELECT session_id, opened, seal, {shown} FROM session_rows {chosen}", parameters):
                    key = wanted.get(row[:3])
                    if key is not None:
                        labels, speech, numbers = row[-3:]
                        values = (*key, *row[3:-3], labels or b"", speech or b"", numbers or b"")
                        found[key.session_id] = StoredRow._make(values)
        return found

    def put(self, rows: Sequence[StoredRow]) -> None:
        """See `eventstore.stores.base.Rows.put`."""
        if not rows:
            return
        with self._writing() as execute:
            kept = rows
            if self._heads is not None:
                heads = self._heads(execute, [row.session_id for row in rows])
                kept = [row for row in rows if _is_current(row, heads.get(row.session_id))]
            for (rules, opened), group in groupby(sorted(kept, key=_kind), key=_kind):
                for some in _batches([row.session_id for row in group]):
                    chosen = f"WHERE rules = ? AND opened = ? AND session_id IN ({_marks(len(some))})"
                    execute(f"DELETE FROM session_rows {chosen}", (rules, opened, *some))
            insert = f"INSERT INTO session_rows ({', '.join(StoredRow._fields)}) VALUES "
            for some_rows in _batches(kept):
                values = [value for row in some_rows for value in (*row[:2], int(row.opened), *row[3:])]
                execute(insert + ", ".join([f"({_marks(len(StoredRow._fields))})"] * len(some_rows)), values)

    def fresh(self, keys: Sequence[RowKey]) -> set[str]:
        """See `eventstore.stores.base.Rows.fresh`."""
        if not keys:
            return set()
        wanted = {(key.session_id, key.opened, key.seal) for key in keys}
        chosen, values = _chosen(keys[0], [key.session_id for key in keys] if len(keys) <= MANY else ())
        with self._reading() as execute:
            rows = execute(f"SELECT session_id, opened, seal FROM session_rows {chosen}", values)
            return {row[0] for row in rows if row in wanted}

    def stored_keys(self) -> list[RowKey]:
        """See `eventstore.stores.base.Rows.stored_keys`."""
        with self._reading() as execute:
            rows = execute(f"SELECT {', '.join(RowKey._fields)} FROM session_rows", ())
            keys = [RowKey(name, rules, bool(opened), *rest) for name, rules, opened, *rest in rows]
        return sorted(key for key in keys if tuple(map(type, key)) == (str, str, bool, str, str))  # else it is damaged

    def delete(self, sessions: Collection[str]) -> None:
        """See `eventstore.stores.base.Rows.delete`."""
        with self._writing() as execute:
            for some in _batches(list(sessions)):
                execute(f"DELETE FROM session_rows WHERE session_id IN ({_marks(len(some))})", some)


def heads_in(execute: Execute, sessions: Sequence[str] | None = None) -> dict[str, Head]:
    """The heads of these sessions of an SQL log, or of all, by name."""
    select = (
        "SELECT o.session_id, o.origin, o.events, o.link, k.wrapped IS NOT NULL "
        "FROM origins o LEFT JOIN keys k ON k.session_id = o.session_id WHERE o.events > 0"
    )
    found = {}
    for some in [None] if sessions is None else _batches(sessions):
        chosen = "" if some is None else f" AND o.session_id IN ({_marks(len(some))})"
        rows = execute(f"{select}{chosen} ORDER BY o.session_id", some or ())
        for name, own in groupby(rows, key=itemgetter(0)):
            found[name] = _head(name, list(own))
    return found


def _head(name: str, rows: Sequence[tuple[Any, ...]]) -> Head:
    has_key = bool(rows[0][4])
    try:
        return Head(name, sum([row[2] for row in rows]), seal([Origin(*row[:4]) for row in rows]), has_key)
    except (TypeError, ValueError, OverflowError):  # a damaged origin, which `turnlog verify` reports
        return Head(name, -1, "", has_key)


def sqlite_rows(engine: Engine, heads: Callable[[Execute, Sequence[str]], dict[str, Head]] | None = None) -> SqlRows:
    """Rows in an SQLite database of their own, whose table is created."""
    lock = threading.RLock()

    @contextmanager
    def transaction(begin: str) -> Iterator[Execute]:
        with lock, closing(engine.raw_connection()) as connection:
            driver = connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.isolation_level = None
            driver.execute(begin)
            try:
                with tolerant(driver):
                    yield driver.execute
                driver.execute("COMMIT")
            finally:
                if driver.in_transaction:
                    driver.execute("ROLLBACK")

    with lock:
        TABLES.create_all(engine)
    return SqlRows(lambda: transaction("BEGIN"), lambda: transaction("BEGIN IMMEDIATE"), heads)


@contextmanager
def tolerant(driver: sqlite3.Connection) -> Iterator[None]:
    """Within it, a text that is not UTF-8, as in a damaged row, does not make the whole query fail."""
    driver.text_factory = _decode
    try:
        yield
    finally:
        driver.text_factory = str


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _chosen(key: RowKey, names: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """A condition with its values: rows with the rules and the engine of the key, of these sessions; of all if none."""
    condition = "WHERE rules = ? AND engine = ?"
    if names:
        condition += f" AND session_id IN ({_marks(len(names))})"
    return condition, (key.rules, key.engine, *names)


def _is_current(row: StoredRow, head: Head | None) -> bool:
    return head is not None and head.seal == row.seal and (head.has_key or not row.opened)


def _kind(row: StoredRow) -> tuple[str, int]:
    return row.rules, int(row.opened)


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[at : at + MANY] for at in range(0, len(items), MANY))


def _marks(count: int) -> str:
    return ", ".join(["?"] * count)
