"""Files of calls: written whole or not at all, and for their owner's eyes alone, whatever the umask."""

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
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, complete or not there at all; what was there stays until then. Raises `StoreError`.

    It is made with mode 0600, also where it takes the place of one that others could read. A device or a pipe cannot be
    replaced, so it is written to as it is.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as device:
                yield device
            return
        with replacing(path) as file:
            yield file
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Like `whole_file`, for regular files; on the disk when it is in its place. Raises `OSError`."""
    if path.is_dir():
        raise IsADirectoryError(21, os.strerror(21))
    fd, part = _part_of(path)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            Path(part).replace(path)  # while it is locked
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _part_of(path: Path) -> tuple[int, str]:
    """A file beside ``path`` to write first, open and locked; what killed processes left of such files is removed.

    It has a name of its own, so that two that write the same file do not write into each other's, and mode 0600.
    """
    prefix = f".{path.name[:100]}-"
    for left in path.parent.glob(f"{glob.escape(prefix)}*.part"):
        _remove_unlocked(left)
    while True:
        fd, part = tempfile.mkstemp(".part", prefix, path.parent)
        with contextlib.suppress(OSError):  # no locks in this file system, so nobody removes it either
            fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd, part
        os.close(fd)  # another process took it for one that was left, before it was locked


def _remove_unlocked(path: Path) -> None:
    with contextlib.suppress(OSError):  # another process writes it, or has just put it in its place
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(fd)


def append_to_file(path: Path, text: str) -> None:
    """Append to a file, which becomes private if it is ours. Raises `StoreError`."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE)
        with os.fdopen(fd, "a", encoding="utf-8", errors="backslashreplace") as file:
            found = os.fstat(fd)
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                os.fchmod(fd, PRIVATE)
            file.write(text)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
