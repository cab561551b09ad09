"""The hash chain: what shows that an event was changed, removed, inserted or moved after it was stored.

Each origin of a session has a chain of its own, in the order in which the store took its events. An event's *link* is
SHA-256 over the link before it and the event's own fields, as MessagePack (which has one shortest form for each integer
and string)::

    link = SHA-256(previous link ‖ msgpack([seq, hook, version, perf_ns, wall_ns, payload]))

and an origin's first link follows `genesis`. The store keeps each origin's last link and the number of its events, so
that a missing end is seen too. What a forger with all rights can still do is to build a whole chain anew; a `seal` kept
elsewhere shows that.
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
"""``origin_id, seq, hook, version, perf_ns, wall_ns, payload, link``: an event as the databases keep it."""


class Origin(NamedTuple):
    """One recorder's part of a session: how much of it is stored, and where its chain ends."""

    session_id: str
    origin: str
    events: int
    link: bytes


class Linked(NamedTuple):
    """An event as it is stored, content sealed if it was sealed, with its link."""

    event: Event
    link: bytes


class ChainHead(msgspec.Struct):
    """Where the next event of an origin is linked on. ``id`` is the origin's in its database."""

    id: int
    events: int
    link: bytes


def genesis(session_id: str, origin: str) -> bytes:
    """What an origin's first event is linked to."""
    return sha256(_pack(("turnlog", 1, session_id, origin))).digest()


def link(previous: bytes, event: Event) -> bytes:
    return sha256(previous + _pack(_as_tuple(event)[2:])).digest()


def extend(events: Iterable[Event], head_of: Callable[[str, str], ChainHead]) -> Iterator[Row]:
    """Link the events on to their origins' heads, which have moved along when all rows are taken.

    One row at a time, so that a database can be at work on the first while the next are made.
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
    """A digest (hex) of all that a session's origins hold: how many events, and where each chain ends."""
    return sha256(_pack([("turnlog seal", 1), *sorted(origins)])).hexdigest()
