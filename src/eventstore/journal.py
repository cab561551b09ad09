"""The journal: where a hook call is safe before any database has seen it (law 5).

A journal is a folder of segments: files of fixed size, mapped into memory. Writing into the map puts the bytes into the
kernel's page cache, so SIGKILL of the process loses nothing. A segment's blocks are allocated when it is made, as a
mapped file raises SIGBUS where the disk has no room. It is locked (flock) by its process while that lives, which is how
`left_behind` knows the dead ones.

``mmap.write`` is the whole of the hot path: in one step that no other thread, signal handler or finalizer can come
between, it finds room, copies, and moves the end; or it raises `ValueError`, and the call takes the slow path.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import mmap
import os
import struct
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from eventstore import frames
from eventstore.errors import JournalError
from eventstore.event import Event

log = logging.getLogger("turnlog")

SUFFIX = ".journal"
_UNREADY = ".new"
_UNREADY_SECONDS = 3600.0
"""A file that is still being made after so long never will be: its process was killed."""
_MAGIC = b"turnlog\x01"
"""A file's first bytes; the last of them is the version of the format."""
_OFFSET = struct.Struct("<Q")
"""Behind the magic: up to where the store has acknowledged the frames."""
_START = len(_MAGIC) + _OFFSET.size
OVERHEAD = _START


class Segment:
    """One mapped file. What is ``taken`` is with the writer, what is ``acknowledged`` is in the store."""

    def __init__(self, folder: Path, size: int, *, durable: bool = False) -> None:
        """Make the file; ``durable``: so that it survives a power cut.

        Raises `OSError` if there is no room or no permission; then nothing is left behind.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = folder / f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        self.size = size
        self.taken = self.acknowledged = self._synced = _START
        unready = self.path.with_suffix(_UNREADY)  # not seen by `left_behind` before it is locked
        self._fd = os.open(unready, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(self._fd, 0, size)
            self._map = mmap.mmap(self._fd, size, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
            self._map[:] = bytes(size)
            self._map.write(_MAGIC + _OFFSET.pack(_START))
            unready.rename(self.path)
            if durable:
                os.fsync(self._fd)
                sync_folder(folder)
        except OSError:
            os.close(self._fd)
            unready.unlink(missing_ok=True)
            raise
        self.write = self._map.write

    @property
    def end(self) -> int:
        """Up to where it is written; the whole size once it is sealed."""
        return self._map.tell()

    def seal(self) -> None:
        """Leave no room, so that no call that still holds `write` can add to it."""
        while self.end < self.size:
            try:
                self._map.write(bytes(self.size - self.end))
            except ValueError:
                continue  # another thread has just written

    def sync(self) -> None:
        start, stop = self._synced - self._synced % mmap.PAGESIZE, self.end
        self._map.flush(start, stop - start)
        self._synced = stop

    def take(self, up_to_bytes: int) -> list[Event]:
        """What has not been taken yet; at least one event if there is one."""
        end = self.end
        stop = min(end, self.taken + up_to_bytes)
        found = list(frames.bodies(self._map[self.taken : stop]))
        if not found and stop < end:  # the next one alone is larger than that
            found = list(frames.bodies(self._map[self.taken : end]))[:1]
        self.taken += sum(map(len, found)) + len(found) * frames.FRAME.size
        if not found and end == self.size:
            self.taken = end  # what is left is the seal
        return list(map(frames.event, found))

    def acknowledge(self, *, wipe: bool = False) -> None:
        """All that was taken is in the store; ``wipe`` leaves no copy of it here."""
        done, self.acknowledged = self.acknowledged, self.taken
        self._map[len(_MAGIC) : _START] = _OFFSET.pack(self.acknowledged)
        if wipe:
            self._map.flush(0, mmap.PAGESIZE)  # else a power cut could bring back the old offset, and nothing behind it
            self._map[done : self.acknowledged] = bytes(self.acknowledged - done)

    def oldest_perf_ns(self) -> int | None:
        """When the first call that is not acknowledged was made."""
        if self.acknowledged == self.end:
            return None
        body = next(frames.bodies(self._map[self.acknowledged : self.end]), None)
        return None if body is None else frames.event(body).perf_ns

    def unacknowledged(self) -> list[Event]:
        return list(map(frames.event, frames.bodies(self._map[self.acknowledged : self.end])))

    def close(self, *, remove: bool) -> None:
        """``remove`` where that is possible; if not, `recover` will find a file that has nothing new."""
        self._map.close()
        if remove:
            discard(self.path)
        os.close(self._fd)  # last, as it unlocks


def discard(path: Path) -> None:
    """Remove a file that is done with; where the folder does not let us, say so and go on."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        with contextlib.suppress(Exception):  # a guest's log handler may do anything
            log.error("cannot remove %s, which is done with: %s", path, error.strerror)


def sync_folder(folder: Path) -> None:
    """A file's name is on the disk, too."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def left_behind(folder: Path) -> Iterator[tuple[Path, list[Event]]]:
    """The journal files whose process is gone, each with what the store has not acknowledged.

    A file stays locked until the next one is asked for, so the caller can store the events and then unlink it. A file
    that is not a journal is reported in the log and left alone.
    """
    for path in _files(folder):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # somebody else has recovered it
        except OSError as error:
            log.error("cannot recover %s: %s", path, error.strerror)
            continue
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


def _files(folder: Path) -> list[Path]:
    try:
        if not folder.is_dir():
            return []
        for path in folder.glob("*" + _UNREADY):
            with contextlib.suppress(FileNotFoundError):  # it is ready now
                if path.stat().st_mtime < time.time() - _UNREADY_SECONDS:
                    discard(path)
        return sorted(folder.glob("*" + SUFFIX))
    except OSError as error:  # a folder on the way to it may not be searched
        log.error("cannot look for journals in %s: %s", folder, error.strerror)
        return []


def _unacknowledged(path: Path) -> list[Event]:
    data = path.read_bytes()
    if not data.startswith(_MAGIC) or len(data) < _START:
        raise JournalError(f"{path} is not a journal of this turnlog's format; it is left as it is")
    (acknowledged,) = _OFFSET.unpack_from(data, len(_MAGIC))
    if not _START <= acknowledged <= len(data):
        acknowledged = _START  # torn: what the store has already, it will recognise
    try:
        return list(map(frames.event, frames.bodies(data[acknowledged:])))
    except (struct.error, UnicodeDecodeError) as error:  # whole by its checksum, and yet nothing we wrote
        raise JournalError(f"{path} holds what no turnlog wrote ({error}); it is left as it is") from error
