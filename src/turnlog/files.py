"""Files that a command writes: atomically, and readable by the owner only, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from eventstore.errors import StoreError
from eventstore.files import atomic_write

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
