"""Rows of sessions: those that are fresh are read, the others are made by a replay and stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from typing import NamedTuple

from eventstore.errors import StoreError, StoreReadOnly, TurnlogError
from eventstore.stores.base import Rows, Session, Store
from eventstore.stores.records import Head, Part, RowKey, StoredRow
from projections.caller import RULES as TURNLOG
from projections.measures import SessionRow
from projections.measures.row import is_decodable
from projections.reference.rules import find_rules
from turnlog.read_models.cache import cached_rows, drop_removed
from turnlog.read_models.engine import engine
from turnlog.read_models.replaying import replay_session, replay_sessions
from turnlog.survey import Survey
from turnlog.terminal import say

READ_TOGETHER = 400
"""Number of sessions whose rows are in memory at once."""
STORED_TOGETHER = 32
"""Number of sessions in one transaction, which has to be short: a recorder waits for it."""


class Plan(NamedTuple):
    """The sessions with the keys that their rows must have, and those whose rows have to be made."""

    rules: str
    sessions: list[Session]
    heads: dict[str, Head]
    keys: dict[str, RowKey]
    stale: list[Session]

    @property
    def stale_names(self) -> set[str]:
        return {session.session_id for session in self.stale}

    @property
    def stale_events(self) -> int:
        """Number of events to replay."""
        return sum(session.events for session in self.stale)


def plan(store: Store, sessions: Sequence[Session], rules: str = TURNLOG) -> Plan:
    """Which rows are fresh, and which have to be made. Raises `UnknownRules`."""
    if rules != TURNLOG:
        find_rules(rules)
    heads = store.heads()
    kept = [session for session in sessions if session.session_id in heads]
    keys = {session.session_id: key_of(store, heads[session.session_id], rules) for session in kept}
    fresh = store.rows.fresh(list(keys.values()))
    cache = cached_rows(store)
    if cache is not None:
        drop_removed(cache, heads)
        fresh |= cache.fresh([key for key in keys.values() if key.session_id not in fresh])
    return Plan(rules, kept, heads, keys, [session for session in kept if session.session_id not in fresh])


def model_rows(
    store: Store,
    planned: Plan,
    parts: Collection[Part] = (),
    *,
    jobs: int = 1,
    on_replayed: Callable[[int], object] = lambda events: None,
    survey: Survey | None = None,
) -> Generator[tuple[Session, SessionRow], None, None]:
    """Each session with its row, in order; ``on_replayed`` is called with the number of events of each replay.

    With more than one of ``jobs``, processes are started; they import the main module again (see `multiprocessing`).
    Sessions that cannot be replayed are left out, and listed in the ``survey``. A row that cannot be stored, as the
    database is locked, is returned like any other. Rows that are read have only the ``parts``.
    """
    replayed = replay_sessions(store, planned.stale, planned.rules, jobs)
    stale, storing, survey = planned.stale_names, _Storing(store), survey or Survey()

    def make(name: str) -> SessionRow:
        # a row that was fresh, and is gone by now, or cannot be decoded, is made here
        result = next(replayed) if name in stale else replay_session(store, name, planned.rules)
        on_replayed(planned.heads[name].events)
        if isinstance(result, TurnlogError):
            raise result
        if result.events == planned.heads[name].events:  # else the session has grown meanwhile
            storing.add(planned.keys[name], result)
        return result

    try:
        for at in range(0, len(planned.sessions), READ_TOGETHER):
            some = planned.sessions[at : at + READ_TOGETHER]
            found = _read(store, [planned.keys[s.session_id] for s in some if s.session_id not in stale], parts)
            for session in some:
                name = session.session_id
                if name in found:
                    survey.seen.add(name)
                    yield session, found[name]
                else:
                    yield from ((session, row) for _name, row in survey.each([name], make))
    finally:
        replayed.close()
        storing.flush()


class _Storing:
    """Rows that wait to be stored, in transactions that are short; the answer does not depend on them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: Rows | None = store.rows
        self._waiting: list[StoredRow] = []

    def add(self, key: RowKey, row: SessionRow) -> None:
        if self._rows is not None:
            self._waiting.append(StoredRow(**key._asdict(), **row._asdict()))
            if len(self._waiting) == STORED_TOGETHER:
                self.flush()

    def flush(self) -> None:
        """Store what waits; where the database is read-only, in the user's cache file.

        If that is not possible, this and all later rows are dropped.
        """
        try:
            try:
                self._put(self._rows)
            except StoreReadOnly:
                self._rows = cached_rows(self._store, create=True)
                self._put(self._rows)
        except StoreError as error:  # such as a lock that a recorder holds
            self._rows = None
            say(f"turnlog: replays are not kept for the next time: {error}", err=True)
        self._waiting.clear()

    def _put(self, rows: Rows | None) -> None:
        if rows is not None and self._waiting:
            rows.put(self._waiting)


def key_of(store: Store, head: Head, rules: str) -> RowKey:
    """The key that the row of a session must have now."""
    return RowKey(head.session_id, rules, head.has_key and store.decrypts, engine(), head.seal)


def _read(store: Store, keys: Sequence[RowKey], parts: Collection[Part]) -> dict[str, SessionRow]:
    """The fresh rows that can be decoded, in the log's database or in the user's cache file."""
    found = _decodable(store.rows.read(keys, parts), parts)
    cache = cached_rows(store) if len(found) < len(keys) else None
    if cache is not None:
        found |= _decodable(cache.read([key for key in keys if key.session_id not in found], parts), parts)
    return found


def _decodable(stored: dict[str, StoredRow], parts: Collection[Part]) -> dict[str, SessionRow]:
    rows = {name: session_row_of(row) for name, row in stored.items()}
    return {name: row for name, row in rows.items() if is_decodable(row, parts)}


def session_row_of(row: StoredRow) -> SessionRow:
    """The row without its key."""
    return SessionRow._make(row[len(RowKey._fields) :])
