"""The background thread that moves calls from the backlog into the store.

Recorders of one process and store share one writer and one journal.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from tenacity import RetryCallState, Retrying, retry_if_not_exception_type, wait_random_exponential

from eventstore.errors import StoreReplaced
from eventstore.event import Event
from eventstore.recording.backlog import Backlog, Source
from eventstore.recording.journal import restrict_permissions
from eventstore.recording.recovery import Recovered, steps
from eventstore.recording.refused_events import RefusedEvents, append_skipping_refused, set_aside
from eventstore.stores.base import Store

log = logging.getLogger("turnlog")

Durability = Literal["memory", "process", "disk"]
SEGMENT_BYTES = 1 << 20
LINGER_SECONDS = 0.05
"""How long the writer collects calls before it begins a transaction."""
RECOVER_SECONDS = 30.0
"""Interval between recoveries of what dead processes left."""
CLOSING_RECOVERY_SECONDS = 1.0
"""Time limit for the first recovery when the writer is closed."""
CLOCK_TICK = 0.01
"""Resolution of file times in seconds: a file's mtime may be this much before it was written."""
ORPHAN_SECONDS = 10.0
"""Time limit for storing the last calls of recorders that were never closed."""


class Writer:
    """Owns the thread. ``users`` counts the recorders that share it; the last `release_writer` stops it."""

    def __init__(self, store: Store, journal: Path | None, durability: Durability, limit_bytes: int) -> None:
        self.store = store
        self.users = 0
        self.rejected = 0
        """Calls the store refused for good."""
        self.refused: Counter[Source] = Counter()
        """The same, per recorder."""
        self.set_aside = 0
        """Refused calls that are kept in the journal folder, including those of dead processes."""
        self.replaced = 0
        """Number of times that the database was found to be replaced."""
        self.backlog = Backlog(
            None if durability == "memory" else journal,
            segment_bytes=SEGMENT_BYTES,
            limit_bytes=limit_bytes,
            sync=durability == "disk",
            wipe=store.encrypts,
        )
        self.progress_callbacks: dict[Source, Callable[[], None]] = {}
        """Called after each batch, for recorders that are read live: folds the collected calls."""
        self.orphans: deque[Source] = deque()
        """Garbage-collected recorders, for the thread to release."""
        self._journal, self._limit_bytes = journal, limit_bytes
        if journal is not None and journal == store.journal:
            restrict_permissions(journal)
        self._recovery: Iterator[None] | None = None
        self._recovered = Recovered()
        self._recover_at = 0.0
        self._first_recovery, self._started = True, time.time() - CLOCK_TICK
        self._closing = threading.Event()
        self._flush_requested = threading.Event()
        self._deadline = float("inf")
        self._orphaned = False
        self._thread = threading.Thread(target=self._run, name="turnlog-writer", daemon=True)
        self._thread.start()

    # called by recorders ---------------------------------------------------------------------------------------

    def flush(self, timeout: float) -> bool:
        """Wait until all calls recorded so far are in the store; False if ``timeout`` (seconds) expired."""
        self._flush_requested.set()
        self.backlog.wake.set()
        return self.backlog.wait_until_acknowledged(timeout)

    def close(self, timeout: float) -> bool:
        """Stop. Calls not stored within ``timeout`` seconds stay in the journal; True if there are none."""
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        self._flush_requested.set()
        self.backlog.wake.set()
        self._thread.join(timeout + 1.0)
        left = self._report_unstored()
        if not self._thread.is_alive():
            self.backlog.close()
        return not left

    def _report_unstored(self) -> int:
        left = self.backlog.size_bytes()
        if left:
            where = f"the journal in {self.backlog.folder} keeps them" if self.backlog.folder else "they are lost"
            self.backlog.report_error(f"closed with {left} bytes of calls not in the store; {where}")
        return left

    # the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._work()
        if self._orphaned:
            self._report_unstored()
            self.backlog.close()

    def _work(self) -> None:
        backlog = self.backlog
        while True:
            self._release_orphans()
            backlog.prepare_spare()
            closing = self._closing.is_set()  # before the look: calls are added until then
            batch = backlog.take()
            if not batch:
                if closing:
                    self._finish_recovery()
                    return
                if self._recover():
                    continue
                backlog.idle = True
                batch = backlog.take()  # what was added before `idle` was visible
                if not batch and not self.orphans:
                    self._flush_requested.clear()
                    backlog.wake.wait(self._seconds_to_next_recovery())
                    backlog.idle = False
                    if not self._flush_requested.is_set():
                        self._flush_requested.wait(LINGER_SECONDS)
                    continue
                backlog.idle = False
            self._flush_requested.clear()
            if batch and not self._retry(partial(self._move, batch)):
                return

    def _move(self, events: list[Event]) -> None:
        refused = append_skipping_refused(self.store, events)
        self._set_aside(refused)
        self.backlog.acknowledge()
        self._notify_progress()

    def _set_aside(self, refused: list[RefusedEvents]) -> None:
        """Set refused calls aside; with durability ``memory`` only count them as lost."""
        in_memory = self.backlog.folder is None or self._journal is None
        kept = 0
        if not in_memory:
            assert self._journal is not None
            events = [event for part in refused for event in part.events]
            kept = set_aside(self._journal, events, self._limit_bytes) if events else 0
            if kept < len(events):
                self.backlog.dropped += len(events) - kept
                self.backlog.report_error(f"set-aside files in {self._journal} are at their size limit; calls dropped")
        for part in refused:
            self.rejected += len(part.events)
            sources = Counter((event.session_id, event.origin) for event in part.events)
            self.refused.update(sources)
            self.backlog.lost.update(sources)
            self.backlog.report_error(str(part.error))
        self.set_aside += kept

    def _notify_progress(self) -> None:
        for callback in list(self.progress_callbacks.values()):
            callback()

    # recovery --------------------------------------------------------------------------------------------------

    def _recover(self) -> bool:
        """Take one step of the folder's recovery, run while there are no own calls to write; False if not due."""
        if self._journal is None or (self._recovery is None and time.monotonic() < self._recover_at):
            return False
        if self._recovery is None:
            self._recovery = steps(
                self.store,
                self._journal,
                self._recovered,
                unchanged_since=self._started if self._first_recovery else 0.0,
            )
        try:
            next(self._recovery)
        except StopIteration:
            self._schedule_next_recovery()
            self._first_recovery = False
        except Exception as error:  # noqa: BLE001 - any error of the database; the files stay, retry later
            self._schedule_next_recovery()
            self._report_failure(error)
        for part in self._recovered.refused:
            self.set_aside += len(part.events)
            self.backlog.report_error(str(part.error))
        self._recovered.refused.clear()
        return self._recovery is not None

    def _schedule_next_recovery(self) -> None:
        self._recovery = None
        self._recover_at = time.monotonic() + RECOVER_SECONDS

    def _seconds_to_next_recovery(self) -> float | None:
        return None if self._journal is None else max(0.0, self._recover_at - time.monotonic())

    def _finish_recovery(self) -> None:
        """Finish the first recovery, so that short-lived processes recover too."""
        end = min(self._deadline, time.monotonic() + CLOSING_RECOVERY_SECONDS)
        while self._first_recovery and self._recover() and time.monotonic() < end:
            pass
        self._recovery = None  # closes the current file

    # recorders that were never closed --------------------------------------------------------------------------

    def _release_orphans(self) -> None:
        while self.orphans:
            if _remove_user(self, self.orphans.popleft()):
                self._orphaned = True
                self._deadline = time.monotonic() + ORPHAN_SECONDS
                self._closing.set()

    # retries ---------------------------------------------------------------------------------------------------

    def _retry(self, work: Callable[[], object]) -> bool:
        """Retry ``work`` until it succeeds; False if it did not before the deadline for closing."""

        def give_up(_state: RetryCallState) -> bool:
            self._release_orphans()
            return self._closing.is_set() and time.monotonic() >= self._deadline

        def report_attempt(state: RetryCallState) -> None:
            if state.outcome is not None and (error := state.outcome.exception()) is not None:
                self._report_failure(error)
                self._notify_progress()

        attempts = Retrying(
            wait=wait_random_exponential(multiplier=0.05, max=5.0),
            retry=retry_if_not_exception_type((KeyboardInterrupt, SystemExit)),
            stop=give_up,
            sleep=self._sleep,
            after=report_attempt,
            reraise=True,
        )
        try:
            attempts(work)
        except Exception as error:  # noqa: BLE001 - any error of the database; the journal keeps the calls
            self.backlog.report_error(f"gave up writing to the store: {error}")
            return False
        return True

    def _report_failure(self, error: BaseException) -> None:
        if isinstance(error, StoreReplaced):
            self.replaced += 1
            self.backlog.lost.update(error.missing)
            self.backlog.report_error(str(error))
        else:
            self.backlog.report_error(f"cannot write to the store, will retry: {error}")

    def _sleep(self, seconds: float) -> None:
        if self._closing.is_set():
            time.sleep(min(seconds, 0.05))
        else:
            self._closing.wait(seconds)


