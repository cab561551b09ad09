"""The hash chain, which makes later changes, removals, insertions and moves of stored events evident.

Each origin of a session has its own chain, in storage order. An event's *link* is SHA-256 over the previous link and
the event's fields as MessagePack (in which each integer and string has one shortest form)::

    link = SHA-256(previous link ‖ msgpack([seq, hook, version, perf_ns, wall_ns, payload]))

and an origin's first link follows `genesis`. The store keeps each origin's last link and its number of events,
so that truncation is detected too. A forger with full access could still rebuild a whole chain; a `seal` kept elsewhere
detects that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

import msgspec

from eventstore.event import Event

_pack = msgspec.msgpack.Encoder().encode
_as_tuple = msgspec.structs.astuple
Row = tuple[int, int, str, int, int, int, str, bytes]
"""``origin_id, seq, hook, version, perf_ns, wall_ns, payload, link``: a row of the table ``events``."""


class Origin(NamedTuple):
    """One recorder's part of a session: its number of stored events, and the last link of its chain."""

    session_id: str
    origin: str
    events: int
    link: bytes


class Linked(NamedTuple):
    """An event as stored (sealed, if it is encrypted), with its link."""

    event: Event
    link: bytes


class ChainHead(msgspec.Struct):
    """The end of an origin's chain, to which the next event is linked. ``id`` is the origin's row."""

    id: int
    events: int
    link: bytes


def genesis(session_id: str, origin: str) -> bytes:
    """The link before an origin's first event."""
    return sha256(_pack(("turnlog", 1, session_id, origin))).digest()


def link(previous: bytes, event: Event) -> bytes:
    return sha256(previous + _pack(_as_tuple(event)[2:])).digest()


def extend(events: Iterable[Event], head_of: Callable[[str, str], ChainHead]) -> Iterator[Row]:
    """Link events to their origins' heads; the heads are advanced in place once all rows are consumed.

    Yields one row at a time, so that the database can process rows while the next ones are hashed.
    """
    pack, digest = _pack, sha256
    session_id = name = None
    head, number, last, count = ChainHead(0, 0, b""), 0, b"", 0
    for event in events:
        session, origin, seq, hook, version, perf_ns, wall_ns, payload = _as_tuple(event)
        if origin != name or session != session_id:
            head.events, head.link = count, last
            session_id, name = session, origin
            head = head_of(session, origin)
            number, last, count = head.id, head.link, head.events
        last = digest(last + pack((seq, hook, version, perf_ns, wall_ns, payload))).digest()
        count += 1
        yield number, seq, hook, version, perf_ns, wall_ns, payload, last
    head.events, head.link = count, last


def seal(origins: Iterable[Origin]) -> str:
    """Digest (hex) of a session: the number of events and the last link of each origin."""
    return sha256(_pack([("turnlog seal", 1), *sorted(origins)])).hexdigest()
