"""Whether an SQLite database is still the one that a store opened, and still has what the store put there.

A file may be removed, moved or replaced: then another one is at its path. It may be overwritten in place (``cp``, a
truncation, a restore): then the file at the path is the same, and its content is not. A write-ahead log that goes on
over such content would mix the two, so it is emptied first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from eventstore.errors import StoreError, StoreReplaced
from eventstore.stores.chain import ChainHead
from eventstore.stores.sqlite.file import DatabaseFile
from eventstore.stores.sqlite.rows import missing_events

BUSY_SECONDS = 5.0
"""How long a transaction waits for another process's."""
_REMEMBERED = 4096
"""Of how many origins the end of the chain is remembered."""
_COUNTS = "SELECT (SELECT COUNT(*) FROM events), (SELECT COALESCE(SUM(events), 0) FROM origins)"
ChainHeads = dict[tuple[str, str], ChainHead]


class Watch:
    """Looks at the file before and behind each append; all of it under the store's lock."""

    def __init__(
        self,
        file: DatabaseFile,
        engine: Engine,
        connection: Callable[[], AbstractContextManager[sqlite3.Connection]],
        reopen: Callable[[], None],
    ) -> None:
        self._file, self._engine, self._connection, self._open = file, engine, connection, reopen
        self._heads: ChainHeads = {}
        """Where the chains end that this store has appended to, as it left them."""
        self._replaced = ""
        """What has become of the database, until an append says so."""
        self._missing: dict[tuple[str, str], int] = {}

    def check(self) -> None:
        """Before anything is done with the database. Raises `StoreUnavailable` if it is no turnlog's."""
        if not self._file.is_there():
            self.reopen()
        elif self._file.has_changed():  # by a checkpoint, or from outside
            self._check_content()

    def committed(self) -> bool:
        """Whether what was just committed is in the file that the path leads to, as far as that can be known."""
        if not self._file.is_there_after_commit():
            self.reopen()
            return False
        if self._file.has_changed():
            self._check_content()
        return not self._replaced

    def remember(self, heads: ChainHeads) -> None:
        for key, head in heads.items():
            self._heads.pop(key, None)
            self._heads[key] = head
        while len(self._heads) > _REMEMBERED:
            del self._heads[next(iter(self._heads))]

    def check_heads(self, driver: sqlite3.Connection) -> None:
        """Is what this store has appended last still there? It is not after a restore, even into the same file."""
        key = next(reversed(self._heads), None)
        if key is not None and not self._replaced and missing_events(driver, {key: self._heads[key]}):
            self._replaced = f"{self._file.path} no longer has what was stored in it: an older state was restored"
            self._find_missing(driver)

    def raise_if_replaced(self) -> None:
        """Raises `StoreReplaced`, once, if it is another database than before."""
        if self._replaced:
            message, self._replaced = self._replaced, ""
            raise StoreReplaced(message, self._missing)

    def reopen(self) -> None:
        """Leave the file that was open, and open what is at the path now: made anew if there is nothing.

        Raises `StoreUnavailable` if that is not a turnlog's.
        """
        file = self._file
        if file.identity is not None:
            moved = not file.is_at_path()
            if moved or not file.has_log():  # what it has in its log is put into the file itself, wherever that is
                with suppress(sqlite3.Error, DBAPIError, StoreError), self._connection() as driver:
                    driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._engine.dispose()
            if not moved:
                return  # only the log was removed; `check_heads` finds what is missing
            file.abandon()
            self._replaced = f"{file.path} was removed, moved or replaced while it was open"
        file.check_foreign()
        file.path.parent.mkdir(parents=True, exist_ok=True)
        self._engine.dispose()
        self._open()
        with self._connection() as driver:
            self._find_missing(driver)

    def _find_missing(self, driver: sqlite3.Connection) -> None:
        """What this store has appended and the database that is there now does not have."""
        self._missing, self._heads = missing_events(driver, self._heads), {}
        if self._missing:
            self._replaced += f"; {sum(self._missing.values())} calls that were stored are not in it any more"

    # content ---------------------------------------------------------------------------------------------------

    def _check_content(self) -> None:
        if not self._file.is_ours():
            self._handle_overwrite()
            return
        with closing(sqlite3.connect(self._file.path, timeout=BUSY_SECONDS)) as driver:
            try:
                self.check_heads(driver)  # connections that are open go on believing what they have read
            except sqlite3.DatabaseError:
                self._engine.dispose()
                raise
        if self._replaced:
            self._engine.dispose()

    def _handle_overwrite(self) -> None:
        """The file itself has content that no checkpoint of ours has written.

        If both together are whole, it is ours, made smaller by VACUUM. Nothing of the log gets into a foreign file.
        Raises `sqlite3.Error` if it cannot be known: then nothing is touched.
        """
        file = self._file
        if file.has_our_id():
            with self._connection() as driver:
                if self._is_whole(driver) and file.remember_content():
                    return
        file.empty_log()
        self._engine.dispose()
        file.abandon()
        self._replaced = f"{file.path} was overwritten while it was open"
        self.reopen()

    def _is_whole(self, driver: sqlite3.Connection) -> bool:
        """Whether file and log together are this database, without what this process remembers of its pages."""
        driver.execute("PRAGMA shrink_memory")
        try:
            named: bool = driver.execute("PRAGMA user_version").fetchone() == (self._file.log_id,)
            if not named or driver.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
                return False
            stored, chained = driver.execute(_COUNTS).fetchone()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            return False
        return bool(stored == chained)
