"""Integrity checks of a whole log, other than hash chains: each check is a function that yields faults."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from eventstore.errors import StoreError, StoreReadOnly, StoreUnavailable
from eventstore.integrity import catalog
from eventstore.integrity.audit import Audit, audit, is_valid_text, printable
from eventstore.integrity.session import Fault, Kind
from eventstore.stores import schema
from eventstore.stores.base import Store
from eventstore.stores.encrypted import SEALED

_DIGEST = re.compile("[0-9a-f]{64}")
_WRAPPED_BYTES = 44
"""Minimum length: a key of 32 bytes and a nonce of 12."""


class LogReport(NamedTuple):
    faults: list[Fault]
    unchecked: list[str]
    """One line for each check that this role may not perform."""


def verify_log(store: Store) -> LogReport:
    """Check everything beyond single sessions: schema, database file, orphaned rows, values, tombstones, keys.

    Raises `StoreUnavailable`; any other error of the database is reported as a fault.
    """
    found, report = audit(store), LogReport([], [])
    if found is None:
        return report
    for name, check in CHECKS.items():
        try:
            report.faults.extend(check(found))
        except (_Unchecked, StoreReadOnly) as error:
            report.unchecked.append(f"{name}: {error}")
        except StoreUnavailable:
            raise
        except StoreError as error:
            report.faults.append(_fault("unreadable", f"{name}: {error}"))
    return report


class _Unchecked(Exception):
    """The check cannot be performed here."""


def database_file(log: Audit) -> Iterator[Fault]:
    """SQLite's own check of its pages, indexes and constraints."""
    if log.sqlite:
        for (line,) in log.rows("PRAGMA integrity_check"):
            if line != "ok":
                yield _fault("damaged", f"the database file: {printable(line)}")


def schema_version(log: Audit) -> Iterator[Fault]:
    found = [version for (version,) in log.rows("SELECT version_num FROM alembic_version")]
    if found != [schema.HEAD]:
        shown = ", ".join(map(printable, found)) or "nothing"
        yield _fault("schema", f"alembic_version is {shown}, not {schema.HEAD}")


def definitions(log: Audit) -> Iterator[Fault]:
    """Check that tables, triggers, indexes, views and functions are those of the migrations."""
    if not catalog.can_compare(log):
        raise _Unchecked("comparing it requires a role with CREATE on the database, and a server that is not a replica")
    for line in catalog.catalog_differences(log):
        yield _fault("schema", line)


def values(log: Audit) -> Iterator[Fault]:
    """Check types and UTF-8 text in every table except ``events``, which its chains cover."""
    for table, columns in COLUMNS.items():
        for row in log.rows(f"SELECT {', '.join(columns)} FROM {table}"):
            for (column, expected), value in zip(columns.items(), row, strict=True):
                if not expected(value):
                    named = dict(zip(columns, row, strict=True))
                    which = ", ".join(f"{key} {named[key]!r}" for key in list(columns)[:3])
                    message = f"{table} ({which}): {column} is {_abbreviate(value)}"
                    yield _fault("malformed", message, named.get("session_id"), named.get("origin"))


def orphaned_events(log: Audit) -> Iterator[Fault]:
    """Find events that belong to no origin, and so to no session."""
    select = "SELECT origin_id, COUNT(*), MIN(position), MAX(position) FROM events e"
    orphans = "WHERE NOT EXISTS (SELECT 1 FROM origins o WHERE o.id = e.origin_id) GROUP BY origin_id"
    for origin_id, count, first, last in log.rows(f"{select} {orphans}"):
        rows = f"{count} events (positions {first} to {last})" if count > 1 else f"1 event (position {first})"
        yield _fault("orphaned", f"{rows} of an origin {_abbreviate(origin_id)} that does not exist")


def positions(log: Audit) -> Iterator[Fault]:
    """Check, on SQLite, that every assigned position has an event or is counted by a tombstone."""
    if not log.sqlite:
        return
    ((given, events, removed, last, first),) = log.rows(
        "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0), "
        "(SELECT COUNT(*) FROM events), (SELECT COALESCE(SUM(events), 0) FROM removals), "
        "(SELECT COALESCE(MAX(position), 0) FROM events), (SELECT COALESCE(MIN(position), 1) FROM events)"
    )
    if not (isinstance(given, int) and isinstance(removed, int)):
        yield _fault(
            "malformed", f"the count of positions is {_abbreviate(given)}, that of tombstones {_abbreviate(removed)}"
        )
        return
    counted = f"{given} positions were assigned, {events} events are stored, tombstones count {removed}"
    if last > given or first < 1:
        yield _fault("inserted", f"there are events at positions {first} to {last}, but only {given} were assigned")
    if given > events + removed:
        yield _fault("removed", f"{given - events - removed} events are missing without a tombstone: {counted}")
    if given < events + removed:
        yield _fault("inserted", f"{events + removed - given} surplus events or tombstones: {counted}")


