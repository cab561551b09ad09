"""The backlog: recorded calls that are not in the store yet, in journal segments or, at worst, in memory."""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue

import msgspec

from eventstore.event import Event
from eventstore.hooks.arguments import Args, encode_args
from eventstore.hooks.vocabulary import HOOKS
from eventstore.recording import frames
from eventstore.recording.journal import OVERHEAD, Segment

log = logging.getLogger("turnlog")

BATCH_BYTES = 1 << 18
BATCH_EVENTS = 2_000
"""Maximum batch size, from a segment and from memory."""
EVENT_BYTES = 512
"""Assumed size of an event in memory, for the size limit."""
Source = tuple[str, str]
"""A recorder's session and origin."""
RESERVE_BYTES = 1 << 16
RETRY_SECONDS = 1.0
"""Delay after a failure before creating a segment is tried again."""


class Pending(msgspec.Struct, gc=False):
    """A call that is only in memory, not yet an event. ``args`` is None, encoded, or still to be encoded."""

    source: Source
    hook: str
    seq: int
    perf_ns: int
    wall_ns: int
    args: Args | bytes | None = None

    def event(self) -> Event:
        args = encode_args(self.args) if isinstance(self.args, dict) else self.args or b"{}"
        return Event(
            *self.source, self.seq, self.hook, HOOKS[self.hook].version, self.perf_ns, self.wall_ns, args.decode()
        )


def as_event(call: Pending | Event | bytes) -> Event:
    """The call, or frame, as an event."""
    if isinstance(call, bytes):
        return frames.decode(frames.body_of(call))
    return call if isinstance(call, Event) else call.event()


def _source(call: Pending | Event) -> Source:
    return (call.session_id, call.origin) if isinstance(call, Event) else call.source


