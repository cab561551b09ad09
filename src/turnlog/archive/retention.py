"""Retention: move old sessions from the log to an archive. The only way to remove events; it leaves a tombstone."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from eventstore.errors import TurnlogError
from eventstore.stores.base import Session, Store
from eventstore.stores.records import Tombstone
from exporters.files.jsonl import session_heading
from turnlog.archive import files as archive
from turnlog.read_models.cache import delete_cached

_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class BadAge(TurnlogError):
    """The text is not a duration."""


def age_ns(text: str) -> int:
    """Parse a duration such as ``90d`` to nanoseconds; the units are m, h, d and w. Raises `BadAge`."""
    match = re.fullmatch(r"(\d+)\s*([mhdw])", text.strip())
    if match is None:
        raise BadAge(f"{text!r} is not a duration; use 90d, 12h, 30m or 8w")
    return int(match[1]) * _SECONDS[match[2]] * 1_000_000_000


def expired_sessions(store: Store, older_than_ns: int) -> list[Session]:
    """The sessions whose last event is older than ``older_than_ns``, the oldest first."""
    before = time.time_ns() - older_than_ns
    return sorted((s for s in store.sessions() if s.ended_ns < before), key=lambda s: (s.ended_ns, s.session_id))


def retire(
    store: Store,
    sessions: list[Session],
    folder: Path | None,
    on_written: Callable[[int], object] = lambda events: None,
) -> Iterator[Tombstone]:
    """Archive each session in ``folder``, then remove it from the log; a session that has grown meanwhile is kept.

    Without a folder no copy is kept, and the tombstone names no archive. A crash between the two steps leaves both
    copies, and the operation can be repeated. ``on_written`` is called with the number of events archived since its
    last call. Raises `BrokenChain`, `StoreError`, `OSError`; the current session is then still in the log.
    """
    for session in sessions:
        head = session_heading(store, session.session_id)
        if head.events != session.events:
            continue  # it has events newer than those it was selected by
        path = "" if folder is None else str(archive.write_archive(store, head, folder, on_written))
        times = session.started_ns, session.ended_ns
        removal = Tombstone(session.session_id, head.events, *times, head.seal, path, time.time_ns())
        store.ledger.remove(removal)
        delete_cached(store, session.session_id)
        yield removal
