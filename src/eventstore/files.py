"""Atomic writing of private files: complete or absent, and readable by the owner only, whatever the umask."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for atomic writing; an existing one is replaced on success. Raises `OSError`.

    Its content is synced to disk before the replacement, and its mode is 0600.
    """
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


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed writers left in the folder and in those below it."""
    for left in folder.rglob(".*.part"):
        _remove_unlocked(left)


def _remove_unlocked(path: Path) -> None:
    with contextlib.suppress(OSError):  # a process is writing it, or has just moved it into place
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(fd)
