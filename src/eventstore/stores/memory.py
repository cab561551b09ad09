"""A store in memory, for tests and quick experiments."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from eventstore.errors import IdentityConflict, StoreError, StoreUnavailable
from eventstore.event import Event, canonical, conflict_message
from eventstore.stores.base import Followed, Rows, Session, Store
from eventstore.stores.chain import ChainHead, Linked, Origin, extend, genesis, seal
from eventstore.stores.records import Cursor, Head, Key, Tombstone


class MemoryStore:
    encrypts = False
    decrypts = False
    reopen: Callable[[], Store] | None = None

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._log: list[Linked | None] = []
        """Indexed by position - 1; None where an event was removed."""
        self._positions: dict[tuple[str, str, int], int] = {}
        self._heads: dict[tuple[str, str], ChainHead] = {}
        self.ledger = MemoryLedger(self)

    @cached_property
    def journal(self) -> Path | None:
        """A temporary folder, created on first use and removed with the store."""
        folder = tempfile.mkdtemp(prefix="turnlog-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    @cached_property
    def rows(self) -> Rows:
        """See `Store.rows`."""
        from sqlalchemy import StaticPool, create_engine

        from eventstore.stores.rows import sqlite_rows

        engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        weakref.finalize(self, engine.dispose)
        return sqlite_rows(engine, lambda _execute, _sessions: self.heads())

    def append(self, events: Iterable[Event]) -> Sequence[int]:
        events_list = list(events)
        with self._lock:
            # all or nothing: check everything before storing anything
            new: dict[tuple[str, str, int], Event] = {}
            for event in events_list:
                at = self._positions.get(event.identity)
                linked = None if at is None else self._log[at - 1]
                stored = linked.event if linked is not None else new.setdefault(event.identity, event)
                if stored != event:
                    raise IdentityConflict(conflict_message(stored, event))
            rows = extend(new.values(), lambda *key: self._heads.setdefault(key, ChainHead(0, 0, genesis(*key))))
            for event, row in zip(new.values(), rows, strict=True):
                self._log.append(Linked(event, row[-1]))
                self._positions[event.identity] = len(self._log)
            self._changed.notify_all()
            return [self._positions[event.identity] for event in events_list]

    def read(self, session_id: str) -> Iterator[Event]:
        return iter(canonical(linked.event for linked in self._stored(session_id)))

    def read_many(self, session_ids: Iterable[str]) -> Iterator[tuple[str, Iterator[Event]]]:
        """See `Store.read_many`."""
        return ((session_id, self.read(session_id)) for session_id in session_ids)

    def chains(self, session_id: str) -> Iterator[tuple[Origin, Iterator[Linked]]]:
        with self._lock:
            heads = {name: head for (session, name), head in sorted(self._heads.items()) if session == session_id}
            origins = [Origin(session_id, name, head.events, head.link) for name, head in heads.items()]
        found = self._stored(session_id)
        for origin in origins:
            yield origin, (linked for linked in found if linked.event.origin == origin.origin)

    def _stored(self, session_id: str | None = None) -> list[Linked]:
        with self._lock:
            return [linked for linked in self._log if linked and session_id in (None, linked.event.session_id)]

    def sessions(self) -> list[Session]:
        events = [linked.event for linked in self._stored()]
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

    def heads(self) -> dict[str, Head]:
        """See `Store.heads`."""
        origins: dict[str, list[Origin]] = {}
        with self._lock:
            for (session_id, origin), head in self._heads.items():
                origins.setdefault(session_id, []).append(Origin(session_id, origin, head.events, head.link))
        with_key = origins.keys() - self.ledger.forgotten_sessions(origins)
        return {
            name: Head(
                name,
                sum(origin.events for origin in own),
                seal(own),
                name in with_key and self.ledger.key(name) is not None,
            )
            for name, own in origins.items()
        }

    def follow(
        self, after: str | None = None, *, session_id: str | None = None, stop: threading.Event | None = None
    ) -> Iterator[Followed]:
        at, stop = int(after or 0), stop or threading.Event()
        while not stop.is_set():
            with self._changed:
                if at == len(self._log):
                    self._changed.wait(0.02)
                new = self._log[at:]
            for linked in new:
                at += 1
                if linked is not None and session_id in (None, linked.event.session_id):
                    yield Followed(str(at), linked.event)

    def remove(self, tombstone: Tombstone) -> None:
        """See `eventstore.stores.base.Ledger.remove`."""
        with self._lock:
            theirs = [key for key in self._heads if key[0] == tombstone.session_id]
            heads = {key: self._heads[key] for key in theirs}
            if seal(Origin(*key, head.events, head.link) for key, head in heads.items()) != tombstone.seal:
                raise StoreError(
                    f"session {tombstone.session_id!r} has changed since it was archived; archive it again"
                )
            for key in theirs:
                del self._heads[key]
            for identity in [identity for identity in self._positions if identity[0] == tombstone.session_id]:
                self._log[self._positions.pop(identity) - 1] = None

    def close(self) -> None:
        """Nothing to release."""


class MemoryLedger:
    """The ledger of a `MemoryStore`; documented in `eventstore.stores.ledger`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._keys: dict[str, Key] = {}
        self._tombstones: list[Tombstone] = []
        self._cursors: dict[tuple[str, str], Cursor] = {}
        self._delivering: set[str] = set()

    def has_keys(self) -> bool:
        return bool(self._keys)

    def key(self, session_id: str) -> Key | None:
        return self._keys.get(session_id)

    def forgotten_sessions(self, sessions: Collection[str]) -> set[str]:
        keys = map(self._keys.get, sessions)
        return {key.session_id for key in keys if key is not None and key.wrapped is None}

    def add_key(self, key: Key) -> Key:
        return self._keys.setdefault(key.session_id, key)

    def destroy_key(self, session_id: str, forgotten_ns: int) -> None:
        key = self._keys.get(session_id)
        if key is not None and key.wrapped is not None:
            self._keys[session_id] = key._replace(wrapped=None, forgotten_ns=forgotten_ns)
        self._store.rows.delete([session_id])
        self._redact_deliveries(session_id)

    def masters(self) -> dict[str, int]:
        return dict(Counter(key.master for key in self.keys(limit=len(self._keys))))

    def keys(self, after: str = "", limit: int = 1000) -> list[Key]:
        kept = sorted(key for key in self._keys.values() if key.wrapped is not None and key.session_id > after)
        return kept[:limit]

    def rewrap(self, keys: Sequence[tuple[Key, Key]]) -> int:
        held = [(old, new) for old, new in keys if self._keys.get(old.session_id) == old]
        self._keys.update((new.session_id, new) for _old, new in held)
        return len(held)

    def remove(self, tombstone: Tombstone) -> None:
        self._store.remove(tombstone)
        self._store.rows.delete([tombstone.session_id])
        self._tombstones.append(tombstone)
        self._redact_deliveries(tombstone.session_id)

    def scrub(self) -> None:
        """Nothing to do: there are no files."""

    def tombstones(self) -> list[Tombstone]:
        return list(self._tombstones)

    def cursors(self, exporter: str | None = None) -> list[Cursor]:
        return sorted(cursor for cursor in self._cursors.values() if exporter in (None, cursor.exporter))

    def save_cursor(self, cursor: Cursor) -> None:
        self._cursors[cursor[:2]] = cursor

    @contextmanager
    def exclusive_delivery(self, exporter: str) -> Iterator[None]:
        if exporter in self._delivering:
            raise StoreUnavailable(f"another thread delivers {exporter!r} already")
        self._delivering.add(exporter)
        try:
            yield
        finally:
            self._delivering.discard(exporter)

    def _redact_deliveries(self, session_id: str) -> None:
        for cursor in self.cursors():
            if cursor.session_id == session_id:
                self.save_cursor(cursor._replace(digest=b"", parked=cursor.parked and "refused"))
