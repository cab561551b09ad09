"""The background thread that moves calls from the backlog into the store.

Recorders of one process that record into one store share one writer and one journal.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from tenacity import RetryCallState, Retrying, retry_if_not_exception_type, wait_random_exponential

from eventstore.backlog import Backlog
from eventstore.errors import IdentityConflict
from eventstore.event import Event
from eventstore.journal import discard, left_behind
from eventstore.store import Store

log = logging.getLogger("turnlog")

Durability = Literal["memory", "process", "disk"]


class Listener(Protocol):
    """Somebody who follows a recorder's events as they reach the store."""

    def extend(self, events: list[Event]) -> None:
        """Note these; called under the backlog's lock, which hook calls wait for."""
        ...

    def settle(self) -> None:
        """Work off what was noted, if that is much; called by the writer's thread, under no lock."""
        ...


SEGMENT_BYTES = 1 << 20
LIMIT_BYTES = 256 << 20
LINGER_SECONDS = 0.05
"""How long the writer lets calls gather before it opens a transaction."""


class Writer:
    """Owns the thread. ``users`` recorders hold it; the last one's `release` stops it."""

    def __init__(self, store: Store, journal: Path | None, durability: Durability, limit_bytes: int) -> None:
        self.store = store
        self.users = 0
        self.rejected = 0
        """Calls the store refused for good: their identity was taken by other content."""
        self.backlog = Backlog(
            None if durability == "memory" else journal,
            segment_bytes=SEGMENT_BYTES,
            limit_bytes=limit_bytes,
            sync=durability == "disk",
            wipe=store.encrypts,
        )
        self.listeners: dict[tuple[str, str], Listener] = {}
        self._journal = journal
        self._closing = threading.Event()
        self._hurry = threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name="turnlog-writer", daemon=True)
        self._thread.start()

    # the recorders' side ---------------------------------------------------------------------------------------

    def listen(self, session_id: str, origin: str, listener: Listener) -> None:
        with self.backlog.lock:
            self.listeners[session_id, origin] = listener

    def flush(self, timeout: float) -> bool:
        """Wait until all that was recorded before is in the store; False if ``timeout`` seconds were not enough."""
        self._hurry.set()
        self.backlog.wake.set()
        return self.backlog.wait_until_acknowledged(timeout)

    def close(self, timeout: float) -> bool:
        """Stop. What could not be stored in ``timeout`` seconds stays in the journal; True if nothing had to."""
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        self._hurry.set()
        self.backlog.wake.set()
        self._thread.join(timeout + 1.0)
        left = self.backlog.size_bytes()
        if left:
            where = f"the journal in {self.backlog.folder} keeps them" if self.backlog.folder else "they are lost"
            self.backlog.complain(f"closed with {left} bytes of calls not in the store; {where}")
        if not self._thread.is_alive():
            self.backlog.close()
        return not left

    # the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._journal is not None:
            self._retry(partial(recover, self.store, self._journal))
        backlog = self.backlog
        while True:
            backlog.prepare_spare()
            batch = backlog.take()
            if not batch:
                if self._closing.is_set():
                    return
                backlog.idle = True
                batch = backlog.take()  # what came before `idle` was seen
                if not batch:
                    self._hurry.clear()
                    backlog.wake.wait()
                    backlog.wake.clear()
                    backlog.idle = False
                    self._hurry.wait(LINGER_SECONDS)
                    continue
                backlog.idle = False
            self._hurry.clear()
            if not self._retry(partial(self._move, batch)):
                return

    def _move(self, events: list[Event]) -> None:
        for error in append_what_fits(self.store, events):
            self.rejected += 1
            self.backlog.complain(str(error))
        with self.backlog.lock:
            self.backlog.acknowledge()
            listeners = list(self.listeners.values())
            if listeners:
                self._tell(events)
        for listener in listeners:
            listener.settle()

    def _tell(self, events: list[Event]) -> None:
        own: dict[tuple[str, str], list[Event]] = {}
        for event in events:
            key = event.session_id, event.origin
            if key in self.listeners:
                own.setdefault(key, []).append(event)
        for key, theirs in own.items():
            self.listeners[key].extend(theirs)

    def _retry(self, work: Callable[[], object]) -> bool:
        """Do ``work`` until it succeeds; False if it had not when the time to close ran out."""

        def give_up(_state: RetryCallState) -> bool:
            return self._closing.is_set() and time.monotonic() >= self._deadline

        def note(state: RetryCallState) -> None:
            if state.outcome is not None and state.outcome.failed:
                self.backlog.complain(f"cannot write to the store, will try again: {state.outcome.exception()}")

        attempts = Retrying(
            wait=wait_random_exponential(multiplier=0.05, max=5.0),
            retry=retry_if_not_exception_type((KeyboardInterrupt, SystemExit)),
            stop=give_up,
            sleep=self._sleep,
            after=note,
            reraise=True,
        )
        try:
            attempts(work)
        except Exception as error:  # noqa: BLE001 - whatever the database does, the host goes on; the journal keeps
            self.backlog.complain(f"gave up writing to the store: {error}")
            return False
        return True

    def _sleep(self, seconds: float) -> None:
        if self._closing.is_set():
            time.sleep(min(seconds, 0.05))
        else:
            self._closing.wait(seconds)


