"""`open_store`: the store at a URL or path."""

from __future__ import annotations

import os
from pathlib import Path

from eventstore.errors import StoreError
from eventstore.stores.base import Store


class Opening:
    """Opens a log again, in a process that it is pickled to. (A function's repr would show password and key.)"""

    def __init__(self, url: str, master_key: str | None) -> None:
        self._url, self._master_key = url, master_key

    def __call__(self) -> Store:
        return open_store(self._url, master_key=self._master_key)


def open_store(url: str | Path, *, migrate: bool = False, master_key: str | None = None) -> Store:
    """Open the store at ``url``.

    ``sqlite:///calls.db`` (or just a path) is an embedded database, created or migrated as needed;
    ``postgresql+psycopg://…`` is a server, migrated only with ``migrate`` (``turnlog init``); ``memory:`` is a store
    that ends with the process. With a ``master_key`` (32 bytes in base64, or several separated by commas: the first
    wraps, all unwrap; default: the environment variable ``TURNLOG_MASTER_KEY``) content is encrypted, see
    `eventstore.stores.encrypted`. Raises `StoreError` or a subclass.
    """
    from eventstore.stores.encrypted import MASTER_KEY, with_encryption

    store, key = _open(str(url), migrate), master_key or os.environ.get(MASTER_KEY) or None
    try:
        opened = with_encryption(store, key)
    except BaseException:
        store.close()
        raise
    if str(url) != "memory:":
        opened.reopen = Opening(str(url), key)
    return opened


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
