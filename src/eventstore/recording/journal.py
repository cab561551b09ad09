"""The journal, which makes a hook call durable before it reaches the database (law 5).

A journal is a folder of segments: memory-mapped files of fixed size. Writing into the map puts the bytes into the
kernel's page cache, so SIGKILL of the process loses nothing. A segment's blocks are allocated when it is created, as
writing to a mapped file raises SIGBUS when the disk is full. Its process holds a lock (flock) on it, which is how
`left_behind` recognizes segments of dead processes.

``mmap.write`` is the entire hot path: atomically with respect to threads, signal handlers and finalizers, it checks for
room, copies, and advances the end; or it raises `ValueError`, and the call takes the slow path.
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
from typing import NamedTuple

from eventstore.errors import JournalError
from eventstore.event import Event
from eventstore.recording import frames
from eventstore.recording.resync import Piece, pieces

log = logging.getLogger("turnlog")

SUFFIX = ".journal"
DAMAGED = ".damaged"
"""Appended to a journal file's name: a file with its unreadable bytes."""
_UNREADY = ".new"
_UNREADY_SECONDS = 3600.0
"""An unready file of this age is abandoned: its process was killed."""
_MAGIC = b"turnlog\x01"
"""A file's first bytes; the last one is the version of the format."""
_OFFSET = struct.Struct("<Q")
"""After the magic: the offset up to which frames are acknowledged by the store."""
_START = len(_MAGIC) + _OFFSET.size
EMPTY = _MAGIC + _OFFSET.pack(_START)
"""A file without frames."""
OVERHEAD = _START
SET_ASIDE = ".aside"
"""Files in the same format with refused events, see `eventstore.recording.refused_events`."""
OWN = frozenset({SUFFIX, SET_ASIDE, DAMAGED, _UNREADY})


class Segment:
    """A mapped file. Bytes up to ``taken`` are with the writer, those up to ``acknowledged`` are in the store."""

    def __init__(self, folder: Path, size: int, *, durable: bool = False) -> None:
        """Create the file; ``durable``: flush it to disk, so that it survives a power cut.

        Raises `OSError`, leaving no file, if there is no room or no permission.
        """
        make_folder(folder)
        self.path = folder / f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        self.size = size
        self.taken = self.acknowledged = self._synced = _START
        self.damaged = 0
        """Number of damaged places; their bytes are kept beside it."""
        unready = self.path.with_suffix(_UNREADY)  # invisible to `left_behind` until it is locked
        self._fd = os.open(unready, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(self._fd, 0, size)
            self._map = mmap.mmap(self._fd, size, flags=mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))
            self._map[:] = bytes(size)
            self._map.write(EMPTY)
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
        """The end of the written bytes; the whole size once it is sealed."""
        return self._map.tell()

    def seal(self) -> None:
        """Fill the segment, so that a thread that still has its `write` cannot add to it."""
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
        """The next events that were not taken yet; at least one if there is one."""
        end = self.end
        stop = min(end, self.taken + up_to_bytes)
        found = list(frames.bodies(self._map[self.taken : stop]))
        if not found and stop < end:  # the next frame alone is larger than that
            found = list(frames.bodies(self._map[self.taken : end]))[:1]
        try:
            events = list(map(frames.decode, found))
        except (struct.error, UnicodeDecodeError):
            found = []
        if not found:
            return self._take_damaged(end)
        self.taken += sum(map(len, found)) + len(found) * frames.FRAME.size
        return events

    def _take_damaged(self, end: int) -> list[Event]:
        """Take the rest, which does not begin with a whole frame: it is the seal, or damaged."""
        data = self._map[self.taken : end]
        found = list(pieces(data, 0, len(data)))
        damage = [data[piece.start : piece.stop] for piece in found if piece.damaged]
        if damage:
            self.damaged += len(damage)
            try:
                keep_damaged(self.path, damage)
            except OSError as error:
                log.error("cannot keep the damaged bytes of %s: %s", self.path, error.strerror)
        if found or end == self.size:
            self.taken = end
        return [piece.event for piece in found if piece.event is not None]

    def acknowledge(self, *, wipe: bool = False) -> None:
        """Mark all taken bytes as stored; ``wipe`` overwrites them."""
        done, self.acknowledged = self.acknowledged, self.taken
        self._map[len(_MAGIC) : _START] = _OFFSET.pack(self.acknowledged)
        if wipe:
            self._map.flush(0, mmap.PAGESIZE)  # else a power cut could restore the old offset, before wiped bytes
            self._map[done : self.acknowledged] = bytes(self.acknowledged - done)

    def oldest_perf_ns(self) -> int | None:
        """Monotonic time of the first call that is not acknowledged; None if there is none."""
        if self.acknowledged == self.end:
            return None
        near = self._map[self.acknowledged : min(self.end, self.acknowledged + mmap.PAGESIZE)]
        if body := next(frames.bodies(near), None):
            with contextlib.suppress(struct.error, UnicodeDecodeError):
                return frames.decode(body).perf_ns
        return next((event.perf_ns for event in events_in(self.unacknowledged())), None)

    def unacknowledged(self) -> bytes:
        """The bytes that are not acknowledged; decode them with `events_in`."""
        return self._map[self.acknowledged : self.end]

    def close(self, *, remove: bool) -> None:
        """Close the file; ``remove`` it if possible (if not, `recover` finds nothing new in it)."""
        self._map.close()
        if remove:
            discard(self.path)
        os.close(self._fd)  # last, as it unlocks