class Wake:
    """An event flag that the writer waits for. `set` is reentrant: a finalizer may call it in the middle of `wait`."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        self._calls.put(None)

    def wait(self, seconds: float | None = None) -> None:
        with contextlib.suppress(Empty):
            self._calls.get(timeout=seconds)
        while not self._calls.empty():
            self._calls.get()


def _no_segment(_frame: bytes) -> int:
    raise ValueError("there is no segment yet")


class Backlog:
    """Hook calls add to it without a lock, by `write` or ``memory.append``; everything else requires `lock`.

    The lock is reentrant, as a signal handler or finalizer may call a hook during a hook call.
    """

    def __init__(
        self, folder: Path | None, *, segment_bytes: int, limit_bytes: int, sync: bool = False, wipe: bool = False
    ) -> None:
        """``folder`` None keeps everything in memory. At ``limit_bytes`` the oldest calls are dropped and counted.

        ``wipe`` overwrites stored calls in the journal.
        """
        self.folder = folder
        self.lock = threading.RLock()
        self.progress = threading.Condition(self.lock)
        self.wake = Wake()
        self.idle = True
        """Whether the writer sleeps; the next call that is added has to wake it."""
        self.write: Callable[[bytes], int] = _no_segment
        """Writes a frame into the active segment; raises `ValueError` if it does not fit."""
        self.limit_events = max(1, limit_bytes // EVENT_BYTES)
        self.memory: deque[Pending | Event] = deque(maxlen=self.limit_events)
        """When full, it drops the oldest silently; `_count_gap` counts them."""
        self._overflowed = False
        self._next_seq: dict[Source, int] = {}
        self.closed = False
        self.dropped = 0
        """Calls lost at the size limit or after `close`."""
        self.lost: Counter[Source] = Counter()
        """Per recorder, the calls that did not reach the store and will not without intervention."""
        self.damaged = 0
        """Number of damaged places in journal files."""
        self.unjournaled = 0
        """Calls kept in memory only, as there was no room for the journal."""
        self.last_error: str | None = None
        self._segment_bytes, self._limit_bytes, self._sync, self._wipe = segment_bytes, limit_bytes, sync, wipe
        self._segments: deque[Segment] = deque()
        self._active: Segment | None = None
        self._spare: Segment | None = None
        self._reserve: Segment | None = None
        """A small segment for the calls of a signal handler that interrupts the creation of a segment."""
        self._making_segment = False
        self._in_flight: list[Event] = []
        """Events from memory that the writer is storing."""
        self._memory_stored = 0
        """Number of events that went from memory to the store. (The limit drops one only when another is added.)"""
        self._retry_at = 0.0
        self._last_failure: tuple[int | None, str] = (None, "")
        """Errno and reason of the last failure to create a segment."""
        if folder is not None:
            try:
                self._activate(self._next_segment(OVERHEAD))  # now, so that no hook call needs to
            except OSError as error:
                self.report_error(f"journal in {folder}: {error.strerror or error}; calls are kept in memory")

    # adding ----------------------------------------------------------------------------------------------------

    def append_slow(self, frame: bytes) -> None:
        """Add a frame when the active segment is full or missing.

        A signal handler may interrupt it between any two steps and do the same.
        """
        with self.lock:
            while True:
                try:
                    self.write(frame)  # another call may have created a segment
                    return
                except ValueError:
                    if self.closed:
                        self.drop_after_close(frames.source(frames.body_of(frame)))
                        return
                try:
                    self._activate(self._next_segment(OVERHEAD + len(frame)))
                except OSError as error:
                    self.unjournaled += 1
                    self.report_error(f"journal in {self.folder}: {error.strerror or error}; calls are kept in memory")
                    if len(self.memory) == self.limit_events:
                        self._drop(1, self.memory[0])
                    self.memory.append(frames.decode(frames.body_of(frame)))
                    return

    def sync(self) -> None:
        """Flush all added calls to disk."""
        with self.lock:
            if self._active is not None:
                self._active.sync()

    def drop_after_close(self, source: Source) -> None:
        self.dropped += 1
        self.lost[source] += 1
        self.report_error("a hook was called after the recorder was closed; such calls are not kept")

    def _drop(self, calls: int, call: Pending | Event) -> None:
        """Count dropped calls of the recorder of ``call``."""
        self.dropped += calls
        self.lost[_source(call)] += calls
        self.report_error(f"the backlog in memory is at its limit of {self.limit_events} calls; the oldest are dropped")

    def _count_gap(self, call: Pending) -> None:
        """Once the memory was full, count a gap in a recorder's ``seq`` as dropped calls.

        A call that another thread has overtaken also leaves a gap; it is subtracted when it arrives.
        """
        expected = self._next_seq.get(call.source, 0)
        if self._overflowed and call.seq > expected:
            self._drop(call.seq - expected, call)
        elif self._overflowed and call.seq < expected:
            self.dropped -= 1
            self.lost[call.source] -= 1
        self._next_seq[call.source] = max(expected, call.seq + 1)

    def _next_segment(self, size: int) -> Segment:
        assert self.folder is not None
        segment, self._spare = self._spare, None
        if segment is not None and size <= segment.size:
            return segment
        if segment is not None:
            segment.close(remove=True)
        if self._making_segment:
            if self._reserve is not None and size <= self._reserve.size:
                segment, self._reserve = self._reserve, None
                return segment
            # Not yet another one: the next signal would interrupt that too, and so on, until the stack is full.
            raise OSError(errno.EAGAIN, "signal handlers call hooks faster than a segment can be created")
        if time.monotonic() < self._retry_at:
            raise OSError(*self._last_failure)
        self._making_segment = True
        try:
            return Segment(self.folder, max(self._segment_bytes, size), durable=self._sync)
        except OSError as error:
            self._last_failure = error.errno, error.strerror or str(error)
            self._retry_at = time.monotonic() + RETRY_SECONDS
            raise
        finally:
            self._making_segment = False

    def _activate(self, segment: Segment) -> None:
        self._segments.append(segment)
        self._active = segment
        self.write = segment.write
        for other in list(self._segments):
            if other is not self._active and other.end < other.size:
                other.seal()
                if self._sync:
                    other.sync()
        while len(self._segments) > 1 and sum(s.size for s in self._segments) > self._limit_bytes:
            self._drop_oldest_segment()

    def _drop_oldest_segment(self) -> None:
        segment = self._segments.popleft()
        lost = Counter((event.session_id, event.origin) for event in self._untaken(segment))
        segment.acknowledged = segment.size
        segment.close(remove=True)
        if lost:
            calls = lost.total()
            self.dropped += calls
            self.lost.update(lost)
            self.report_error(
                f"the journal is at its limit of {self._limit_bytes} bytes: dropped the {calls} oldest calls"
            )

    def _untaken(self, segment: Segment) -> Iterator[Event]:
        """The segment's events that the writer has not taken; the others are safe with the writer."""
        while events := self._take(segment, segment.size):
            yield from events

    def _take(self, segment: Segment, up_to_bytes: int) -> list[Event]:
        before = segment.damaged
        try:
            return segment.take(up_to_bytes)
        finally:
            if segment.damaged > before:
                self.damaged += segment.damaged - before
                self.report_error(f"{segment.path} is damaged; the unreadable bytes are kept beside it")

    def report_error(self, message: str) -> None:
        """Log an error, once in a row, and keep it for `Recorder.health`."""
        if message != self.last_error:
            self.last_error = message
            with contextlib.suppress(Exception):  # a log handler is user code
                log.error("%s", message)

    # used by the writer ----------------------------------------------------------------------------------------

    def take(self) -> list[Event]:
        """The next batch of events to store, oldest first; empty if there are none."""
        with self.lock:
            if len(self.memory) == self.limit_events:
                self._overflowed = True  # and it stays full until something is taken
            while self.memory and len(self._in_flight) < BATCH_EVENTS:
                call = self.memory.popleft()
                if isinstance(call, Pending):
                    self._count_gap(call)
                self._in_flight.append(as_event(call))
            if not self.memory:
                self._overflowed = False
            if self._in_flight:
                return list(self._in_flight)
            for segment in self._segments:
                found = self._take(segment, BATCH_BYTES) if segment.taken < segment.end else []
                if found:
                    return found
            return []

    def acknowledge(self) -> None:
        """Mark all taken events as stored, and remove segments that are done."""
        with self.lock:
            self._memory_stored += len(self._in_flight)
            self._in_flight.clear()
            for segment in list(self._segments):
                if segment.taken > segment.acknowledged:
                    segment.acknowledge(wipe=self._wipe)
                if segment is not self._active and segment.acknowledged == segment.size:
                    self._segments.remove(segment)
                    segment.close(remove=True)
            self.progress.notify_all()

    def prepare_spare(self) -> None:
        """Create the next segments ahead of time, so that no hook call needs to."""
        if self.folder is None:
            return
        try:
            if self._spare is None:
                self._keep_spare(Segment(self.folder, self._segment_bytes, durable=self._sync))
            if self._reserve is None:
                size = min(RESERVE_BYTES, self._segment_bytes)
                self._keep_reserve(Segment(self.folder, size, durable=self._sync))
        except OSError:
            return  # `append_slow` will meet the same error, and report it

    def _keep_spare(self, made: Segment) -> None:
        with self.lock:
            if self._spare is None and not self.closed:
                self._spare = made
                return
        made.close(remove=True)

    def _keep_reserve(self, made: Segment) -> None:
        with self.lock:
            if self._reserve is None and not self.closed:
                self._reserve = made
                return
        made.close(remove=True)

    # queries ---------------------------------------------------------------------------------------------------

    def wait_until_acknowledged(self, timeout: float) -> bool:
        """Wait until all calls added so far are stored; False if ``timeout`` (seconds) expired."""
        with self.progress:
            marks = [(segment, segment.end) for segment in self._segments]
            memory_mark = self._memory_stored + len(self._in_flight) + len(self.memory)
            return self.progress.wait_for(
                lambda: self._memory_stored >= memory_mark and all(s.acknowledged >= end for s, end in marks), timeout
            )

    def pending_events(self, source: Source) -> list[Event]:
        """One recorder's events that are not stored yet, taken or not. Calls of others are not decoded."""
        with self.lock:
            journaled = [segment.unacknowledged() for segment in self._segments]
            in_memory = [call for call in (*self._in_flight, *self.memory) if _source(call) == source]
        found = [event for data in journaled for event in frames.events_of(data, *source)]  # decoded without the lock
        return found + list(map(as_event, in_memory))

    def oldest_perf_ns(self) -> int | None:
        """Monotonic time of the oldest call that is not stored yet; None if there is none."""
        with self.lock:
            found = [segment.oldest_perf_ns() for segment in self._segments]
            found += [call.perf_ns for call in (*self._in_flight[:1], *islice(self.memory, 1))]
            return min((perf_ns for perf_ns in found if perf_ns is not None), default=None)

    def size_bytes(self) -> int:
        """Size of the backlog; for calls in memory an estimate."""
        with self.lock:
            in_memory = len(self._in_flight) + len(self.memory)
            return sum(s.end - s.acknowledged for s in self._segments) + in_memory * EVENT_BYTES

    # closing ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the files; a segment is removed only if all of it is in the store.

        Calls in memory are lost, and counted.
        """
        with self.lock:
            self.closed = True
            self.dropped += len(self._in_flight) + len(self.memory)
            self.lost.update(map(_source, (*self._in_flight, *self.memory)))
            for segment in self._segments:
                segment.close(remove=segment.acknowledged == segment.end)
            for segment in self._prepared():
                segment.close(remove=True)
            self._reset()

    def detach_after_fork(self) -> None:
        """In a forked child: close the parent's files without changing them."""
        self.lock = threading.RLock()
        self.progress = threading.Condition(self.lock)
        self.closed = True
        for segment in [*self._segments, *self._prepared()]:
            segment.close(remove=False)
        self._reset()

    def _prepared(self) -> list[Segment]:
        return [segment for segment in (self._spare, self._reserve) if segment is not None]

    def _reset(self) -> None:
        self._segments.clear()
        self._active = self._spare = self._reserve = None
        self.write = _no_segment
