"""Spans, and their ids in a trace."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from projections.model import MAX_EVENTS

ROOT = "session"


class Span(msgspec.Struct, gc=False, kw_only=True):
    """A span of the call. Times are nanoseconds since the epoch.

    ``gc=False``: it holds numbers, text and data from JSON, never a span.
    """

    id: str
    """Names the session, turn or activity; stable while the session grows."""
    parent: str | None
    kind: str
    """``session``, ``turn``, ``response``, ``note``, or an activity's kind."""
    name: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any] = {}
    """JSON values."""
    status: str = "UNSET"
    status_message: str | None = None
    events: list[dict[str, Any]] = []
    """Each with ``name``, ``attributes`` and ``time_ns``."""
    at: int = -1
    """Index of the event that began its activity; -1 if it has none."""
    turn: int | None = None
    """Number of its turn, from 1."""

    def add_event(self, name: str, attributes: dict[str, Any], time_ns: int) -> None:
        """Add an event; as in OpenTelemetry, the last `MAX_EVENTS` are kept."""
        self.events.append({"name": name, "attributes": attributes, "time_ns": time_ns})
        del self.events[:-MAX_EVENTS]


def identities(session_id: str, spans: Iterable[Span], *, by_turn: bool = False) -> dict[str, tuple[str, str]]:
    """Trace and span ids in hex, by a span's id; the same log always gives the same ids.

    The session is one trace; ``by_turn``: each turn is a trace, and so is everything outside of turns.
    """
    traces = {ROOT: _digest(16, session_id, ROOT)}
    found = {ROOT: (traces[ROOT], _digest(8, session_id, ROOT))}  # also during the call, which has no root yet
    for span in spans:
        of = (span.id if span.kind == "turn" else span.parent or ROOT) if by_turn and span.turn is not None else ROOT
        trace = traces.get(of)
        if trace is None:
            trace = traces[of] = _digest(16, session_id, of)
        found[span.id] = trace, _digest(8, session_id, span.id)
    return found


def _digest(size: int, *parts: str) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode(errors="surrogatepass"), digest_size=size).hexdigest()