def tombstones(log: Audit) -> Iterator[Fault]:
    """Check that each tombstone has a seal, an event count, an archive and a time."""
    for session_id, events, seal, archive, removed_ns in log.rows(
        "SELECT session_id, events, seal, archive, removed_ns FROM removals ORDER BY id"
    ):
        wrong = [
            what
            for what, right in (
                (f"seal {_abbreviate(seal)}", isinstance(seal, str) and _DIGEST.fullmatch(seal)),
                (f"events {_abbreviate(events)}", _is_count(events) and events > 0),
                (f"archive {_abbreviate(archive)}", archive != ""),
                (f"removed_ns {_abbreviate(removed_ns)}", _is_count(removed_ns)),
            )
            if not right
        ]
        if wrong:
            message = f"the tombstone of session {session_id!r} was not written by retention: {', '.join(wrong)}"
            yield _fault("tombstone", message, session_id)


def keys(log: Audit) -> Iterator[Fault]:
    """Check that each session with sealed content has a key, or the record of a forgotten one."""
    sealed = f"substr(payload, 1, {len(SEALED)}) = ? AND substr(payload, {len(SEALED) + 1}, 1) <> ?"
    for (session_id,) in log.rows(
        "SELECT DISTINCT session_id FROM origins o WHERE NOT EXISTS "
        "(SELECT 1 FROM keys k WHERE k.session_id = o.session_id) "
        f"AND EXISTS (SELECT 1 FROM events e WHERE e.origin_id = o.id AND {sealed}) ORDER BY session_id",
        SEALED,
        '"',
    ):
        yield _fault("key", f"session {session_id!r} has sealed content, but its key is not in this log", session_id)
    for session_id, wrapped, forgotten_ns in log.rows("SELECT session_id, wrapped, forgotten_ns FROM keys"):
        if (wrapped is None) != (forgotten_ns is not None):
            yield _fault("key", f"session {session_id!r} has a key that is neither present nor forgotten", session_id)
        elif isinstance(wrapped, bytes) and len(wrapped) < _WRAPPED_BYTES:
            yield _fault("key", f"the key of session {session_id!r} is damaged", session_id)


def unlocked(log: Audit) -> Iterator[Fault]:
    """Check that no session is left unlocked for removal."""
    for (session_id,) in log.rows("SELECT session_id FROM unlocked"):
        yield _fault("unlocked", f"session {session_id!r} was left unlocked for removal (table unlocked)", session_id)


CHECKS: dict[str, Callable[[Audit], Iterator[Fault]]] = {
    "the database file": database_file,
    "the schema's version": schema_version,
    "the schema": definitions,
    "values": values,
    "orphaned events": orphaned_events,
    "positions": positions,
    "tombstones": tombstones,
    "keys": keys,
    "unlocked sessions": unlocked,
}


def _is_integer(value: object) -> bool:
    return type(value) is int


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _is_link(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == 32


def _is_bytes(value: object) -> bool:
    return isinstance(value, bytes)


def _optional(kind: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or kind(value)


COLUMNS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "origins": {
        "id": _is_integer, "session_id": is_valid_text, "origin": is_valid_text, "events": _is_integer,
        "link": _is_link,
    },
    "keys": {
        "session_id": is_valid_text, "master": is_valid_text,
        "wrapped": _optional(_is_bytes), "forgotten_ns": _optional(_is_integer),
    },
    "removals": {
        "id": _is_integer, "session_id": is_valid_text, "events": _is_integer, "started_ns": _is_integer,
        "ended_ns": _is_integer, "seal": is_valid_text, "archive": is_valid_text, "removed_ns": _is_integer,
    },
    "deliveries": {
        "exporter": is_valid_text, "session_id": is_valid_text, "done": _is_integer, "digest": _is_bytes,
        "events": _is_integer, "parked": _optional(is_valid_text), "updated_ns": _is_integer,
    },
}  # fmt: skip


def _abbreviate(value: object) -> str:
    text = printable(repr(value))
    return text if len(text) <= 80 else text[:77] + "…"


def _fault(kind: Kind, message: str, session_id: object = None, origin: object = None) -> Fault:
    session, name = (None if given is None else printable(given) for given in (session_id, origin))
    return Fault(session, name, None, kind, printable(message))
