"""Events that a store refuses for good are set aside in the journal folder, so that they do not block the others.

Reasons: the session was recorded under a different master key, the identity is taken, the database cannot represent the
event. The rest of the batch is stored; these go to files in the journal's format, one per session, which
`eventstore.recording.recovery` retries.
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
"""Errors about the database, not about the events; a retry may succeed."""


class RefusedEvents(NamedTuple):
    """Events that the store refused, and the error."""

    events: list[Event]
    error: StoreError


def append_skipping_refused(store: Store, events: list[Event]) -> list[RefusedEvents]:
    """Append the events that the store accepts; returns the ones it refuses for good.

    Bisects after a refusal: first by session, then, unless the whole session is refused, by event. Raises errors that
    may be transient.
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
    """The events in two halves to try separately; empty if splitting cannot help."""
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
    """Write the events to their sessions' set-aside files and flush these to disk; returns how many were written.

    Stops when the files would exceed ``limit_bytes``. Raises `OSError`.
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
    if not _append_to(folder / (name + SET_ASIDE), data):  # locked by a recovery
        _append_to(folder / f"{name}-{uuid.uuid4().hex[:8]}{SET_ASIDE}", data)


def _append_to(path: Path, data: bytes) -> bool:
    """Append atomically; False if another process holds the file. Raises `OSError`."""
    with closing(_File(path)) as file:
        if not file.lock():
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
    """A set-aside file, open for appending."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def lock(self) -> bool:
        """Lock the file; False if another process has locked or removed it."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return os.fstat(self.fd).st_nlink > 0

    def close(self) -> None:
        os.close(self.fd)
