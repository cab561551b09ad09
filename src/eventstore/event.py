"""What an event is, and the one order in which a session's events are read.

An event is one hook call. Its identity is ``(session_id, origin, seq)``: the recorder counts, so the order inside an
origin is the recorder's and never that of arrival. Several origins (a process that restarted, a second worker) are
merged by time, see `merge`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import msgspec

from eventstore.errors import IdentityConflict


class Event(msgspec.Struct, frozen=True, gc=False):
    """One recorded hook call.

    ``gc=False``: an event holds only strings and integers, and a million of them must not slow the collector.
    """

    session_id: str
    origin: str
    """Which recorder: a process that restarts is a new origin with a new monotonic clock."""
    seq: int
    """Counts the calls of one origin, from 0, without gaps."""
    hook: str
    """Name in the vocabulary; hooks of the traces manager are prefixed, as in ``traces.agent_say_called``."""
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

    An event's time is the wall clock at its origin's first event plus that origin's monotonic clock since, so a wall
    clock that is stepped in mid-call reorders nothing. Ties go by origin, then ``seq``. Inside an origin ``seq`` alone
    orders, even if its clock ran backwards.
    """
    return (event for _key, event in heapq.merge(*map(_timed, origins)))


def _timed(stream: Iterable[Event]) -> Iterator[tuple[tuple[int, str, int], Event]]:
    offset = None
    for event in stream:
        if offset is None:
            offset = event.wall_ns - event.perf_ns
        yield (event.perf_ns + offset, event.origin, event.seq), event


def canonical(events: Iterable[Event]) -> list[Event]:
    """Put the events of one session, in any order and however often repeated, into the canonical order.

    This is the order of `Store.read`; it is for events that did not come from there.
    Raises `IdentityConflict` if two events share an identity but not their content.
    """
    origins: dict[str, dict[int, Event]] = {}
    for event in events:
        kept = origins.setdefault(event.origin, {}).setdefault(event.seq, event)
        if kept != event:
            raise IdentityConflict(conflict_message(kept, event))
    return list(merge([s[n] for n in sorted(s)] for _origin, s in sorted(origins.items())))


def conflict_message(stored: Event, offered: Event) -> str:
    """The line that names both events of an identity conflict."""
    return (
        f"event {offered.seq} of origin {offered.origin!r} in session {offered.session_id!r} is already stored with "
        f"other content: stored {_content(stored)}, offered {_content(offered)}"
    )


def _content(event: Event) -> str:
    payload = event.payload if len(event.payload) <= 120 else event.payload[:117] + "…"
    return f"{event.hook} v{event.version} perf_ns={event.perf_ns} wall_ns={event.wall_ns} {payload}"
