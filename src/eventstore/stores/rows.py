"""Rows of the read models, in tables of an SQL database. They are derived from the log, and can be thrown away.

What a row holds is opaque here: figures, packed numbers, labels and speech as bytes. A row is fresh if its `RowKey` is
the one that the reader computes from the log now; any other row is ignored, and overwritten.

The same tables are in the log's database, in the user's cache file and in a memory store.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import groupby, product
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Engine

from eventstore.stores.chain import Origin, seal
from eventstore.stores.records import ALL_PARTS, Head, Part, RowKey, StoredRow

T = TypeVar("T")
TABLES = sa.MetaData()
_KEY = (
    lambda: sa.Column("session_id", sa.Text, primary_key=True),
    lambda: sa.Column("rules", sa.Text, primary_key=True),
    lambda: sa.Column("opened", sa.SmallInteger, primary_key=True, autoincrement=False),
)
# Blobs come last: SQLite then reads the other columns without touching the pages that the blobs overflow to.
sa.Table(
    "session_rows",
    TABLES,
    *(column() for column in _KEY),
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
)
sa.Table(
    "turn_rows",
    TABLES,
    *(column() for column in _KEY),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("numbers", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,  # so that the turns of a session are side by side
)
LOCK_ROWS = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' rows', 0))"
"""Postgres: excludes other writers of rows until the transaction ends, as each transaction on SQLite does."""
MANY = 400
"""Number of sessions or rows in one statement; databases limit the number of its parameters."""
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
        shown = ", ".join(name if name not in ALL_PARTS or name in parts else "NULL" for name in StoredRow._fields[:-1])
        for some in _batches(keys):
            names, rules, wanted = [key.session_id for key in some], some[0].rules, set(some)
            chosen = f"WHERE rules = ? AND session_id IN ({_marks(len(some))})"
            with self._reading() as execute:
                rows = execute(f"SELECT {shown} FROM session_rows {chosen}", (rules, *names))
                fresh = {row.session_id: row for row in map(_stored, rows) if row.key in wanted}
                if "numbers" in parts:
                    select = f"SELECT session_id, opened, numbers FROM turn_rows {chosen}"
                    turns = execute(f"{select} ORDER BY session_id, number", (rules, *names))
                    fresh = dict(_with_numbers(fresh, turns))
            found |= fresh
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
            for place, group in groupby(sorted(kept, key=_kind), key=_kind):
                names = [row.session_id for row in group]
                for some, table in product(_batches(names), TABLES.tables):
                    chosen = f"WHERE rules = ? AND opened = ? AND session_id IN ({_marks(len(some))})"
                    execute(f"DELETE FROM {table} {chosen}", (*place, *some))
            _insert(execute, "session_rows", [(*_place(row), *row[3:-1]) for row in kept])
            _insert(execute, "turn_rows", [turn for row in kept for turn in _turn_rows(row)])

    def keys(self) -> list[RowKey]:
        """See `eventstore.stores.base.Rows.keys`."""
        with self._reading() as execute:
            rows = execute(f"SELECT {', '.join(RowKey._fields)} FROM session_rows", ())
            return sorted(RowKey(name, rules, bool(opened), *rest) for name, rules, opened, *rest in rows)

    def delete(self, sessions: Collection[str]) -> None:
        """See `eventstore.stores.base.Rows.delete`."""
        with self._writing() as execute:
            for some in _batches(list(sessions)):
                for table in TABLES.tables:
                    execute(f"DELETE FROM {table} WHERE session_id IN ({_marks(len(some))})", some)


def heads_in(execute: Execute, sessions: Sequence[str] | None = None) -> dict[str, Head]:
    """The heads of these sessions of an SQL log, or of all, by name."""
    select = (
        "SELECT o.session_id, o.origin, o.events, o.link, k.wrapped IS NOT NULL "
        "FROM origins o LEFT JOIN keys k ON k.session_id = o.session_id WHERE o.events > 0"
    )
    rows: list[tuple[Any, ...]] = []
    for some in [None] if sessions is None else _batches(sessions):
        chosen = "" if some is None else f" AND o.session_id IN ({_marks(len(some))})"
        rows += execute(select + chosen, some or ())
    found = {}
    for name, group in groupby(sorted(rows, key=lambda row: row[:2]), key=lambda row: row[0]):
        theirs = list(group)
        origins = [Origin(*row[:4]) for row in theirs]
        try:
            events, digest = sum(origin.events for origin in origins), seal(origins)
        except (TypeError, ValueError, OverflowError):  # a damaged origin, which `turnlog verify` reports
            events, digest = -1, ""
        found[name] = Head(name, events, digest, bool(theirs[0][4]))
    return found


def sqlite_rows(engine: Engine, heads: Callable[[Execute, Sequence[str]], dict[str, Head]] | None = None) -> SqlRows:
    """Rows in an SQLite database of their own, whose tables are created."""
    lock = threading.RLock()

    @contextmanager
    def transaction(begin: str) -> Iterator[Execute]:
        with lock, closing(engine.raw_connection()) as connection:
            driver = connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.isolation_level = None
            driver.execute(begin)
            try:
                yield driver.execute
                driver.execute("COMMIT")
            finally:
                if driver.in_transaction:
                    driver.execute("ROLLBACK")

    with lock:
        TABLES.create_all(engine)
    return SqlRows(lambda: transaction("BEGIN"), lambda: transaction("BEGIN IMMEDIATE"), heads)


def _stored(row: tuple[Any, ...]) -> StoredRow:
    name, rules, opened, *rest = row[:-2]
    labels, speech = (blob or b"" for blob in row[-2:])
    return StoredRow._make((name, rules, bool(opened), *rest, labels, speech, b""))


def _with_numbers(fresh: dict[str, StoredRow], turns: Iterable[tuple[Any, ...]]) -> Iterator[tuple[str, StoredRow]]:
    """The rows with their turns' numbers; a row whose turns are not all there is left out."""
    packed: dict[tuple[str, bool], list[bytes]] = {}
    for name, opened, numbers in turns:
        packed.setdefault((name, bool(opened)), []).append(numbers)
    for name, row in fresh.items():
        own = packed.get((name, row.opened), [])
        if len(own) == row.turns:
            yield name, row._replace(numbers=b"".join(own))


def _turn_rows(row: StoredRow) -> Iterator[tuple[Any, ...]]:
    width = len(row.numbers) // row.turns if row.turns else 0
    for number in range(row.turns):
        yield (*_place(row), number, row.numbers[number * width : (number + 1) * width])


def _is_current(row: StoredRow, head: Head | None) -> bool:
    return head is not None and head.seal == row.seal and (head.has_key or not row.opened)


def _place(row: StoredRow) -> tuple[str, str, int]:
    """The row's primary key."""
    return row.session_id, row.rules, int(row.opened)


def _kind(row: StoredRow) -> tuple[str, int]:
    return row.rules, int(row.opened)


def _insert(execute: Execute, table: str, rows: list[tuple[Any, ...]]) -> None:
    for some in _batches(rows):
        columns = ", ".join(column.name for column in TABLES.tables[table].columns)
        values = ", ".join([f"({_marks(len(some[0]))})"] * len(some))
        execute(f"INSERT INTO {table} ({columns}) VALUES {values}", [value for row in some for value in row])


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[at : at + MANY] for at in range(0, len(items), MANY))


def _marks(count: int) -> str:
    return ", ".join(["?"] * count)
