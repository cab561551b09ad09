"""The fold: events in canonical order in, activities out. Pure, and one event at a time (laws 2 and 3)."""

from __future__ import annotations

from collections.abc import Iterable

from eventstore.codec import clocks, decode, read_payload
from eventstore.errors import NotCanonical
from eventstore.event import Event
from projections.timeline import handlers as _handlers  # noqa: F401 - they enter themselves in the table
from projections.timeline.state import Timeline
from projections.timeline.table import HANDLERS, complete

complete()


def timeline(events: Iterable[Event]) -> Timeline:
    """What ran when, in the session whose events these are. Raises what `extend` does."""
    return extend(Timeline(), events)


def extend(t: Timeline, events: Iterable[Event]) -> Timeline:
    """Advance ``t`` by more events of its session, and return it.

    Raises `NotCanonical` if they are out of order, `UnknownHook` or `NewerEvent` for what only a newer turnlog can read.
    """
    find = HANDLERS.get
    for event in events:
        if event.origin != t.origin:
            _change_origin(t, event)
        if event.seq <= t.last_seq:
            raise NotCanonical(
                f"event {event.seq} of origin {event.origin!r} in session {event.session_id!r} comes after event "
                f"{t.last_seq}: read events with store.read(), or sort them with canonical()"
            )
        t.last_seq = event.seq
        t.at += 1
        payload = event.payload
        now, t.wall_ns = clocks(event) if payload.startswith('{"$') else (event.perf_ns, event.wall_ns)
        t.now = now = now + t.offset
        if t.at == 0:
            t.began = t.last = now
        elif now > t.last:
            t.last = now
        bare, with_args, version = find(event.hook, _UNKNOWN)
        if event.version != version:
            args = decode(event)  # an older version, or what only a newer turnlog knows: then it raises
            if with_args is not None:
                with_args(t, now, args)
            elif bare is not None:
                bare(t, now)
        elif bare is not None:
            bare(t, now)
        elif with_args is not None:
            args = read_payload(payload)
            if isinstance(args, dict):
                with_args(t, now, args)
            else:
                t.ignore("the arguments are not an object")
    return t


_UNKNOWN = None, None, 0


def _change_origin(t: Timeline, event: Event) -> None:
    """Another recorder goes on with the session: its monotonic clock is laid beside the first one's by the wall clocks."""
    if t.at < 0:
        t.session_id = event.session_id
        t.wall_shift = event.wall_ns - event.perf_ns
        t.session.session_start_time = event.wall_ns / 1e9
    elif event.session_id != t.session_id:
        raise NotCanonical(
            f"events of two sessions, {t.session_id!r} and {event.session_id!r}, in one replay: replay each by itself"
        )
    if t.origin is not None:
        t.seqs[t.origin] = t.last_seq
    t.origin = event.origin
    t.last_seq = t.seqs.get(event.origin, -1)
    t.offset = t.offsets.setdefault(event.origin, event.wall_ns - event.perf_ns - t.wall_shift)
