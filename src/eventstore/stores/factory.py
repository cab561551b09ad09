"""Opens the store at a URL."""

from __future__ import annotations

import os
from pathlib import Path

from eventstore.errors import StoreError
from eventstore.stores.base import Store


def open_store(url: str | Path, *, migrate: bool = False, master_key: str | None = None) -> Store:
    """Open the store at ``url``.

    ``sqlite:///calls.db`` (or just a path) is an embedded database, made or migrated where needed;
    ``postgresql+psycopg://…`` a server, migrated only with ``migrate`` (``turnlog init``); ``memory:`` a store that
    ends with the process. With a ``master_key`` (32 bytes in base64, or several between commas: the first wraps, all
    unwrap; by default ``TURNLOG_MASTER_KEY`` of the environment) content is kept encrypted, see
    `eventstore.stores.encrypted`. Raises `StoreError`, or one of its kinds, with what to do.
    """
    from eventstore.stores.encrypted import MASTER_KEY, with_encryption

    store = _open(str(url), migrate)
    try:
        return with_encryption(store, master_key or os.environ.get(MASTER_KEY) or None)
    except BaseException:
        store.close()
        raise


def _open(text: str, migrate: bool) -> Store:
    if "://" not in text and text != "memory:":
        from eventstore.stores.sqlite.store import SqliteStore

        return SqliteStore.at(Path(text).expanduser())
    if text == "memory:":
        from eventstore.stores.memory import MemoryStore

        return MemoryStore()
    if text.startswith("sqlite:"):
        from eventstore.stores.sqlite.store import SqliteStore

        return SqliteStore(text)
    scheme = text.partition(":")[0]
    if scheme in ("postgresql", "postgresql+psycopg", "postgres"):
        return _open_postgres(text, migrate)
    raise StoreError(f"no store for {scheme!r} URLs; use sqlite:///PATH, a path, postgresql+psycopg://… or memory:")


def _open_postgres(url: str, migrate: bool) -> Store:
    try:
        from eventstore.stores.postgres.connection import parse_url
        from eventstore.stores.postgres.store import PostgresStore
    except ModuleNotFoundError as error:
        raise StoreError(f"Postgres needs the extra: pip install 'turnlog[postgres]' ({error})") from error
    return PostgresStore(parse_url(url), migrate=migrate)