def recover(store: Store, journal: Path) -> int:
    """Move what dead processes left in the ``journal`` folder into the store; returns how many calls that were.

    Raises `StoreError` if the store refuses; the files then stay as they are. Safe to run at any time and twice.
    """
    moved = 0
    for path, events in left_behind(journal):
        for start in range(0, len(events), 1000):
            for error in append_what_fits(store, events[start : start + 1000]):
                log.error("%s", error)
        discard(path)
        moved += len(events)
    return moved


def append_what_fits(store: Store, events: list[Event]) -> list[IdentityConflict]:
    """Append; an event whose identity is taken by other content is left out and its error returned."""
    try:
        store.append(events)
    except IdentityConflict as error:
        if len(events) == 1:
            return [error]
        half = len(events) // 2
        return append_what_fits(store, events[:half]) + append_what_fits(store, events[half:])
    return []


# one writer for all recorders of a store --------------------------------------------------------------------------

_lock = threading.Lock()
_writers: weakref.WeakKeyDictionary[Store, dict[tuple[str, str], Writer]] = weakref.WeakKeyDictionary()


def hold(store: Store, journal: Path | None, durability: Durability, limit_bytes: int) -> Writer:
    """The writer for this store, journal and durability; each `hold` needs a `release`."""
    with _lock:
        writers = _writers.setdefault(store, {})
        key = durability, str(journal)
        if key not in writers:
            writers[key] = Writer(store, journal, durability, limit_bytes)
        writers[key].users += 1
        return writers[key]


def release(writer: Writer, session_id: str, origin: str, timeout: float) -> bool:
    """Give a writer back: the last user's release closes it, any other's flushes it. True if all is in the store."""
    with writer.backlog.lock:
        writer.listeners.pop((session_id, origin), None)
    with _lock:
        writer.users -= 1
        last = writer.users == 0
        if last:
            writers = _writers.get(writer.store, {})
            for key in [key for key, value in writers.items() if value is writer]:
                del writers[key]
    return writer.close(timeout) if last else writer.flush(timeout)


@atexit.register
def _close_all() -> None:
    with _lock:
        everyone = [writer for writers in _writers.values() for writer in writers.values()]
        _writers.clear()
    for writer in everyone:
        writer.close(timeout=5.0)


def _forget_in_child() -> None:
    """After a fork the parent's journal is the parent's, and so are its threads and locks."""
    global _lock  # noqa: PLW0603 - the old one may be held by a thread that does not exist here
    _lock = threading.Lock()
    for writers in list(_writers.values()):
        for writer in writers.values():
            writer.backlog.abandon()
    _writers.clear()


os.register_at_fork(after_in_child=_forget_in_child)
