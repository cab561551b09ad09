"""Erasing one session from the files of a journal folder.

Other sessions are kept: a journal file with several sessions is rewritten without the one. A range that cannot be read
as a call is attributed to the session that its head names.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from collections.abc import Container, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from eventstore.errors import StoreError
from eventstore.event import Event
from eventstore.hooks.vocabulary import HOOKS
from eventstore.recording import frames
from eventstore.recording.journal import DAMAGED, EMPTY, OVERHEAD, OWN, SET_ASIDE, SUFFIX, begin, discard, sync_folder
from eventstore.recording.refused_events import append_skipping_refused
from eventstore.recording.resync import pieces
from eventstore.stores.base import Store

_POLL_SECONDS = 0.05
_BATCH = 1000
_HEAD = re.compile(rb"(?s)(?=....[\x01-\x7f]\x00[\x01-\x7f]\x00)")
"""The beginning of a body: the lengths of three names, and a version."""
_PID = re.compile(r"\d+-(\d+)-")


class Range(NamedTuple):
    """A range of a file's bytes that is not all zeros."""

    start: int
    stop: int
    session_id: str | None
    """The session it belongs to; None if that cannot be read."""
    event: Event | None = None


class Erased(NamedTuple):
    """The result of erasing a session from a journal folder."""

    moved: int = 0
    """Calls of crashed processes, and set-aside ones, that were moved into the store."""
    dropped: int = 0
    """Calls that the store refused, and ranges that could not be read as a call; both are erased."""
    remains: tuple[str, ...] = ()
    """One line for each file that still contains, or may contain, part of the session."""

    def __add__(self, other: tuple[object, ...]) -> Erased:
        moved, dropped, remains = Erased(*other)  # type: ignore[arg-type]
        return Erased(self.moved + moved, self.dropped + dropped, self.remains + remains)


def ranges(data: bytes, start: int, session_id: str, known: Container[str] = ()) -> list[Range]:
    """Split ``data`` from ``start`` on into whole frames and damaged ranges, with the session of each.

    A damaged range that names a session that is not ``known`` may have a damaged name, so its session is None.
    """
    found: list[Range] = []
    for piece in pieces(data, start, len(data)):
        if piece.event is not None:
            found.append(Range(piece.start, piece.stop, piece.event.session_id, piece.event))
        else:
            found += _split_damage(data, piece.start, piece.stop, session_id)
    certain = {session_id, *(each.session_id for each in found if each.event is not None)}
    return [
        each if each.session_id in certain or each.session_id in known else each._replace(session_id=None)
        for each in found
        if data[each.start : each.stop].strip(b"\0")
    ]


def _split_damage(data: bytes, start: int, stop: int, session_id: str) -> Iterator[Range]:
    """Split a damaged range at each readable head; a part ends at its own length, or at the next head."""
    whole = list(_heads(data, start, stop))
    heads = {head: whose for head, whose, _end in whole}
    for head in _session_heads(data, start, stop, session_id):
        if not any(begins < head < ends for begins, _whose, ends in whole):
            heads.setdefault(head, session_id)
    at = start
    for (head, whose), (following, _whose) in pairwise([*sorted(heads.items()), (stop, "")]):
        if at < head:
            yield Range(at, head, None)
        at = following
        if whose != session_id and head + frames.FRAME.size <= following:
            at = min(following, head + frames.FRAME.size + frames.FRAME.unpack_from(data, head)[0])
        yield Range(head, at, whose)
    if at < stop:
        yield Range(at, stop, None)


def _heads(data: bytes, start: int, stop: int) -> Iterator[tuple[int, str, int]]:
    """Probable frames of known hooks: start, session, and end of the names."""
    for match in _HEAD.finditer(data, start, stop):
        names = match.start() + frames.NAMES.size
        if names > stop:
            continue
        session, origin, hook, _version = frames.NAMES.unpack_from(data, match.start())
        end = names + session + origin + hook
        if end <= stop and data[end - hook : end].decode("latin-1") in HOOKS:
            begins = max(start, match.start() - frames.FRAME.size)
            yield begins, data[names : names + session].decode(errors="replace"), end


def _session_heads(data: bytes, start: int, stop: int, session_id: str) -> Iterator[int]:
    """Starts of probable frames of this session, even if their other names are damaged."""
    name = session_id.encode()
    lengths = re.escape(struct.pack("<H", len(name))) + b"(?s:.{6})"
    for match in re.finditer(b"(?=" + lengths + re.escape(name) + b")", data[start:stop]):
        yield max(start, start + match.start() - frames.FRAME.size)


# whole folders ------------------------------------------------------------------------------------------------------


def count_calls(folder: Path, session_id: str) -> dict[Path, int]:
    """Number of the session's calls in each file of the folder; changes nothing."""
    found = {}
    for path in _files(folder):
        try:
            data = path.read_bytes()
        except OSError:
            continue  # gone or unreadable; `erase` reports it
        if calls := sum(each.session_id == session_id for each in ranges(data, _frames_start(data), session_id)):
            found[path] = calls
    return found


