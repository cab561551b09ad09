"""The user's cache file: rows of a log whose database the user may not write to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from platformdirs import user_cache_path
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

from eventstore.errors import StoreError
from eventstore.stores import schema
from eventstore.stores.base import Rows, Store
from eventstore.stores.encrypted import EncryptedStore
from eventstore.stores.records import Head
from eventstore.stores.rows import sqlite_rows


def cached_rows(store: Store, *, create: bool = False) -> Rows | None:
    """The rows in the user's cache file of this log; None if there is no such file, or it cannot be used."""
    path = cache_path(store)
    if path is None or not (create or path.exists()):
        return None
    try:
        rows = _open(path)
    except (OSError, StoreError, DBAPIError):
        return None
    return store.sealing(rows) if isinstance(store, EncryptedStore) else rows


def cache_path(store: Store) -> Path | None:
    """Where the user's cache file of this log is; None for a store without a place of its own."""
    if store.reopen is None or store.journal is None:
        return None
    place = blake2b(str(store.journal).encode(), digest_size=12).hexdigest()
    return user_cache_path("turnlog") / f"rows-{schema.HEAD}-{place}.db"


def drop_removed(rows: Rows, heads: Mapping[str, Head]) -> None:
    """Delete the rows of sessions that the log no longer has, and those read with a key that is destroyed."""
    gone = {key.session_id for key in rows.stored_keys() if _is_gone(key.opened, heads.get(key.session_id))}
    if gone:
        rows.delete(gone)


def delete_cached(store: Store, session_id: str) -> None:
    """Delete the session's rows from the user's cache file, if there is one. Raises `StoreError` if that fails."""
    path = cache_path(store)
    if path is None or not path.exists():
        return
    rows = cached_rows(store)
    if rows is None:
        with suppress(FileNotFoundError):
            path.unlink()
        return
    rows.delete([session_id])


def _is_gone(opened: bool, head: Head | None) -> bool:
    return head is None or (opened and not head.has_key)


@lru_cache(maxsize=8)
def _open(path: Path) -> Rows:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = DELETE")
    return sqlite_rows(engine)