# one writer per store, journal and durability ---------------------------------------------------------------------

_lock = threading.RLock()
_writers: weakref.WeakKeyDictionary[Store, dict[tuple[str, str], Writer]] = weakref.WeakKeyDictionary()


def acquire_writer(store: Store, journal: Path | None, durability: Durability, limit_bytes: int) -> Writer:
    """The writer for this store, journal and durability; each `acquire_writer` needs a `release_writer`."""
    with _lock:
        writers = _writers.setdefault(store, {})
        key = durability, str(journal)
        if key not in writers:
            writers[key] = Writer(store, journal, durability, limit_bytes)
        writers[key].users += 1
        return writers[key]


def release_writer(writer: Writer, source: Source, timeout: float) -> bool:
    """Release a writer: the last release closes it, any other flushes it. True if all calls are in the store."""
    return writer.close(timeout) if _remove_user(writer, source) else writer.flush(timeout)


def release_from_finalizer(writer: Writer, source: Source) -> None:
    """Release a writer from a finalizer, which must not block: the writer's thread does the rest."""
    writer.orphans.append(source)
    if writer.backlog.idle:
        writer.backlog.idle = False
        writer.backlog.wake.set()


def _remove_user(writer: Writer, source: Source) -> bool:
    """Unregister a recorder; True if it was the last one."""
    writer.progress_callbacks.pop(source, None)
    with _lock:
        writer.users -= 1
        if writer.users:
            return False
        writers = _writers.get(writer.store, {})
        for key in [key for key, value in writers.items() if value is writer]:
            del writers[key]
        return True


@atexit.register
def _close_all() -> None:
    with _lock:
        open_writers = [writer for writers in _writers.values() for writer in writers.values()]
        _writers.clear()
    for writer in open_writers:
        writer.close(timeout=5.0)


def _detach_after_fork() -> None:
    """In a forked child: drop the parent's writers, journals and locks."""
    global _lock  # noqa: PLW0603 - the old one may be held by a thread that does not exist here
    _lock = threading.RLock()
    for writers in list(_writers.values()):
        for writer in writers.values():
            writer.backlog.detach_after_fork()
    _writers.clear()


os.register_at_fork(after_in_child=_detach_after_fork)
