"""The fold from events in canonical order to activities. Pure, and one event at a time (laws 2 and 3)."""

from __future__ import annotations

from collections.abc import Iterable

from eventstore.codec import MARKED_BELOW, clocks, decode, read_payload
from eventstore.errors import NotCanonical
from eventstore.event import Event
from projections.timeline import handlers as _handlers  # noqa: F401 - importing registers them
from projections.timeline.registry import HANDLERS, register_remaining
from projections.timeline.state import Timeline

register_remaining()


def timeline(events: Iterable[Event]) -> Timeline:
    """The timeline of a session's events. Raises the same errors as `extend`."""
    return extend(Timeline(), events)


def extend(t: Timeline, events: Iterable[Event]) -> Timeline:
    """Extend ``t`` by further events of its session, and return it.

    Raises `NotCanonical` if they are out of order, `UnknownHook` or `NewerEvent` if only a newer turnlog can read them.
    """
    find = HANDLERS.get
    origin, last_seq, offset, last, at = t.origin, t.last_seq, t.offset, t.last, t.at
    try:
        for event in events:
            if event.origin != origin:
                t.last_seq, t.at = last_seq, at
                _change_origin(t, event)
                origin, last_seq, offset = t.origin, t.last_seq, t.offset
            seq, payload = event.seq, event.payload
            if seq <= last_seq:
                raise NotCanonical(
                    f"event {seq} of origin {origin!r} in session {event.session_id!r} comes after event {last_seq}: "
                    "read events with store.read(), or sort them with canonical()"
                )
            last_seq = seq
            at += 1
            now = event.perf_ns + offset
            if payload < MARKED_BELOW:
                now = clocks(event)[0] + offset
                t.sealed += payload.startswith('{"$sealed"')
            if at == 0:
                t.began = last = now
            elif now > last:
                last = now
            handler, takes_args, version = find(event.hook, _UNKNOWN)
            if event.version != version:
                args = decode(event)  # upgrades an older version; raises for a newer one
            elif takes_args:
                args = read_payload(payload)
            if handler is None:
                continue
            t.at, t.now, t.event = at, now, event
            if not takes_args:
                handler(t, now)
            elif type(args) is dict:
                handler(t, now, args)
            else:
                t.ignore("the arguments are not an object")
    finally:
        t.last_seq, t.last, t.at = last_seq, last, at
    return t


_UNKNOWN = None, False, None  # no version, so `decode` raises


def _change_origin(t: Timeline, event: Event) -> None:
    """Switch to the events of a different recorder: wall clocks relate its monotonic clock to the first one's."""
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
