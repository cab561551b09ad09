"""What a store refuses for good, set aside in the journal folder so that it blocks nothing else.

A session recorded under another master key, an identity that is taken, an event that the database cannot carry: the
others of a batch are stored, and these go to files in the journal's format, one for each session.
`eventstore.recording.recovery` tries them again.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterable
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from eventstore.errors import NewerDatabase, StoreDamaged, StoreError, StoreReadOnly, StoreUnavailable
from eventstore.event import Event
from eventstore.recording import frames
from eventstore.recording.journal import EMPTY, SET_ASIDE, make_folder
from eventstore.stores.base import Store

_PASSES = (StoreUnavailable, StoreReadOnly, StoreDamaged, NewerDatabase)
"""Refusals that are about the database, not about what is appended; trying again may help."""


class RefusedEvents(NamedTuple):
    """Events of one session that the store does not take, and why."""

    events: list[Event]
    error: StoreError


def append_skipping_refused(store: Store, events: list[Event]) -> list[RefusedEvents]:
    """Append; what the store refuses for good is left out, and returned.

    The first attempt is at all of them, then at fewer and fewer sessions, then, where the refusal is of an event and
    not of its session, at fewer events. Raises what a later attempt may not meet.
    """
    try:
        store.append(events)
    except _PASSES:
        raise
    except StoreError as error:
        return [refused for part in _parts(events, error) for refused in append_skipping_refused(store, part)] or [
            RefusedEvents(events, error)
        ]
    return []


def _parts(events: list[Event], error: StoreError) -> list[list[Event]]:
    """Two halves to try by themselves; none if there is nothing to gain."""
    sessions = list(dict.fromkeys(event.session_id for event in events))
    if len(sessions) > 1:
        first = set(sessions[: len(sessions) // 2])
        return [
            [event for event in events if event.session_id in first],
            [event for event in events if event.session_id not in first],
        ]
    if len(events) > 1 and not error.of_session:
        return [events[: len(events) // 2], events[len(events) // 2 :]]
    return []


def set_aside(folder: Path, events: Iterable[Event], limit_bytes: int) -> int:
    """Keep the events in the folder's files of their sessions, and on the disk; returns how many are.

    Those that would take the files beyond ``limit_bytes`` are not. Raises `OSError`.
    """
    make_folder(folder)
    room = limit_bytes - sum(path.stat().st_size for path in folder.glob("*" + SET_ASIDE))
    sessions: dict[str, list[bytes]] = {}
    kept = 0
    for event in events:
        frame = frames.encode(event)
        room -= len(frame)
        if room < 0:
            break
        sessions.setdefault(event.session_id, []).append(frame)
        kept += 1
    for session_id, theirs in sessions.items():
        _append(folder, session_id, b"".join(theirs))
    return kept


def _append(folder: Path, session_id: str, data: bytes) -> None:
    name = blake2b(session_id.encode(), digest_size=8).hexdigest()
    if not _append_to(folder / (name + SET_ASIDE), data):  # a recovery is at work on it
        _append_to(folder / f"{name}-{uuid.uuid4().hex[:8]}{SET_ASIDE}", data)


def _append_to(path: Path, data: bytes) -> bool:
    """Whole or not at all; False if another process has the file. Raises `OSError`."""
    with closing(_File(path)) as file:
        if not file.is_ours():
            return False
        size = os.fstat(file.fd).st_size
        try:
            os.lseek(file.fd, 0, os.SEEK_END)
            left = memoryview(data if size else EMPTY + data)
            while left:
                left = left[os.write(file.fd, left) :]
            os.fsync(file.fd)
        except OSError:
            os.ftruncate(file.fd, size)
            raise
    return True


class _File:
    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def is_ours(self) -> bool:
        """Lock it; False if another has done so, or has removed it."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return os.fstat(self.fd).st_nlink > 0

    def close(self) -> None:
        os.close(self.fd)
