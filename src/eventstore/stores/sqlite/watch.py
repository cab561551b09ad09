"""Detects that an SQLite database was replaced, overwritten or restored while a store has it open.

A file that is removed, moved or replaced leaves a different one at its path. A file that is overwritten in place
(``cp``, a truncation, a restore) stays the same, with different content; a write-ahead log applied to it would mix the
two, so the log is emptied first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from eventstore.errors import StoreError, StoreReplaced
from eventstore.stores.chain import ChainHead
from eventstore.stores.sqlite.file import DatabaseFile, is_about_content
from eventstore.stores.sqlite.rows import lacks_events, missing_events, stored_head

BUSY_SECONDS = 5.0
"""How long a transaction waits for another process's lock."""
_REMEMBERED = 4096
"""Number of origins whose chain heads are remembered."""
_COUNTS = "SELECT (SELECT COUNT(*) FROM events), (SELECT COALESCE(SUM(events), 0) FROM origins)"
ChainHeads = dict[tuple[str, str], ChainHead]


class Watch:
    """Checks the file before and after each append, under the store's lock."""

    def __init__(
        self,
        file: DatabaseFile,
        engine: Engine,
        connection: Callable[[], AbstractContextManager[sqlite3.Connection]],
        reopen: Callable[[], None],
    ) -> None:
        self._file, self._engine, self._connection, self._open = file, engine, connection, reopen
        self._heads: ChainHeads = {}
        """The heads of the chains that this store has appended to."""
        self._replaced = ""
        """Why the database is not the one before, until an append reports it; empty otherwise."""
        self._missing: dict[tuple[str, str], int] = {}

    def check(self) -> None:
        """Call before any use of the database. Raises `StoreUnavailable` if it is not a turnlog database."""
        if not self._file.is_there():
            self.reopen()
        elif self._file.has_changed():  # by a checkpoint, or from outside
            self._check_content()

    def committed(self) -> bool:
        """Whether the last commit is in the file at the path, as far as can be determined."""
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

    def check_heads(self, driver: sqlite3.Connection) -> ChainHeads:
        """Check that this store's last append is still there; after a restore, even in place, it is not.

        Returns the heads that it has read.
        """
        key = next(reversed(self._heads), None)
        if key is None or self._replaced:
            return {}
        found = stored_head(driver, key)
        if lacks_events(driver, key, self._heads[key], found):
            self._replaced = f"{self._file.path} lacks events that were stored in it: an older state was restored"
            self._find_missing(driver)
        return {key: found} if found is not None else {}

    def raise_if_replaced(self) -> None:
        """Raises `StoreReplaced`, once, if the database was replaced."""
        if self._replaced:
            message, self._replaced = self._replaced, ""
            raise StoreReplaced(message, self._missing)

    def reopen(self) -> None:
        """Abandon the open file and open the one at the path, creating it if it is missing.

        Raises `StoreUnavailable` if it is not a turnlog database.
        """
        file = self._file
        if file.identity is not None:
            moved = not file.is_at_path()
            if moved or not file.has_log():  # checkpoint its log into the file itself, wherever that is
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
        """Find the events that this store appended and the current database lacks."""
        self._missing, self._heads = missing_events(driver, self._heads), {}
        if self._missing:
            self._replaced += f"; {sum(self._missing.values())} calls that were stored are missing from it"

    # content ---------------------------------------------------------------------------------------------------

    def _check_content(self) -> None:
        if not self._file.is_ours():
            self._handle_overwrite()
            return
        with closing(sqlite3.connect(self._file.path, timeout=BUSY_SECONDS)) as driver:
            try:
                self.check_heads(driver)  # on a new connection: open ones cache what they read
            except sqlite3.DatabaseError:
                self._engine.dispose()
                raise
        if self._replaced:
            self._engine.dispose()

    def _handle_overwrite(self) -> None:
        """Handle file content that was not written by a checkpoint of ours.

        If file and log together are intact, they are ours, shrunk by VACUUM. Otherwise the file is abandoned, and
        nothing of the log gets into it. Raises `sqlite3.Error`, changing nothing, if this cannot be determined.
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
        """Whether file and log together are this database, intact, ignoring cached pages."""
        driver.execute("PRAGMA shrink_memory")
        try:
            named: bool = driver.execute("PRAGMA user_version").fetchone() == (self._file.log_id,)
            if not named or driver.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
                return False
            stored, chained = driver.execute(_COUNTS).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_about_content(error):
                raise
            return False
        return bool(stored == chained)
