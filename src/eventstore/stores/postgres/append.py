"""Appending on Postgres: events are linked, packed and sent, and found again if they are stored already."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from operator import attrgetter
from typing import Any

import msgspec
import psycopg
from psycopg import errors
from psycopg.pq.abc import PGresult

from eventstore.errors import IdentityConflict
from eventstore.event import Event, conflict_message
from eventstore.stores import schema
from eventstore.stores.chain import ChainHead, extend, genesis
from eventstore.stores.postgres import binary
from eventstore.stores.postgres.follow import CHANNEL
from eventstore.stores.postgres.pipeline import Pipeline, Statement

_FIELDS = ", ".join(schema.FIELDS)
_COLUMNS = f"origin_id, {_FIELDS}, link"
_PACKERS: tuple[Callable[[Any], bytes], ...] = (
    binary.int8,
    binary.int8,
    binary.text,
    binary.int4,
    binary.int8,
    binary.int8,
    binary.text,
    binary.bytea,
)
_TYPES = ("int8", "int8", "text", "int4", "int8", "int8", "text", "bytea")
_UNNEST = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_TYPES, 1))
_INSERT = Statement(
    b"turnlog_insert",
    f"INSERT INTO events ({_COLUMNS}) "
    f"SELECT {_COLUMNS} FROM unnest({_UNNEST}) WITH ORDINALITY AS o ({_COLUMNS}, n) ORDER BY n".encode(),
)
_FIND_OR_BEGIN = Statement(
    b"turnlog_begin",
    b"""
WITH wanted AS (SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[]) AS w (session_id, origin, link)),
    begun AS (
        INSERT INTO origins (session_id, origin, events, link) SELECT session_id, origin, 0, link FROM wanted
        ON CONFLICT DO NOTHING RETURNING id, session_id, origin, events, link)
SELECT session_id, origin, id, events, link FROM begun UNION ALL
SELECT session_id, origin, id, events, o.link FROM origins o JOIN wanted USING (session_id, origin)
""",
)
_COPY = f"COPY events ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_BEGIN, _COMMIT = Statement(b"turnlog_start", b"BEGIN"), Statement(b"turnlog_commit", b"COMMIT")
_NOTIFY = Statement(b"turnlog_notify", f"NOTIFY {CHANNEL}".encode())
_FIND = f"""
SELECT n, position, {_FIELDS.replace("seq", "e.seq")}
FROM unnest(%b::text[], %b::text[], %b::int8[]) WITH ORDINALITY AS i (session_id, origin, seq, n)
    JOIN origins o USING (session_id, origin) JOIN events e ON e.origin_id = o.id AND e.seq = i.seq
"""
COPY_FROM = 200
"""Batches of at least this many events are copied."""
COPY_FROM_CHARACTERS = 2**20
"""Batches with at least this much payload are copied: a parameter of a statement is limited to 1 GB."""
COPY_ROWS = 50
"""Number of rows that are packed and sent at once."""

_payload = attrgetter("payload")
Key = tuple[str, str]
Identity = tuple[str, str, int]


class ChainHeads:
    """The chain heads of a batch: as last seen, and advanced by the batch."""

    def __init__(self, seen: dict[Key, ChainHead]) -> None:
        self.seen = seen
        self.advanced: dict[Key, ChainHead] = {}

    def head_of(self, session_id: str, origin: str) -> ChainHead:
        key = session_id, origin
        if key not in self.advanced:
            self.advanced[key] = msgspec.structs.replace(self.seen[key])
        return self.advanced[key]

    def add(self, found: PGresult, missing: list[Key]) -> None:
        """Add the result of `_FIND_OR_BEGIN`. Raises `SerializationFailure` if another process is beginning one."""
        for row in range(found.ntuples):
            session_id, origin, number, events, link = (found.get_value(row, column) or b"" for column in range(5))
            head = ChainHead(int.from_bytes(number), int.from_bytes(events), link)
            self.seen[session_id.decode(), origin.decode()] = head
        if not self.seen.keys() >= set(missing):
            raise errors.SerializationFailure("another process has begun an origin")


def write(
    driver: psycopg.Connection[Any], prepared: set[bytes], events: list[Event], heads: ChainHeads, missing: list[Key]
) -> None:
    """Link and store the events in one transaction, then wake followers. ``missing``: origins whose head is unknown."""
    if _is_small(events):
        with Pipeline(driver, prepared) as pipeline:
            _insert(pipeline, events, heads, missing)
    else:
        _copy(driver, prepared, events, heads, missing)


def _insert(pipeline: Pipeline, events: list[Event], heads: ChainHeads, missing: list[Key]) -> None:
    """Insert the events with one statement in one round trip, unless it begins an origin."""
    if missing:
        heads.add(pipeline.ask(_FIND_OR_BEGIN, _origin_columns(missing)), missing)
    columns = zip(*extend(events, heads.head_of), strict=True)
    pipeline.send(_INSERT, [pack(column) for pack, column in zip(_PACKERS, columns, strict=True)])
    pipeline.sync()
    pipeline.send(_NOTIFY)  # in a transaction of its own, as it serializes commits
    pipeline.sync()
    pipeline.finish()


def _copy(
    driver: psycopg.Connection[Any], prepared: set[bytes], events: list[Event], heads: ChainHeads, missing: list[Key]
) -> None:
    """Copy the events; in one statement unless it begins an origin."""
    try:
        if missing:
            with Pipeline(driver, prepared) as pipeline:
                pipeline.send(_BEGIN)
                heads.add(pipeline.ask(_FIND_OR_BEGIN, _origin_columns(missing)), missing)
                pipeline.sync()
                pipeline.finish()
        rows = extend(events, heads.head_of)
        with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.write(binary.COPY_HEAD)
            while some := list(islice(rows, COPY_ROWS)):  # the server stores some while the next are hashed
                copy.write(binary.copy_rows(some))
            copy.write(binary.COPY_END)
        with Pipeline(driver, prepared) as pipeline:
            if missing:
                pipeline.send(_COMMIT)
                pipeline.sync()
            pipeline.send(_NOTIFY)
            pipeline.sync()
            pipeline.finish()
    except BaseException:
        if not driver.closed:
            driver.execute("ROLLBACK")
        raise


def _is_small(events: list[Event]) -> bool:
    return len(events) < COPY_FROM and sum(map(len, map(_payload, events))) < COPY_FROM_CHARACTERS


def _origin_columns(keys: list[Key]) -> list[bytes]:
    sessions, origins = zip(*keys, strict=True)
    return [binary.text(sessions), binary.text(origins), binary.bytea([genesis(*key) for key in keys])]


def find_stored(driver: psycopg.Connection[Any], events: list[Event]) -> tuple[dict[Identity, int], list[Event]]:
    """The positions of the stored events, and the other events without duplicates. Raises `IdentityConflict`."""
    positions: dict[Identity, int] = {}
    known: dict[Identity, Event] = {}
    columns = [list(column) for column in zip(*(event.identity for event in events), strict=True)]
    for number, position, *fields in driver.execute(_FIND, columns):
        offered = events[number - 1]
        positions[offered.identity] = position
        known[offered.identity] = Event(offered.session_id, offered.origin, *fields)
    for event in events:
        if known.setdefault(event.identity, event) != event:
            raise IdentityConflict(conflict_message(known[event.identity], event))
    return positions, [event for identity, event in known.items() if identity not in positions]
