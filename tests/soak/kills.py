"""SIGKILL at random moments of every operation that changes a log, on every database."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from random import Random
from typing import NamedTuple

import psutil

from exporters.delivery.destination import Busy
from exporters.delivery.http import client, post
from soak.children import Killer
from soak.figures import Advance, Figures
from soak.migration import Migration
from soak.operations import Deliver, Forget, Import, Operation, Record, Recover, Retention, Rotation
from soak.places import Places

OPERATIONS: list[type[Operation]] = [Record, Recover, Retention, Import, Migration, Forget, Deliver, Rotation]
FINISH = 0.3
"""How often the second run follows at once; else the next child finds what the last one left, and is killed too."""
FRESH = 40
"""Number of kills after which a new database is used; else reading it takes most of the time."""


class _Held(NamedTuple):
    """What this process holds, which must not grow."""

    threads: int
    descriptors: int

    def more_than(self, before: _Held) -> bool:
        return self.threads > before.threads or self.descriptors > before.descriptors + 2

    @classmethod
    def now(cls) -> _Held:
        return cls(threading.active_count(), psutil.Process(os.getpid()).num_fds())


def kills(places: Places, count: int, seed: int, advance: Advance) -> list[Figures]:
    """``count`` kills in all, shared by the operations and databases."""
    with contextlib.suppress(Busy):  # the thread of outgoing HTTP stays for the life of the process
        post(client(1), "http://127.0.0.1:9", b"", {})
    each = max(1, -(-count // (len(OPERATIONS) * len(places.backends))))
    rows = []
    for kind in OPERATIONS:
        for backend in places.backends:
            rows.append(Figures(f"kill -9: {kind.name}, {backend}", "kills"))
            _one(kind, places, backend, each, Random(f"{seed} {kind.name} {backend}"), rows[-1], advance)
    return rows


def _one(
    kind: type[Operation], places: Places, backend: str, count: int, chance: Random, figures: Figures, advance: Advance
) -> None:
    held, operation = _Held.now(), kind(places, backend, chance, figures)
    killer = Killer(chance, operation.places.acknowledgements)
    finished, unfinished = 0, 0
    try:
        while figures.tried < count:
            faults = len(figures.faults)
            arguments = operation.prepare()
            killed, acknowledged = killer.kill(type(operation).work, *arguments)
            figures.tried += killed
            unfinished += killed
            operation.check(acknowledged)
            if not killed or chance.random() < FINISH or figures.tried == count:
                operation.finish()
                finished += 1
                if len(figures.faults) == faults:
                    figures.survived += unfinished
                unfinished = 0
                if figures.tried < count and finished % FRESH == 0:
                    operation.close()
                    operation = kind(places, backend, chance, figures)
            advance(killed)
    except Exception as error:  # the other operations are tried
        figures.fail(f"{type(error).__name__}: {error}")
    finally:
        operation.close()
    end = time.monotonic() + 10  # threads that serve a sender which was killed notice it a moment later
    while (now := _Held.now()).more_than(held) and time.monotonic() < end:
        time.sleep(0.01)
    if now.more_than(held):
        figures.leak(1, f"of this process: {held} before, {now} after")
    figures.notes.insert(0, f"{finished} times run to its end after it")
