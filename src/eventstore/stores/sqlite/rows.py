"""Rows of an SQLite log: appending events to their chains, and finding appended events that are missing."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from itertools import chain, islice

from eventstore.errors import IdentityConflict
from eventstore.event import Event, conflict_message
from eventstore.stores import schema
from eventstore.stores.chain import ChainHead, extend, genesis

_FIELDS = ", ".join(schema.FIELDS)
_VALUES = "(?, ?, ?, ?, ?, ?, ?, ?)"
_CHUNK = 20
"""Number of rows that one INSERT gets: little more than half the cost per row, and no gain beyond."""
_INSERTS = [
    f"INSERT INTO events (origin_id, {_FIELDS}, link) VALUES " + ", ".join([_VALUES] * n) for n in range(_CHUNK + 1)
]
"""By number of rows."""
_FIND = f"""
SELECT position, {_FIELDS} FROM events
WHERE origin_id = (SELECT id FROM origins WHERE session_id = ? AND origin = ?) AND seq = ?
"""
_HEAD = "SELECT id, events, link FROM origins WHERE session_id = ? AND origin = ?"
_BEGIN_ORIGIN = "INSERT INTO origins (session_id, origin, events, link) VALUES (?, ?, 0, ?) RETURNING id, events, link"
_UPDATE_HEAD = "UPDATE origins SET events = ?, link = ? WHERE id = ?"


def assign_log_id(driver: sqlite3.Connection) -> None:
    """Give the log a random id if it has none, in the database's header (``user_version``)."""
    if driver.execute("PRAGMA user_version").fetchone()[0]:
        return
    driver.execute("BEGIN IMMEDIATE")
    if not driver.execute("PRAGMA user_version").fetchone()[0]:
        driver.execute(f"PRAGMA user_version = {secrets.randbelow(2**31 - 1) + 1}")
    driver.execute("COMMIT")
    driver.execute("PRAGMA wal_checkpoint")  # into the file itself, to identify its content


def _reaches(driver: sqlite3.Connection, head: ChainHead, found: ChainHead | None) -> bool:
    """Whether the stored chain contains the remembered head."""
    if found is None or found.events < head.events:
        return False
    if found.events == head.events:
        return found.link == head.link
    select = "SELECT link FROM events WHERE origin_id = ? ORDER BY position LIMIT 1 OFFSET ?"
    row = driver.execute(select, (found.id, head.events - 1)).fetchone()
    return row is not None and row[0] == head.link


def missing_events(driver: sqlite3.Connection, heads: dict[tuple[str, str], ChainHead]) -> dict[tuple[str, str], int]:
    """Number of missing events of each chain that lost some, except for sessions that retention removed."""
    missing = {}
    for key, head in heads.items():
        found = stored_head(driver, key)
        if lacks_events(driver, key, head, found):
            missing[key] = max(1, head.events - (found.events if found else 0))
    return missing


def stored_head(driver: sqlite3.Connection, key: tuple[str, str]) -> ChainHead | None:
    found = driver.execute(_HEAD, key).fetchone()
    return None if found is None else ChainHead(*found)


def lacks_events(
    driver: sqlite3.Connection, key: tuple[str, str], remembered: ChainHead, found: ChainHead | None
) -> bool:
    """Whether the stored chain lacks events up to the remembered head, and not because retention removed it."""
    return not _reaches(driver, remembered, found) and not _has_tombstone(driver, key[0])


def _has_tombstone(driver: sqlite3.Connection, session_id: str) -> bool:
    """Whether retention removed the session."""
    return driver.execute("SELECT 1 FROM removals WHERE session_id = ?", (session_id,)).fetchone() is not None


def append_rows(
    driver: sqlite3.Connection,
    events: list[Event],
    heads: dict[tuple[str, str], ChainHead],
    known: dict[tuple[str, str], ChainHead],
) -> Sequence[int]:
    """Link and insert the events; returns their positions, and adds the ``heads`` of their chains.

    ``known``: heads that this transaction has read already. Raises `sqlite3.IntegrityError` if an event is stored.
    """

    def head_of(session_id: str, origin: str) -> ChainHead:
        key = session_id, origin
        if key not in heads:
            found = known.get(key) or stored_head(driver, key)
            heads[key] = found or ChainHead(*driver.execute(_BEGIN_ORIGIN, (*key, genesis(*key))).fetchone())
        return heads[key]

    rows = extend(events, head_of)
    last = 0  # this transaction is the only writer, so AUTOINCREMENT assigns consecutive ids
    while some := list(islice(rows, _CHUNK)):
        last = driver.execute(_INSERTS[len(some)], list(chain.from_iterable(some))).lastrowid or 0
    driver.executemany(_UPDATE_HEAD, [(head.events, head.link, head.id) for head in heads.values()])
    return range(last - len(events) + 1, last + 1)


def append_new_rows(
    driver: sqlite3.Connection,
    events: list[Event],
    heads: dict[tuple[str, str], ChainHead],
    known: dict[tuple[str, str], ChainHead],
) -> Sequence[int]:
    """Insert the events that are not stored yet; returns all positions. Raises `IdentityConflict`."""
    found: dict[tuple[str, str, int], int] = {}
    new: dict[tuple[str, str, int], Event] = {}
    for event in events:
        position, *fields = driver.execute(_FIND, event.identity).fetchone() or [None]
        if position is None:
            stored = new.setdefault(event.identity, event)
        else:
            stored = Event(event.session_id, event.origin, *fields)
            found[event.identity] = position
        if stored != event:
            raise IdentityConflict(conflict_message(stored, event))
    if new:
        found |= zip(new, append_rows(driver, list(new.values()), heads, known), strict=True)
    return [found[event.identity] for event in events]