def events_in(data: bytes) -> Iterator[Event]:
    """The events of all whole frames, skipping damage."""
    return (piece.event for piece in pieces(data, 0, len(data)) if piece.event is not None)


def discard(path: Path) -> None:
    """Remove a file that is no longer needed; log it if the folder does not permit that."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        with contextlib.suppress(Exception):  # a log handler is user code
            log.error("cannot remove %s, which is no longer needed: %s", path, error.strerror)


def sync_folder(folder: Path) -> None:
    """Flush the folder's entries to disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Create the journal's folder with private permissions, whatever the umask."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    folder.chmod(0o700)


def restrict_permissions(folder: Path) -> None:
    """Remove other users' permissions on a journal folder and its files, left by an old turnlog or a lax umask."""
    with contextlib.suppress(OSError):  # missing, or owned by another user
        for path in [folder, *(path for path in folder.iterdir() if path.suffix in OWN and not path.is_symlink())]:
            mode = path.stat().st_mode
            if mode & 0o077:
                path.chmod(mode & 0o700)


def keep_damaged(path: Path, damage: list[bytes]) -> Path:
    """Append a journal file's unreadable bytes to a file beside it, once. Raises `OSError`."""
    beside = path.with_name(path.name + DAMAGED)
    fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "r+b") as file:
        kept = file.read()
        file.write(b"".join(part for part in damage if part not in kept))
        file.flush()
        os.fsync(fd)
    return beside


class Contents(NamedTuple):
    """The content of a journal file that the store has not acknowledged."""

    events: list[Event]
    damage: list[bytes]
    """The unreadable ranges of bytes."""
    torn: bytes = b""
    """The last call, if its process was killed while writing it; it had not returned."""


class JournalFile(NamedTuple):
    """A file of a journal folder, with its readable content."""

    path: Path
    kind: str
    """``pending`` (of a living process), ``crashed``, ``set aside``, or ``damaged``."""
    contents: Contents
    """For a ``damaged`` file, all of it is damage."""


def left_behind(folder: Path, suffix: str = SUFFIX, errors: list[str] | None = None) -> Iterator[tuple[Path, Contents]]:
    """The journal files of dead processes, each with its unacknowledged content.

    A file stays locked until the iterator advances, so that the caller can store the events and then unlink it. A file
    that is not a journal is left unchanged; the error is logged and added to ``errors``.
    """

    def report(message: str) -> None:
        log.error("%s", message)
        if errors is not None:
            errors.append(message)

    for path in _files(folder, suffix):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            continue  # another process has recovered it
        except OSError as error:
            report(f"cannot recover {path}: {error.strerror}")
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                yield path, contents(path, path.read_bytes())
        except BlockingIOError:
            continue  # its process is alive
        except JournalError as error:
            report(str(error))
        except OSError as error:
            report(f"cannot recover {path}: {error.strerror or error}")
        finally:
            os.close(fd)


