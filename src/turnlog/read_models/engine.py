"""The identity of the code that replays: rows made by any other code are stale."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import eventstore
import projections

READ = ("codec.py", "errors.py", "event.py", "hooks")
"""What projections import of the event store, directly or not."""


@cache
def engine() -> str:
    """The version of turnlog with a digest of the sources of `projections`, and of what it imports."""
    digest = sha256()
    for name, path in sources():
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{version('turnlog')} {digest.hexdigest()[:32]}"


def sources() -> Iterator[tuple[str, Path]]:
    """The files of the digest, by name."""
    log, pure = (Path(str(package.__file__)).parent for package in (eventstore, projections))
    paths = [log / name for name in READ] + [pure]
    files = (file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path]))
    return ((file.relative_to(log.parent).as_posix(), file) for file in files)