def erase(store: Store, folder: Path, session_id: str, wait_seconds: float) -> Erased:
    """Erase a forgotten session from the folder's files, and from the disk.

    Calls that are not in the store yet are stored without their content. A living process does this for its own files:
    wait for it at most ``wait_seconds``, ignoring calls it records meanwhile.
    """
    deadline = time.monotonic() + wait_seconds
    done, first = Erased(), dict[Path, set[int]]()
    look = 0
    while True:
        step, living = _erase_once(store, folder, session_id)
        done += step._replace(remains=())
        first = living if look == 0 else first
        look += 1
        left = {path: starts & first.get(path, set()) for path, starts in living.items()}
        if not any(left.values()) or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_SECONDS)
    lines = [_describe_open_file(path, len(starts)) for path, starts in sorted(left.items()) if starts]
    return done._replace(remains=(*step.remains, *lines))


def _describe_open_file(path: Path, calls: int) -> str:
    match = _PID.match(path.name)
    process = f"process {match[1]}" if match else "a process"
    return (
        f"{path} still contains {calls} call(s) of it, in the clear: {process} has it open and has not stored and "
        "wiped them; forget it again when it has, or has ended"
    )


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in OWN and path.is_file() and not path.is_symlink())


def _frames_start(data: bytes) -> int:
    return OVERHEAD if data.startswith(EMPTY[:8]) else 0


def _erase_once(store: Store, folder: Path, session_id: str) -> tuple[Erased, dict[Path, set[int]]]:
    """Erase from all files of dead processes; also returns the offsets of the session's calls in open files."""
    done, living = Erased(), dict[Path, set[int]]()
    known = {session.session_id for session in store.sessions()}
    for path in _files(folder):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # stored and removed meanwhile
        except OSError as error:
            done += Erased(remains=(f"{path} may contain calls of it: it cannot be opened ({error.strerror})",))
            continue
        try:
            if _lock(fd):
                if os.fstat(fd).st_nlink:
                    done += _erase_from_file(store, path, fd, session_id, known)
            else:
                data = _read(fd)
                found = ranges(data, _frames_start(data), session_id, known)
                living[path] = {each.start for each in found if each.session_id in (None, session_id)}
                if not living[path]:
                    os.fsync(fd)  # flush what its process has wiped
        except OSError as error:
            done += Erased(remains=(f"{path} may contain calls of it: {error.strerror or error}",))
        except StoreError as error:
            done += Erased(remains=(f"{path} still contains calls of it, which cannot be stored now: {error}",))
        finally:
            os.close(fd)
    return done, living


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(fd: int) -> bytes:
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        return file.read()


def _erase_from_file(store: Store, path: Path, fd: int, session_id: str, known: Container[str]) -> Erased:
    data = _read(fd)
    found = ranges(data, _frames_start(data), session_id, known)
    is_journal = path.suffix in (SUFFIX, SET_ASIDE) and (_frames_start(data) > 0 or any(each.event for each in found))
    mark = begin(data)[0] if is_journal else 0
    ours = [each for each in found if each.session_id == session_id]
    unread = [each for each in found if each.session_id is None and each.stop > (OVERHEAD if is_journal else 0)]
    waiting = [each.event for each in ours if each.event is not None and each.start >= mark]
    dropped = sum(each.event is None for each in ours)
    if is_journal:
        refused = sum(_store(store, waiting[at : at + _BATCH]) for at in range(0, len(waiting), _BATCH))
        if ours or any(each.start < mark for each in unread):
            others = [each for each in found if each.start >= mark and each.session_id != session_id]
            _rewrite(path, fd, data, [each for each in others if each.stop > OVERHEAD])
        unread = [each for each in unread if each.start >= mark]
        done = Erased(len(waiting) - refused, dropped + refused)
    else:
        _overwrite(fd, ours)
        if ours and path.suffix == DAMAGED and len(ours) == len(found):
            discard(path)
        done = Erased(0, len(ours))
    return done + Erased(remains=tuple(_describe_unread(path, unread)))


def _store(store: Store, events: list[Event]) -> int:
    return sum(len(part.events) for part in append_skipping_refused(store, events))


def _describe_unread(path: Path, unread: list[Range]) -> Iterator[str]:
    if unread:
        size = sum(each.stop - each.start for each in unread)
        yield f"{path} may contain calls of it: the session of {size} damaged bytes is unreadable; delete the file"


def _rewrite(path: Path, fd: int, data: bytes, others: list[Range]) -> None:
    """Replace the file by one without the session's calls, and overwrite the old one, which is open as ``fd``."""
    if others:
        kept = [data[o.start : o.stop] if o.event is None else frames.encode(o.event) for o in others]
        new = EMPTY + b"".join(kept)
        if path.suffix == SUFFIX:
            new = new.ljust(len(data), b"\0")  # a torn call is recognized by the room behind it
        beside = path.with_name(path.name + ".new")
        beside.unlink(missing_ok=True)  # left by an interrupted attempt
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(new)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
        sync_folder(path.parent)
    _overwrite(fd, [Range(0, len(data), None)])
    if not others:
        discard(path)


def _overwrite(fd: int, ranges: Iterable[Range]) -> None:
    """Overwrite the ranges with zeros, on disk."""
    for each in ranges:
        os.pwrite(fd, bytes(each.stop - each.start), each.start)
    os.fsync(fd)
