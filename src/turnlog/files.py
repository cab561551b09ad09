"""Writing files with call content: atomically, and readable by the owner only, whatever the umask."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from eventstore.errors import StoreError

PRIVATE = 0o600


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for atomic writing; an existing one is replaced on success. Raises `StoreError`.

    The mode is 0600 even if it replaces a file that others could read. A device or a pipe cannot be replaced, so it is
    written to directly.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as device:
                yield device
            return
        with atomic_write(path) as file:
            yield file
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Like `whole_file`, for regular files; synced to disk before the replacement. Raises `OSError`."""
    if path.is_dir():
        raise IsADirectoryError(21, os.strerror(21))
    fd, part = _open_part(path)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            Path(part).replace(path)  # while locked
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _open_part(path: Path) -> tuple[int, str]:
    """Create a temporary file next to ``path``, open and locked; remove those that killed processes left behind.

    Its name is unique, so that concurrent writers of the same file do not collide, and its mode is 0600.
    """
    prefix = f".{path.name[:100]}-"
    for left in path.parent.glob(f"{glob.escape(prefix)}*.part"):
        _remove_unlocked(left)
    while True:
        fd, part = tempfile.mkstemp(".part", prefix, path.parent)
        with contextlib.suppress(OSError):  # a file system without locks: then no process removes it either
            fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd, part
        os.close(fd)  # another process removed it as a leftover before it was locked


def _remove_unlocked(path: Path) -> None:
    with contextlib.suppress(OSError):  # a process is writing it, or has just moved it into place
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(fd)


def append_to_file(path: Path, text: str) -> None:
    """Append to a file; set its mode to 0600 if this user owns it. Raises `StoreError`."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE)
        with os.fdopen(fd, "a", encoding="utf-8", errors="backslashreplace") as file:
            found = os.fstat(fd)
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                os.fchmod(fd, PRIVATE)
            file.write(text)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