def files(folder: Path) -> Iterator[JournalFile]:
    """All files with calls in a journal folder, including those of living processes; changes nothing.

    The content of a living process's file is a snapshot.
    """
    dead = {path for suffix in (SUFFIX, SET_ASIDE) for path, _contents in left_behind(folder, suffix)}
    for path in _files(folder, SUFFIX) + _files(folder, SET_ASIDE):
        kind = "set aside" if path.suffix == SET_ASIDE else "crashed" if path in dead else "pending"
        try:
            yield JournalFile(path, kind, contents(path, path.read_bytes()))
        except (OSError, JournalError) as error:
            log.error("cannot read %s: %s", path, error)
    for path in _files(folder, DAMAGED):
        yield JournalFile(path, "damaged", Contents([], [path.read_bytes()]))


def _files(folder: Path, suffix: str) -> list[Path]:
    try:
        if not folder.is_dir():
            return []
        for path in folder.glob("*" + _UNREADY):
            with contextlib.suppress(FileNotFoundError):  # it has become ready
                if path.stat().st_mtime < time.time() - _UNREADY_SECONDS and not _written(path):
                    discard(path)
        return sorted(folder.glob("*" + suffix))
    except OSError as error:  # a parent folder may not be searchable
        log.error("cannot list journals in %s: %s", folder, error.strerror)
        return []


def _written(path: Path) -> bool:
    """Whether the file contains more than a new segment does."""
    data = path.read_bytes()
    return bool(data.removeprefix(EMPTY).strip(b"\0"))


def contents(path: Path, data: bytes) -> Contents:
    """Parse a journal file. Raises `JournalError` if it is not a journal."""
    start, damage = begin(data)
    found = list(pieces(data, start, len(data)))
    events = [piece.event for piece in found if piece.event is not None]
    if data[: len(_MAGIC)] != _MAGIC[: len(data)]:
        if not events:
            raise JournalError(f"{path} is not a journal of this turnlog's format; it is left unchanged")
        damage = [data[: min(start, len(_MAGIC))]] if start else []
    bad = [piece for piece in found if piece.damaged]
    torn = bad.pop() if bad and bad[-1] is found[-1] and bad[-1].event is None and _is_torn(data, bad[-1]) else None
    if start == _START and bad and bad[0].start == start and not data[start : bad[0].stop].strip(b"\0"):
        bad.pop(0)  # wiped, as it is in the store
    damage += [data[piece.start : piece.stop] for piece in bad]
    return Contents(events, damage, b"" if torn is None else data[torn.start : torn.stop])


def begin(data: bytes) -> tuple[int, list[bytes]]:
    """The offset to read from, and the damaged parts of the file's header.

    The acknowledged offset is trusted if a frame ends there. If not, everything is read, as appends are idempotent.
    """
    if len(data) < _START:
        return len(data), [data]
    (mark,) = _OFFSET.unpack_from(data, len(_MAGIC))
    if _START <= mark <= len(data):
        last = next(reversed(list(pieces(data, _START, mark))), None)
        if (
            last is None
            or (mark == len(data) and last.event is not None)
            or (last.stop == mark and _closes(data, last))
        ):
            return mark, []
    return (_START, [data[len(_MAGIC) : _START]]) if data.startswith(_MAGIC) else (0, [])


def _closes(data: bytes, last: Piece) -> bool:
    """Whether the piece is a frame, or the rest of one whose wiping was interrupted by a kill."""
    return last.event is not None or data[_START] == 0


def _is_torn(data: bytes, last: Piece) -> bool:
    """Whether only the beginning of a frame was written: the rest of it is zeros."""
    written = last.stop - last.start
    if written < frames.FRAME.size:
        return last.stop < len(data)
    whole: int = frames.FRAME.size + frames.FRAME.unpack_from(data, last.start)[0]
    return written < whole <= len(data) - last.start
