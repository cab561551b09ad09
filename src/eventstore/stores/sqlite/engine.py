"""Connections to an SQLite database: set up alike, and all to the same file."""

from __future__ import annotations

import sqlite3

from sqlalchemy import URL, create_engine
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.engine import Connection, Engine

from eventstore.errors import StoreUnavailable
from eventstore.stores.sqlite.file import DatabaseFile


def make_engine(url: URL, file: DatabaseFile | None, busy_seconds: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": busy_seconds, "check_same_thread": False})

    if file is not None:

        @sqlalchemy_event.listens_for(engine, "do_connect")
        def make(*_connect: object) -> None:
            if file.identity is None:
                file.make()

        @sqlalchemy_event.listens_for(engine, "connect")
        def connected(driver: sqlite3.Connection, _record: object) -> None:
            file.add_connection()
            if not file.is_there():
                file.remove_connection()
                driver.close()
                raise StoreUnavailable(f"{file.path} was replaced while it was being opened; try again")

        @sqlalchemy_event.listens_for(engine, "close")
        def closed(_driver: object, _record: object) -> None:
            file.remove_connection()

    @sqlalchemy_event.listens_for(engine, "connect")
    def prepare(driver: sqlite3.Connection, _record: object) -> None:
        driver.isolation_level = None  # no implicit transactions; see `begin` below
        driver.execute("PRAGMA recursive_triggers = ON")  # else INSERT OR REPLACE bypasses the delete trigger
        if driver.execute("PRAGMA journal_mode").fetchone()[0] != "wal" and not is_read_only(url):
            driver.execute("PRAGMA journal_mode = WAL")
        driver.execute("PRAGMA synchronous = FULL")  # acknowledged appends survive a power cut, not only a crash

    @sqlalchemy_event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # SQLAlchemy's transactions (migrations) take the write lock at once: a deferred one may fail half-way
        connection.exec_driver_sql("BEGIN" if is_read_only(url) else "BEGIN IMMEDIATE")

    return engine


def is_read_only(url: URL) -> bool:
    return url.query.get("mode") == "ro"
