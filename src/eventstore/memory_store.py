"""A store in memory: the contract without a database, for tests and quick looks."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from eventstore.errors import IdentityConflict
from eventstore.event import Event, canonical, conflict
from eventstore.store import Followed, Session


class MemoryStore:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._events: list[Event] = []
        self._positions: dict[tuple[str, str, int], int] = {}

    @cached_property
    def journal(self) -> Path | None:
        """A temporary folder, made when a recorder asks for it and gone with the store."""
        folder = tempfile.mkdtemp(prefix="turnlog-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def append(self, events: Iterable[Event]) -> Sequence[int]:
        events_list = list(events)
        with self._lock:
            # all or nothing: nothing is kept before everything is checked
            new: dict[tuple[str, str, int], Event] = {}
            for event in events_list:
                at = self._positions.get(event.identity)
                stored = new.setdefault(event.identity, event) if at is None else self._events[at - 1]
                if stored != event:
                    raise IdentityConflict(conflict(stored, event))
            for event in new.values():
                self._events.append(event)
                self._positions[event.identity] = len(self._events)
            self._changed.notify_all()
            return [self._positions[event.identity] for event in events_list]

    def read(self, session_id: str) -> Iterator[Event]:
        with self._lock:
            found = [event for event in self._events if event.session_id == session_id]
        return iter(canonical(found))

    def sessions(self) -> list[Session]:
        with self._lock:
            events = list(self._events)
        by_session: dict[str, dict[str, list[Event]]] = {}
        for event in sorted(events, key=lambda e: e.identity):
            by_session.setdefault(event.session_id, {}).setdefault(event.origin, []).append(event)
        found = [
            Session(
                session_id,
                sum(map(len, origins.values())),
                len(origins),
                min(stream[0].wall_ns for stream in origins.values()),
                max(stream[-1].wall_ns for stream in origins.values()),
            )
            for session_id, origins in by_session.items()
        ]
        return sorted(found, key=lambda s: (-s.started_ns, s.session_id))

    def follow(
        self, after: str | None = None, *, session_id: str | None = None, stop: threading.Event | None = None
    ) -> Iterator[Followed]:
        at, stop = int(after or 0), stop or threading.Event()
        while not stop.is_set():
            with self._changed:
                if at == len(self._events):
                    self._changed.wait(0.02)
                new = self._events[at:]
            for event in new:
                at += 1
                if session_id in (None, event.session_id):
                    yield Followed(str(at), event)

    def close(self) -> None:
        """Nothing to close."""
