"""The file of an SQLite database: created with private permissions, and checked to be the one that was opened.

SQLite keeps its file open, while everything else finds it by path. A database that is removed, moved or replaced would
therefore go on taking appends that are never read. The file at the path is compared, by device and inode, with the one
that was opened.

Existing database files are opened only through SQLite: closing any other descriptor of the file would drop SQLite's
locks on it in the whole process (POSIX).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from eventstore.errors import StoreUnavailable

_making = threading.Lock()
"""Held while a file is created, so that no other thread opens it before this one has closed it."""
_SIDECARS = ("-wal", "-shm")


class Identity(NamedTuple):
    """Identifies a file."""

    device: int
    inode: int


class DatabaseFile:
    """The database file at a path, as it was when opened."""

    def __init__(self, path: Path) -> None:
        self.path, self._at = path, str(path)
        self.identity: Identity | None = None
        self.connections = 0
        """Number of open connections; when the last one closes, SQLite removes the write-ahead log."""
        self._wal: Identity | None = None
        self._real_path, self._log = path, f"{path}-wal"
        self._found: tuple[int, int] | None = None
        self._written: tuple[int, int] | None = None
        self.log_id: int | None = None
        """The log's id, once it is in the file itself; see `remember_content`."""
        self._pages = 0

    def make(self) -> None:
        """Create the file if it is missing; if that fails, SQLite will report why."""
        with _making, contextlib.suppress(OSError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def restrict_permissions(self) -> None:
        """Remove all permissions of other users. (SQLite gives its sidecar files the same mode.)"""
        for name in (self.path, *self._sidecars()):
            with contextlib.suppress(OSError):  # missing, or owned by another user
                mode = name.stat().st_mode
                if stat.S_ISREG(mode) and mode & 0o077:
                    name.chmod(mode & 0o700)

    def add_connection(self) -> None:
        """Count a connection; the first one sets the file's identity. Raises `OSError`."""
        if self.identity is None:
            self._real_path = Path(os.path.realpath(self.path))  # SQLite puts sidecar files beside a link's target
            self._log = f"{self._real_path}-wal"
            self.identity = _identity(self._at)
            self.log_id = None
            self._written = None
        if not self.connections:
            self._wal = None
        self.connections += 1

    def remove_connection(self) -> None:
        self.connections -= 1
        if not self.connections:
            self._wal = None

    def is_there(self) -> bool:
        """Whether the file at the path, and its write-ahead log, are still those that were opened."""
        return self.is_at_path() and (self._wal is None or _identity_of(self._log) == self._wal)

    def is_at_path(self) -> bool:
        if self.identity is None:
            return False
        try:
            found = os.stat(self._at)  # noqa: PTH116 - three times as fast as Path; called several times per append
        except OSError:
            return False
        self._found = found.st_mtime_ns, found.st_size
        return (found.st_dev, found.st_ino) == self.identity

    def has_log(self) -> bool:
        """Whether a write-ahead log exists."""
        return Path(self._log).exists()

    def is_there_after_commit(self) -> bool:
        """`is_there` after a commit, from which on the write-ahead log's identity is known too."""
        if self._wal is None:
            self._wal = _identity_of(self._log)
            return self._wal is not None and self.is_there()
        return self.is_there()

    def has_changed(self) -> bool:
        """Whether the file itself has changed since the last call: by a checkpoint, or by being overwritten.

        Uses what the last `is_at_path` found.
        """
        before, self._written = self._written, self._found
        return before is not None and before != self._written

    # content ---------------------------------------------------------------------------------------------------

    def remember_content(self) -> bool:
        """Record the file's own content, without its write-ahead log, as ours; False if it is still empty."""
        self.is_at_path()
        self.has_changed()
        self.log_id, self._pages = self._header()
        return self.log_id is not None

    def is_ours(self) -> bool:
        """Whether the file itself is ours: it has the log's id, and has not shrunk."""
        if self.log_id is None:
            self.remember_content()
            return True
        found, pages = self._header()
        if found != self.log_id or pages < self._pages:
            return False
        self._pages = pages
        return True

    def has_our_id(self) -> bool:
        return self._header()[0] == self.log_id

    def empty_log(self) -> None:
        """Truncate the write-ahead log, which SQLite would write into the file when the last connection closes."""
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self._log, 0)

    def _header(self) -> tuple[int | None, int]:
        """The log's id and the number of pages, read from the file itself, ignoring its write-ahead log.

        During a checkpoint, or after one was killed, the first page is ours already and declares more pages than exist:
        SQLite reads such a file only with ``writable_schema``. Raises `sqlite3.Error` if it cannot be read (no
        descriptor left, an I/O error), which says nothing about the content.
        """
        try:
            with closing(sqlite3.connect(f"file:{quote(self._at)}?mode=ro&immutable=1", uri=True)) as driver:
                driver.execute("PRAGMA writable_schema = ON")
                number, pages = (
                    driver.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "page_count")
                )
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_NOTADB:
                raise
            return None, 0
        return number or None, pages

    def abandon(self) -> None:
        """Abandon a file that is no longer at the path; remove its write-ahead log, which would corrupt a new one."""
        if self._wal is not None and _identity_of(self._log) == self._wal:
            for name in self._sidecars():
                with contextlib.suppress(OSError):
                    name.unlink()
        self.identity = self._wal = None

    def check_foreign(self) -> None:
        """Raises `StoreUnavailable` unless the path has a turnlog database, or nothing yet.

        Raises `sqlite3.Error` if that cannot be known.
        """
        problem = self._describe_foreign()
        if problem:
            raise StoreUnavailable(
                f"{self.path} was replaced by {problem}, which is not written to; calls stay in the journal until the "
                "database is restored or the path is free"
            )

    def _describe_foreign(self) -> str | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return "a broken link" if self.path.is_symlink() else None
        except OSError as error:
            return f"a path that cannot be examined ({error.strerror})"
        if stat.S_ISDIR(found.st_mode):
            return "a folder"
        if not stat.S_ISREG(found.st_mode):
            return "a special file"
        if not found.st_size:
            return None
        try:
            with closing(sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro", uri=True)) as driver:
                tables = {name for (name,) in driver.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.DatabaseError as error:
            if not is_about_content(error):
                raise
            return f"a different file ({error})"
        return None if {"events", "origins", "alembic_version"} <= tables else "a different database"

    def _sidecars(self) -> list[Path]:
        return [self._real_path.with_name(self._real_path.name + end) for end in _SIDECARS]


def is_about_content(error: sqlite3.Error) -> bool:
    """Whether the error says what the file contains; any other (no descriptor, I/O) says nothing about that."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _identity(path: str) -> Identity:
    found = os.stat(path)  # noqa: PTH116 - see `DatabaseFile.is_at_path`
    return Identity(found.st_dev, found.st_ino)


def _identity_of(path: str) -> Identity | None:
    try:
        return _identity(path)
    except OSError:
        return None
