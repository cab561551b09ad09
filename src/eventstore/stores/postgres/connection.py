"""Connections to a Postgres server: engine, server checks, and translation of errors."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

import psycopg
from psycopg import errors
from psycopg.types.string import BytesBinaryDumper
from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from eventstore.errors import StoreDamaged, StoreError, StoreReadOnly, StoreUnavailable
from eventstore.stores import schema

DEFAULTS = {"connect_timeout": "10", "tcp_user_timeout": "30000", "client_encoding": "UTF8"}
"""Connection options (connect_timeout in seconds, tcp_user_timeout in milliseconds); the URL overrides them."""
PING_AFTER_SECONDS = 1.0
"""A connection that was idle for longer is pinged before its next use."""
_SEVERAL_HOSTS = re.compile(r"(?P<scheme>[\w+]+)://(?P<user>[^@/]*@)?(?P<hosts>[^/?,]*,[^/?]*)(?P<rest>.*)", re.DOTALL)
_OTHER_SCHEMA = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
)


def parse_url(text: str) -> URL:
    """Parse a URL, also with several hosts as in libpq: ``postgresql://h1:1,h2:2/calls``.

    Raises `StoreError` if it is invalid; the message does not repeat it, as it may contain a password.
    """
    text = text.replace("postgres://", "postgresql://", 1)
    several = _SEVERAL_HOSTS.fullmatch(text)
    if several is not None:
        rest, mark, query = several["rest"].partition("?")
        hosts = "&".join(f"host={host}" for host in several["hosts"].split(","))
        text = f"{several['scheme']}://{several['user'] or ''}{rest or '/'}?{hosts}{'&' if mark else ''}{query}"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise StoreError("the database URL cannot be read; write postgresql+psycopg://user@host:port/name") from None
    query = {name: value for name, value in url.query.items() if name != "client_encoding"}  # always UTF8
    return url.set(drivername="postgresql+psycopg", query=query)


def make_engine(url: URL) -> Engine:
    """An engine whose connections keep no session state behind a connection pooler."""
    defaults = {name: value for name, value in DEFAULTS.items() if name not in url.query}
    engine = create_engine(url, pool_size=5, max_overflow=50, connect_args=defaults)
    sqlalchemy_event.listen(engine, "connect", _prepare)
    sqlalchemy_event.listen(engine, "checkin", _stamp_use)
    sqlalchemy_event.listen(engine, "checkout", _check_idle)
    return engine


def _stamp_use(_driver: psycopg.Connection[Any] | None, record: ConnectionPoolEntry) -> None:
    record.info["used"] = time.monotonic()


def _check_idle(driver: psycopg.Connection[Any], record: ConnectionPoolEntry, _proxy: object) -> None:
    """Ping an idle connection. Raises `DisconnectionError`, which makes the pool reconnect, if the server closed it.

    A recently used connection is not pinged: that would cost every append a round trip.
    """
    if time.monotonic() - record.info.get("used", inf) < PING_AFTER_SECONDS:
        return
    try:
        driver.autocommit = True
        driver.execute("SELECT 1")
        driver.autocommit = False
    except psycopg.Error as error:
        raise DisconnectionError(str(error)) from error


def _prepare(driver: psycopg.Connection[Any], _record: object) -> None:
    driver.adapters.register_dumper(bytes, BytesBinaryDumper)  # in C; COPY would pick the one in Python
    driver.autocommit = True
    if is_pooled(driver):
        driver.prepare_threshold = None  # the next transaction may run in a different server process
    driver.autocommit = False


def is_pooled(driver: psycopg.Connection[Any]) -> bool:
    """Whether a pooler (pgbouncer, …) is in between: it reports a process id of its own on connect."""
    return driver.execute("SELECT pg_backend_pid()").fetchone() != (driver.info.backend_pid,)


def is_lost(error: psycopg.Error) -> bool:
    """Whether the error means that the connection is no longer the one it was, so that a new one may do."""
    if isinstance(error, errors.InvalidSqlStatementName):  # an unnoticed pooler has replaced the server process
        return True
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate or "57P")[:3] in ("57P", "080")


def check_server(connection: Connection, name: str) -> None:
    """Check encoding and schema. Raises `StoreError` with what to do if the database cannot hold a log."""
    encoding, path, place = connection.exec_driver_sql(
        "SELECT current_setting('server_encoding'), current_setting('search_path'), current_schema()"
    ).one()
    if encoding != "UTF8":
        raise StoreError(
            f"{name} is encoded in {encoding}, and a log needs UTF8; create the database with: "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    wanted = url_search_path(connection.engine.url)
    if wanted is not None and _names(wanted) != _names(path):
        raise StoreError(
            f"{name} is reached with search_path {path}, not with {wanted} as in its URL: a pooler drops it; set it on "
            "the role instead: ALTER ROLE … SET search_path = …"
        )
    if place is None:
        raise StoreError(f"{name} has no schema {path}; create it with: CREATE SCHEMA …")


def url_search_path(url: URL) -> str | None:
    """The ``search_path`` set by the URL's ``options``, or None."""
    options = url.query.get("options", "")
    found = re.findall(
        r"(?:-c\s*|--)search_path=((?:\\.|\S)*)", options if isinstance(options, str) else " ".join(options)
    )
    return re.sub(r"\\(.)", r"\1", found[-1]) if found else None


def _names(path: str) -> list[str]:
    return [name.strip().strip('"') for name in path.split(",")]


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Translate psycopg's errors into `StoreError`; messages never contain a password.

    `StoreUnavailable`, `StoreReadOnly` and `StoreDamaged` may be transient; any other `StoreError` means that the
    server will never accept the data.
    """
    try:
        yield
    except PoolTimeout as error:
        raise StoreUnavailable(f"{name} is not available now: all connections of this process are in use") from error
    except (UnicodeError, OverflowError) as error:
        raise StoreError(f"{name} cannot store this: {error}") from error
    except (psycopg.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        line = str(cause).strip().partition("\n")[0]
        if isinstance(cause, (errors.ReadOnlySqlTransaction, errors.InsufficientPrivilege)):
            raise StoreReadOnly(f"{name} is read-only here: {line}") from error
        if isinstance(cause, _OTHER_SCHEMA):
            raise StoreDamaged(f"{name} does not have the schema {schema.HEAD}: {line}; run turnlog init") from error
        # invalid data, a constraint, a limit (such as an id too long for an index): the data is at fault
        if (getattr(cause, "sqlstate", None) or "")[:2] in ("22", "23", "54") or isinstance(cause, psycopg.DataError):
            raise StoreError(f"{name}: {line}") from error
        raise StoreUnavailable(f"{name} is not available now: {line}") from error
