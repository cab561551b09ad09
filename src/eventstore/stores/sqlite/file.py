"""The file of an SQLite database: made for its owner alone, and still the one that was opened.

SQLite keeps files open by what they are, and everything else finds them by name. So a database that is removed, moved
or replaced goes on taking appends that no one will ever read. What is at the path is compared, by device and inode,
with what was opened.

Nothing here opens an existing database file but through SQLite: closing another descriptor of it would drop SQLite's
locks on it, in the whole process (POSIX).
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
"""Held while a file is made, so that no other thread opens it before this one has closed it."""
_SIDECARS = ("-wal", "-shm")
_HEADER = ("user_version", "page_count")


class Identity(NamedTuple):
    """Which file it is."""

    device: int
    inode: int


class DatabaseFile:
    """What was at the path when it was opened."""

    def __init__(self, path: Path) -> None:
        self.path, self._at = path, str(path)
        self.identity: Identity | None = None
        self.connections = 0
        """Those that are open; when the last one is closed, SQLite removes the write-ahead log."""
        self._wal: Identity | None = None
        self._real_path, self._log = path, f"{path}-wal"
        self._found: tuple[int, int] | None = None
        self._written: tuple[int, int] | None = None
        self.log_id: int | None = None
        """The log's number, once it stands in the file itself; see `remember_content`."""
        self._pages = 0

    def make(self) -> None:
        """Make the file if there is none; if that cannot be done, SQLite will say why."""
        with _making, contextlib.suppress(OSError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def restrict_permissions(self) -> None:
        """Take from others what they may do with it. (SQLite gives the files beside it the mode that it has.)"""
        for name in (self.path, *self._sidecars()):
            with contextlib.suppress(OSError):  # not there, or another user's
                mode = name.stat().st_mode
                if stat.S_ISREG(mode) and mode & 0o077:
                    name.chmod(mode & 0o700)

    def add_connection(self) -> None:
        """Count a connection, and remember what is at the path if nothing is open. Raises `OSError`."""
        if self.identity is None:
            self._real_path = Path(os.path.realpath(self.path))  # SQLite puts its files beside what a link leads to
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
        """Whether the path still leads to the file that was opened, and its log to the one that was written."""
        return self.is_at_path() and (self._wal is None or _identity_of(self._log) == self._wal)

    def is_at_path(self) -> bool:
        if self.identity is None:
            return False
        try:
            found = os.stat(self._at)  # noqa: PTH116 - a third of what Path takes, several times an append
        except OSError:
            return False
        self._found = found.st_mtime_ns, found.st_size
        return (found.st_dev, found.st_ino) == self.identity

    def has_log(self) -> bool:
        """Whether any write-ahead log is beside it."""
        return Path(self._log).exists()

    def is_there_after_commit(self) -> bool:
        """As `is_there`, behind a commit: from then on the write-ahead log is known, too."""
        if self._wal is None:
            self._wal = _identity_of(self._log)
            return self._wal is not None and self.is_there()
        return self.is_there()

    def has_changed(self) -> bool:
        """Whether the file itself has changed since this was last called: by a checkpoint, or by being overwritten.

        As `is_at_path` has just seen it.
        """
        before, self._written = self._written, self._found
        return before is not None and before != self._written

    # content ---------------------------------------------------------------------------------------------------

    def remember_content(self) -> bool:
        """Remember what is in the file itself, without its log, as this log's; False if there is nothing yet."""
        self.is_at_path()
        self.has_changed()
        self.log_id, self._pages = self._header()
        return self.log_id is not None

    def is_ours(self) -> bool:
        """Whether the file itself is what this log has written into it: it has its number, and never gets smaller."""
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
        """Take all from the write-ahead log: SQLite writes it into the file when the last connection is closed."""
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self._log, 0)

    def _header(self) -> tuple[int | None, int]:
        """The log's number and the number of pages, as the file itself says, whatever its write-ahead log does.

        In the middle of a checkpoint, or behind one that was killed, the first page is ours already and names more
        pages than there are yet: SQLite refuses to read such a file, but for those who repair a schema. Raises
        `sqlite3.Error` if it cannot be known (no descriptor left, an I/O error): that says nothing about the content.
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
        """Remove the write-ahead log of a file that is at the path no more: to another file it would do harm."""
        if self._wal is not None and _identity_of(self._log) == self._wal:
            for name in self._sidecars():
                with contextlib.suppress(OSError):
                    name.unlink()
        self.identity = self._wal = None

    def check_foreign(self) -> None:
        """Raises `StoreUnavailable` if what is at the path now is anything but a turnlog's database, or nothing yet."""
        problem = self._describe_foreign()
        if problem:
            raise StoreUnavailable(
                f"{self.path} was replaced by {problem}, which is not written to; calls stay in the journal until the "
                "database is back, or nothing is there"
            )

    def _describe_foreign(self) -> str | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return "a broken link" if self.path.is_symlink() else None
        except OSError as error:
            return f"what cannot be looked at ({error.strerror})"
        if stat.S_ISDIR(found.st_mode):
            return "a folder"
        if not stat.S_ISREG(found.st_mode):
            return "what is no file"
        if not found.st_size:
            return None
        try:
            with closing(sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro", uri=True)) as driver:
                tables = {name for (name,) in driver.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.DatabaseError as error:
            return f"another file ({error})"
        return None if {"events", "origins", "alembic_version"} <= tables else "a database of something else"

    def _sidecars(self) -> list[Path]:
        return [self._real_path.with_name(self._real_path.name + end) for end in _SIDECARS]


def _identity(path: str) -> Identity:
    found = os.stat(path)  # noqa: PTH116 - see `DatabaseFile.is_at_path`
    return Identity(found.st_dev, found.st_ino)


def _identity_of(path: str) -> Identity | None:
    try:
        return _identity(path)
    except OSError:
        return None
