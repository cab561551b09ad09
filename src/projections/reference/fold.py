"""The fold from events to state, one event at a time.

Pure (law 2): it reads only the events and the state, and changes no event. Stopping after any event and continuing
later, on a copy or on a state read back from JSON, gives the same result (law 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from eventstore.codec import MARKED_BELOW, clocks, decode, read_payload
from eventstore.errors import NotCanonical
from eventstore.event import Event
from projections.boundary import UNREADABLE, CannotReplay
from projections.reference.handlers import HANDLERS
from projections.reference.rules import VIDEOSDK_1_0, Rules
from projections.reference.state import Raised, State


def begin(rules: Rules = VIDEOSDK_1_0, *, spans: bool = True, signals: bool = True) -> State:
    """The state before any event. Without ``spans`` or ``signals``, these are not produced, which is faster."""
    return State(rules=rules, spans_wanted=spans, signals_wanted=signals)


def fold(s: State, events: Iterable[Event]) -> State:
    """Advance ``s`` by ``events``, which are in canonical order, and return it.

    Raises `NotCanonical` if they are not, `UnknownHook` or `NewerEvent` if only a newer turnlog can read them,
    `CannotReplay` for an event that turnlog did not record.
    """
    find = HANDLERS.get
    origin, last_seq, at = s.origin, s.last_seq, s.at
    try:
        for event in events:
            if event.origin != origin:
                s.last_seq = last_seq
                _change_origin(s, event)
                origin, last_seq = s.origin, s.last_seq
            seq = event.seq
            if seq <= last_seq:
                raise NotCanonical(
                    f"event {seq} of origin {origin!r} in session {event.session_id!r} comes after event {last_seq}: "
                    "read events with store.read(), or sort them with canonical()"
                )
            handler, takes_args, version = find(event.hook, _UNKNOWN)
            payload = event.payload
            if event.version != version:
                args = decode(event)  # upgrades an older version; raises for a newer one
            elif takes_args:
                args = read_payload(payload)
            last_seq = seq
            s.at = at = at + 1
            perf_ns, s.wall_ns = event.perf_ns, event.wall_ns
            if payload < MARKED_BELOW:
                perf_ns, s.wall_ns = clocks(event)
            try:
                if takes_args:
                    handler(s, perf_ns / 1e9, args)
                else:
                    handler(s, perf_ns / 1e9)
            except REFERENCE_ERRORS as error:
                s.raised.append(Raised(at, type(error).__name__))
    except UNREADABLE as error:
        raise CannotReplay(s.session_name, f"at event {at} of the session", error) from error
    finally:
        s.last_seq = last_seq
    return s


_UNKNOWN: tuple[Callable[..., None], bool, int | None] = (print, False, None)  # no version, so `decode` raises
REFERENCE_ERRORS = (AttributeError, KeyError, TypeError, ValueError, ArithmeticError, IndexError, UnboundLocalError)
"""Errors that the reference's code raises on unexpected arguments and states."""


def _change_origin(s: State, event: Event) -> None:
    if s.at < 0:
        s.session.session_start_time = event.wall_ns / 1e9
        s.session_name = event.session_id
    elif event.session_id != s.session_name:
        raise NotCanonical(
            f"events of two sessions, {s.session_name!r} and {event.session_id!r}, in one replay: replay each by itself"
        )
    if s.origin is not None:
        s.seqs[s.origin] = s.last_seq
    s.origin = event.origin
    s.last_seq = s.seqs.get(event.origin, -1)
