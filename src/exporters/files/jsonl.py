"""The log as JSON lines: the events as recorded, byte for byte, importable again.

A session is a heading ``{"turnlog": "session", "format": 1, "session_id": …, "events": …, "seal": …}``, then its
events, origin by origin in the order of their hash chains, each with its link. Encrypted content stays encrypted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
import orjson

from eventstore.errors import TurnlogError
from eventstore.stores.base import Store
from eventstore.stores.chain import Linked, genesis, link, seal


class BrokenChain(TurnlogError):
    """A session's hash chain is invalid, so the output would not be what was recorded."""


class SessionHeading(msgspec.Struct):
    """The first line of a session."""

    turnlog: Literal["session"]
    format: Literal[1]
    session_id: str
    events: int
    seal: str


def session_heading(store: Store, session_id: str) -> SessionHeading:
    """The heading of the session as it is stored now."""
    origins = [origin for origin, _stored in store.chains(session_id)]
    return SessionHeading("session", 1, session_id, sum(origin.events for origin in origins), seal(origins))


def lines(store: Store, heading: SessionHeading) -> Iterator[bytes]:
    """Yield the session's lines. Raises `BrokenChain` if it no longer matches the heading, or does not verify."""
    yield msgspec.json.encode(heading) + b"\n"
    origins = []
    session_id = heading.session_id
    for origin, stored in store.chains(session_id):
        origins.append(origin)
        last = genesis(session_id, origin.origin)
        for linked in stored:
            last = link(last, linked.event)
            if last != linked.link:
                raise BrokenChain(f"session {session_id!r} does not verify, see: turnlog verify {session_id}")
            yield _line(linked)
    if seal(origins) != heading.seal:
        raise BrokenChain(f"session {session_id!r} received events during the export; try again when the call is over")


def _line(linked: Linked) -> bytes:
    event = linked.event
    fields = msgspec.structs.asdict(event)
    payload = fields.pop("payload").encode()
    head = orjson.dumps({**fields, "link": linked.link.hex()})
    return head[:-1] + b',"payload":' + (payload if _embeddable(payload) else orjson.dumps(event.payload)) + b"}\n"


def _embeddable(payload: bytes) -> bool:
    """True if the payload can be embedded as JSON; otherwise it is written as a string."""
    try:
        return payload.startswith(b"{") and b"\n" not in payload and orjson.loads(payload) is not None
    except orjson.JSONDecodeError:
        return False
