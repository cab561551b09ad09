"""Processes to kill: forked from one that has all imported and no threads, so that each is there at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["soak.warm"])
WAIT_SECONDS = 120


class Acknowledgements:
    """Lines that a child writes as soon as something is done; they survive it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def write(self, what: object) -> None:
        os.write(self._fd, f"{what}\n".encode())


def acknowledged(path: Path) -> list[str]:
    """What was acknowledged; a line that was cut off was not."""
    data = path.read_bytes() if path.exists() else b""
    return [line.decode() for line in data.splitlines(keepends=True) if line.endswith(b"\n") for line in [line[:-1]]]


def _run(work: Callable[..., None], arguments: tuple[object, ...], path: Path, ready: Path) -> None:
    acks = Acknowledgements(path)
    os.close(os.open(ready, os.O_CREAT | os.O_WRONLY))
    work(*arguments, acks)


class Killer:
    """Runs work in a child and kills it at a random moment of its life, which it learns from those before."""

    def __init__(self, chance: Random, folder: Path) -> None:
        self.chance, self.folder = chance, folder
        self.life = 0.1
        """Seconds in which most children are still at work."""
        self._number = 0

    def kill(self, work: Callable[..., None], *arguments: object) -> tuple[bool, list[str]]:
        """Whether it was killed before it had ended, and what it had acknowledged.

        ``work`` is a function of a module; it gets the arguments and `Acknowledgements`. Raises `RuntimeError` if it
        ended with an error.
        """
        self._number += 1
        path, ready = self.folder / f"{self._number}.acks", self.folder / f"{self._number}.ready"
        process = FORKING.Process(target=_run, args=(work, arguments, path, ready))
        process.start()
        end = time.monotonic() + WAIT_SECONDS
        while not ready.exists() and process.is_alive() and time.monotonic() < end:
            time.sleep(0.001)
        process.join(self.chance.uniform(0, self.life))
        process.kill()
        process.join(WAIT_SECONDS)
        code = process.exitcode
        process.close()
        found = acknowledged(path)
        path.unlink(missing_ok=True)
        ready.unlink(missing_ok=True)
        if code not in (0, -signal.SIGKILL):
            raise RuntimeError(f"{work.__name__} ended with {code}")
        killed = code != 0
        self.life = min(0.4, self.life * (1.05 if killed else 0.7))
        return killed, found
