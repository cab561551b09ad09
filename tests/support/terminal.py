"""A command on a terminal, as a person runs it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

COLUMNS = 80


@contextmanager
def terminal(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Iterator[bytes]]]:
    """The process of ``turnlog`` in ``folder``, and the pieces that it prints; it is killed at the end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}

    def pieces() -> Iterator[bytes]:
        try:
            while piece := os.read(ours, 65536):
                yield piece
        except OSError:  # the other end is closed
            return

    with subprocess.Popen(
        [sys.executable, "-m", "turnlog", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=clean | {"TERM": "xterm-256color"},
    ) as process:  # fmt: skip
        os.close(theirs)
        with closing(pieces()) as printed:
            yield process, printed
        process.kill()
    os.close(ours)
