"""`open_store`: the store at a URL or path."""

from __future__ import annotations

import os
from pathlib import Path

from eventstore.errors import StoreError
from eventstore.stores.base import Store


def open_store(url: str | Path, *, migrate: bool = False, master_key: str | None = None) -> Store:
    """Open the store at ``url``.

    ``sqlite:///calls.db`` (or just a path) is an embedded database, created or migrated as needed;
    ``postgresql+psycopg://…`` is a server, migrated only with ``migrate`` (``turnlog init``); ``memory:`` is a store
    that ends with the process. With a ``master_key`` (32 bytes in base64, or several separated by commas: the first
    wraps, all unwrap; default: the environment variable ``TURNLOG_MASTER_KEY``) content is encrypted, see
    `eventstore.stores.encrypted`. Raises `StoreError` or a subclass.
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
