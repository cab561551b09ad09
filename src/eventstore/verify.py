"""Following the hash chains of a session, and saying what happened where one breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from eventstore.chain import Linked, Origin, genesis, link
from eventstore.store import Store

_STEP = 1000
Kind = Literal["changed", "removed", "inserted", "reordered"]


class Fault(NamedTuple):
    """The first event at which an origin's chain does not hold."""

    session_id: str
    origin: str
    seq: int
    """Of that event; of the first missing one, if it was removed."""
    kind: Kind
    message: str


def verify(store: Store, session_id: str, followed: Callable[[int], object] = lambda events: None) -> list[Fault]:
    """The first fault of each of the session's origins; none if every chain holds.

    ``followed`` is told how many events were followed since the last time.
    """
    faults = []
    for origin, stored in store.chains(session_id):
        if not _holds(origin, stored, followed):
            # the chain breaks; what happened only shows with all of it in hand
            whole = next(list(again) for found, again in store.chains(session_id) if found.origin == origin.origin)
            faults.append(_explain(origin, whole))
    return faults


def link_at(store: Store, session_id: str, origin: str, events: int) -> bytes | None:
    """The link of an origin's n-th event, as the store has it; None if it has fewer."""
    for found, stored in store.chains(session_id):
        if found.origin == origin:
            for number, (_event, at) in enumerate(stored, 1):
                if number == events:
                    return at
    return None


def _holds(origin: Origin, stored: Iterable[Linked], followed: Callable[[int], object]) -> bool:
    last, count = genesis(origin.session_id, origin.origin), 0
    for event, found in stored:
        if link(last, event) != found:
            return False
        last, count = found, count + 1
        if count % _STEP == 0:
            followed(_STEP)
    followed(count % _STEP)
    return (count, last) == (origin.events, origin.link)


def _explain(origin: Origin, stored: list[Linked]) -> Fault:
    """What happened at the first place where the chain does not hold."""
    last = genesis(origin.session_id, origin.origin)
    for at, (event, found) in enumerate(stored):
        if link(last, event) != found:
            return _broken(origin, stored, at, last)
        last = found
    after = f"after event {stored[-1].event.seq}" if stored else "all of them"
    if len(stored) < origin.events:
        seq = max((event.seq for event, _link in stored), default=-1) + 1
        missing = origin.events - len(stored)
        return _fault(origin, seq, "removed", f"{missing} of {origin.events} events were removed from the end, {after}")
    extra = stored[origin.events] if len(stored) > origin.events else None
    if extra is not None and origin.events and stored[origin.events - 1].link == origin.link:
        return _fault(origin, extra.event.seq, "inserted", f"event {extra.event.seq} was inserted at the end")
    seq = stored[-1].event.seq if stored else 0
    return _fault(origin, seq, "changed", f"the chain ends at event {seq} with another link than was recorded")


def _broken(origin: Origin, stored: list[Linked], at: int, last: bytes) -> Fault:
    """The event ``at`` does not follow the one before it, whose link is ``last``."""
    event, found = stored[at]
    before = f"event {stored[at - 1].event.seq}" if at else "the beginning"
    links = [genesis(origin.session_id, origin.origin), *(linked.link for linked in stored)]  # links[n] precedes n
    follows = next((n for n, other in enumerate(links) if n != at and link(other, event) == found), None)
    if follows is not None and follows > at:
        place = f"it stands after {before}, and followed event {stored[follows - 1].event.seq}"
        return _fault(origin, event.seq, "reordered", f"event {event.seq} was moved: {place}")
    if follows is not None:
        first = stored[follows].event.seq
        return _fault(origin, first, "inserted", f"event {first} was inserted before event {event.seq}")
    if at == origin.events and last == origin.link:
        return _fault(origin, event.seq, "inserted", f"event {event.seq} was inserted at the end")
    if at + 1 < len(stored) and link(last, stored[at + 1].event) == stored[at + 1].link:
        return _fault(origin, event.seq, "inserted", f"event {event.seq} was inserted after {before}")
    seqs = {linked.event.seq for linked in stored}
    start = stored[at - 1].event.seq + 1 if at else 0
    gone = [seq for seq in range(start, min(event.seq, start + 1_000_000)) if seq not in seqs]
    if gone and len(stored) < origin.events:
        which = f"event {gone[0]} was" if len(gone) == 1 else f"events {gone[0]} to {gone[-1]} were"
        return _fault(origin, gone[0], "removed", f"{which} removed before event {event.seq}")
    return _fault(
        origin, event.seq, "changed", f"event {event.seq} ({event.hook}) is not what was stored after {before}"
    )


def _fault(origin: Origin, seq: int, kind: Kind, what: str) -> Fault:
    place = f"session {origin.session_id!r}, origin {origin.origin!r}"
    return Fault(origin.session_id, origin.origin, seq, kind, f"{place}: {what}")
