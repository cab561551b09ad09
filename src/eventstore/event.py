"""The `Event` record and the canonical order of a session's events.

An event is one hook call, identified by ``(session_id, origin, seq)``. The recorder assigns ``seq``, so the order
within an origin never depends on arrival. Several origins (a restarted process, a second worker) are merged by time,
see `merge`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import msgspec

from eventstore.errors import IdentityConflict


class Event(msgspec.Struct, frozen=True, gc=False):
    """One recorded hook call.

    ``gc=False``: an event holds only strings and integers, and a million of them must not slow garbage collection.
    """

    session_id: str
    origin: str
    """Identifies the recorder. A restarted process is a new origin with a new monotonic clock."""
    seq: int
    """Number of the call within its origin: from 0, without gaps."""
    hook: str
    """Name in the vocabulary; hooks of the traces manager have a prefix: ``traces.agent_say_called``."""
    version: int
    """Schema version of `payload`, see `eventstore.codec`."""
    perf_ns: int
    """``time.perf_counter_ns()`` when the hook was called."""
    wall_ns: int
    """``time.time_ns()`` when the hook was called."""
    payload: str
    """The arguments as a JSON object."""

    @property
    def identity(self) -> tuple[str, str, int]:
        return self.session_id, self.origin, self.seq


def merge(origins: Iterable[Iterable[Event]]) -> Iterator[Event]:
    """Merge the streams of a session's origins, each already in ``seq`` order, into the canonical order.

    An event's time is the wall clock at its origin's first event plus the origin's monotonic time since then, so a wall
    clock step in mid-call reorders nothing. Ties are broken by origin, then ``seq``. Within an origin only ``seq``
    counts, even if its clock ran backwards.
    """
    return (event for _key, event in heapq.merge(*map(_timed, origins)))


def _timed(stream: Iterable[Event]) -> Iterator[tuple[tuple[int, str, int], Event]]:
    offset = None
    for event in stream:
        if offset is None:
            offset = event.wall_ns - event.perf_ns
        yield (event.perf_ns + offset, event.origin, event.seq), event


def canonical(events: Iterable[Event]) -> list[Event]:
    """Sort one session's events into canonical order, dropping duplicates.

    `Store.read` returns this order already; use this for events from elsewhere.
    Raises `IdentityConflict` if two events share an identity but not their content.
    """
    origins: dict[str, dict[int, Event]] = {}
    for event in events:
        kept = origins.setdefault(event.origin, {}).setdefault(event.seq, event)
        if kept != event:
            raise IdentityConflict(conflict_message(kept, event))
    return list(merge([s[n] for n in sorted(s)] for _origin, s in sorted(origins.items())))


def conflict_message(stored: Event, offered: Event) -> str:
    """Error message for an identity conflict, showing both events."""
    return (
        f"event {offered.seq} of origin {offered.origin!r} in session {offered.session_id!r} is already stored with "
        f"different content: stored {_content(stored)}, offered {_content(offered)}"
    )


def _content(event: Event) -> str:
    payload = event.payload if len(event.payload) <= 120 else event.payload[:117] + "…"
    return f"{event.hook} v{event.version} perf_ns={event.perf_ns} wall_ns={event.wall_ns} {payload}"
