"""The journal: where a hook call is safe before any database has seen it (law 5).

A journal is a folder of segments, files of fixed size mapped into memory. Writing into the map puts the bytes into the
kernel's page cache: SIGKILL of the process loses nothing. A segment's blocks are allocated when it is made, as a mapped
file raises SIGBUS where the disk has no room. Each is locked (flock) by its process while that lives, which is how
`recover` knows the dead ones.

`Backlog` is what waits for the store, in a journal or, with durability ``memory``, only in memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import mmap
import os
import struct
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from eventstore import frames
from eventstore.errors import JournalError

log = logging.getLogger("turnlog")

_MAGIC = b"turnlog\x01"
"""A file's first bytes; the last of them is the version of the format."""
_OFFSET = struct.Struct("<Q")
"""Behind the magic: up to where the store has acknowledged the frames."""
_START = len(_MAGIC) + _OFFSET.size
SUFFIX = ".journal"
MAX_CALLS = 2_000
"""How many calls a batch from memory has at most."""
RETRY_SECONDS = 1.0
"""How long a full disk is left alone before the next try to make a segment."""


class Segment:
    """One mapped file. ``taken`` frames are with the writer, ``acknowledged`` ones are in the store."""

    def __init__(self, path: Path, size: int) -> None:
        """Make the file. Raises `OSError` if there is no room or no permission; then nothing is left behind."""
        self.path = path
        self.size = size
        self.end = self.taken = self.acknowledged = _START
        unready = path.with_suffix(".new")  # not seen by `recover` before it is locked
        self._fd = os.open(unready, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(self._fd, 0, size)
            self.map = mmap.mmap(self._fd, size, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
            self.map[:_START] = _MAGIC + _OFFSET.pack(_START)
            unready.rename(path)
        except OSError:
            os.close(self._fd)
            unready.unlink(missing_ok=True)
            raise

    def take(self, up_to_bytes: int) -> list[bytes]:
        """The bodies that have not been taken yet, at least one if there is one."""
        stop = min(self.end, self.taken + up_to_bytes)
        found = list(frames.bodies(self.map[self.taken : stop]))
        if not found and stop < self.end:  # the next one alone is larger than that
            found = [next(frames.bodies(self.map[self.taken : self.end]))]
        self.taken += sum(map(len, found)) + len(found) * frames.FRAME.size
        return found

    def acknowledge(self) -> None:
        self.acknowledged = self.taken
        _OFFSET.pack_into(self.map, len(_MAGIC), self.acknowledged)

    def sync(self, start: int, stop: int) -> None:
        page = start - start % mmap.PAGESIZE
        self.map.flush(page, stop - page)

    def close(self, *, remove: bool) -> None:
        self.map.close()
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._fd)  # last, as it unlocks


class Backlog:
    """What waits for the store, oldest first: segments of a journal, and frames that only memory holds.

    The lock is re-entrant, as a signal handler or a finalizer may call a hook in the middle of a hook call.
    """

    def __init__(self, folder: Path | None, *, segment_bytes: int, limit_bytes: int, sync: bool = False) -> None:
        """``folder`` None keeps everything in memory. At ``limit_bytes`` the oldest are dropped, and counted."""
        self.folder = folder
        self.segment_bytes = segment_bytes
        self.limit_bytes = limit_bytes
        self.sync = sync
        self.lock = threading.RLock()
        self.wake = threading.Event()
        self.idle = True
        """The writer sleeps; whoever appends next has to wake it."""
        self.segments: deque[Segment] = deque()
        self.active: Segment | None = None
        self.spare: Segment | None = None
        self.memory: deque[bytes] = deque()
        self.memory_bytes = 0
        self.memory_taken = 0
        self.memory_out = 0
        """How many bodies have left the memory, stored or dropped."""
        self.progress = threading.Condition(self.lock)
        self.closed = False
        self.dropped = 0
        """Calls that are lost: at the bound, or after `close`."""
        self.unjournaled = 0
        """Calls that only memory held, as there was no room for the journal."""
        self.last_error: str | None = None
        self._retry_at = 0.0

    # the recorder's side, under the lock -----------------------------------------------------------------------

    def append_slowly(self, body: bytes) -> None:
        """Append when the active segment has no room, or when there is none."""
        if self.closed:
            self.dropped += 1
            return self.complain("a hook was called after the recorder was closed; such calls are not kept")
        if self.folder is not None:
            frame = frames.frame(body)
            try:
                segment = self._next_segment(len(frame))
            except OSError as error:
                self.unjournaled += 1
                self.complain(f"journal in {self.folder}: {error.strerror or error}; calls are kept in memory")
            else:
                start, segment.end = segment.end, segment.end + len(frame)
                segment.map[start : segment.end] = frame
                if self.sync:
                    segment.sync(start, segment.end)
                return
        self.memory.append(body)
        self.memory_bytes += len(body)
        while self.memory_bytes > self.limit_bytes and len(self.memory) > self.memory_taken:
            self._drop_from_memory()

    def _next_segment(self, frame_bytes: int) -> Segment:
        now = time.monotonic()
        if self.active is None and now < self._retry_at:
            raise OSError("waiting for room")
        needed = _START + frame_bytes
        segment, self.spare = self.spare, None
        if segment is None or needed > segment.size:
            if segment is not None:
                segment.close(remove=True)
            self.active = None
            self._retry_at = now + RETRY_SECONDS
            segment = self.make_segment(max(self.segment_bytes, needed))
        self.segments.append(segment)
        self.active = segment
        while len(self.segments) > 1 and sum(s.size for s in self.segments) > self.limit_bytes:
            self._drop_oldest_segment()
        return segment

    def make_segment(self, size: int) -> Segment:
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Segment(self.folder / f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}", size)

    def _drop_oldest_segment(self) -> None:
        segment = self.segments.popleft()
        lost = len(segment.take(segment.size))
        segment.acknowledged = segment.end
        segment.close(remove=True)
        if lost:
            self.dropped += lost
            self.complain(f"the journal is at its bound of {self.limit_bytes} bytes: dropped the {lost} oldest calls")

    def _drop_from_memory(self) -> None:
        oldest = self.memory_taken
        self.memory_bytes -= len(self.memory[oldest])
        del self.memory[oldest]
        self.memory_out += 1
        self.dropped += 1
        self.complain(f"the backlog in memory is at its bound of {self.limit_bytes} bytes: dropped the oldest calls")

    def complain(self, message: str) -> None:
        if message != self.last_error:
            self.last_error = message
            with contextlib.suppress(Exception):  # a guest's log handler may do anything
                log.error("%s", message)

    # the writer's side -----------------------------------------------------------------------------------------

    def take(self, up_to_bytes: int = 1 << 18) -> list[bytes]:
        """The oldest bodies that have not been taken yet; empty if there are none."""
        with self.lock:
            if self.memory_taken < len(self.memory):
                new = list(islice(self.memory, self.memory_taken, self.memory_taken + MAX_CALLS))
                self.memory_taken += len(new)
                return new
            for segment in self.segments:
                if segment.taken < segment.end:
                    return segment.take(up_to_bytes)
            return []

    def acknowledge(self) -> None:
        """All that was taken is in the store; segments that are done are removed."""
        with self.lock:
            for _ in range(self.memory_taken):
                self.memory_bytes -= len(self.memory.popleft())
            self.memory_out += self.memory_taken
            self.memory_taken = 0
            done = []
            for segment in self.segments:
                if segment.taken > segment.acknowledged:
                    segment.acknowledge()
                if segment is not self.active and segment.acknowledged == segment.end:
                    done.append(segment)
            for segment in done:
                self.segments.remove(segment)
                segment.close(remove=True)
            self.progress.notify_all()

    def wait_until_acknowledged(self, timeout: float) -> bool:
        """Wait until the store has all that was appended before; False if ``timeout`` seconds were not enough."""
        with self.progress:
            marks = [(segment, segment.end) for segment in self.segments]
            memory_mark = self.memory_out + len(self.memory)
            return self.progress.wait_for(
                lambda: self.memory_out >= memory_mark and all(s.acknowledged >= end for s, end in marks), timeout
            )

    def waiting(self) -> list[bytes]:
        """Everything that the store has not acknowledged, taken or not."""
        with self.lock:
            found = [body for s in self.segments for body in frames.bodies(s.map[s.acknowledged : s.end])]
            return found + list(self.memory)

    def prepare_spare(self) -> None:
        """Make the next segment ahead of time, so that no hook call has to."""
        active = self.active
        if self.spare is not None or active is None or active.end < active.size // 2:
            return
        with contextlib.suppress(OSError):  # `append_slowly` will meet the same error, and say so
            made = self.make_segment(self.segment_bytes)
            with self.lock:
                if self.spare is None:
                    self.spare = made
                    return
            made.close(remove=True)

    def size_bytes(self) -> int:
        with self.lock:
            return sum(s.end - s.acknowledged for s in self.segments) + self.memory_bytes

    def close(self, *, remove: bool = True) -> None:
        """Close the files; a segment whose frames are all in the store is removed, and only such a one."""
        with self.lock:
            self.closed = True
            segments, self.active = [*self.segments], None
            if self.spare is not None:
                segments.append(self.spare)
                self.spare = None
            self.segments.clear()
            for segment in segments:
                segment.close(remove=remove and segment.acknowledged == segment.end)

    def abandon(self) -> None:
        """In a forked child: let go of the parent's files without touching them."""
        self.lock = threading.RLock()
        self.progress = threading.Condition(self.lock)
        self.close(remove=False)


def left_behind(folder: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """The journal files whose process is gone, each with what the store has not acknowledged.

    A file stays locked until the next one is asked for, so the caller can store the frames and then `Path.unlink` it.
    A file that cannot be read as a journal is reported in the log and left alone.
    """
    for path in sorted(folder.glob("*" + SUFFIX)) if folder.is_dir() else []:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # somebody else has recovered it
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                yield path, _unacknowledged(path)
        except BlockingIOError:
            continue  # its process is alive
        except JournalError as error:
            log.error("%s", error)
        finally:
            os.close(fd)


def _unacknowledged(path: Path) -> list[bytes]:
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        raise JournalError(f"{path} is not a journal of this turnlog's format; it is left as it is")
    (acknowledged,) = _OFFSET.unpack_from(data, len(_MAGIC))
    if not _START <= acknowledged <= len(data):
        acknowledged = _START  # torn: what the store has already, it will recognise
    return list(frames.bodies(data[acknowledged:]))
