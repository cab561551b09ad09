"""Verification of a session's hash chains, with a diagnosis where one breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec

from eventstore.errors import StoreError, StoreUnavailable
from eventstore.event import Event
from eventstore.integrity.audit import audit
from eventstore.integrity.gaps import Gap, Seqs
from eventstore.stores.base import Store
from eventstore.stores.chain import Linked, Origin, genesis, link

_STEP = 1000
_TYPES = [int, str, int, int, int, str]
"""Types of an event's fields, from ``seq`` on."""
Kind = Literal[
    "changed", "removed", "inserted", "reordered", "duplicated", "malformed", "head", "hidden", "orphaned",
    "unreadable", "schema", "damaged", "tombstone", "key", "unlocked", "row",
]  # fmt: skip


class Fault(NamedTuple):
    """A violation of integrity: something that neither a recorder nor retention wrote."""

    session_id: str | None
    """None if the fault concerns the whole log."""
    origin: str | None
    seq: int | None
    """Seq of the first event at which a chain breaks, or of the first missing one."""
    kind: Kind
    message: str


class SessionReport(NamedTuple):
    faults: list[Fault]
    gaps: list[Gap]
    """Calls that were lost before they were stored. These are not faults."""


def verify(store: Store, session_id: str, advance: Callable[[int], object] = lambda events: None) -> list[Fault]:
    """The first fault of each of the session's origins; empty if all chains are valid.

    ``followed`` gets the number of events verified since its last call. Raises `StoreUnavailable`.
    """
    return check_session(store, session_id, advance).faults


def check_session(
    store: Store, session_id: str, advance: Callable[[int], object] = lambda events: None
) -> SessionReport:
    """`verify`, which also reports gaps in ``seq``."""
    report = SessionReport([], [])
    try:
        for origin, stored in store.chains(session_id):
            _check_origin(store, origin, stored, advance, report)
        report.faults.extend(_check_empty_origins(store, session_id))
    except StoreUnavailable:
        raise
    except StoreError as error:
        message = f"session {session_id!r} cannot be read: {error}"
        report.faults.append(Fault(session_id, None, None, "unreadable", message))
    return report


def link_at(store: Store, session_id: str, origin: str, events: int) -> bytes | None:
    """The stored link of an origin's event number ``events`` (from 1); None if it has fewer events."""
    for found, stored in store.chains(session_id):
        if found.origin == origin:
            for number, (_event, at) in enumerate(stored, 1):
                if number == events:
                    return at
    return None


class _Break(NamedTuple):
    """The first event whose link does not match its predecessor."""

    at: int
    """Index of the event, from 0."""
    event: Event
    link: bytes
    last: bytes
    """Link of its predecessor."""
    before: int | None
    """Seq of its predecessor."""


def _check_origin(
    store: Store, origin: Origin, stored: Iterable[Linked], advance: Callable[[int], object], report: SessionReport
) -> None:
    last, count, before, seqs = genesis(origin.session_id, origin.origin), 0, None, Seqs()
    at_head = last if origin.events == 0 else None
    fault = None
    try:
        for event, found in stored:
            if link(last, event) != found:
                fault = _explain(store, origin, _Break(count, event, found, last, before))
                break
            wrong = _check_event(origin, event, seqs)
            fault = fault or wrong
            last, count, before = found, count + 1, event.seq
            if count == origin.events:
                at_head = last
            if count % _STEP == 0:
                advance(_STEP)
        else:
            fault = fault or _check_end(origin, count, before, last, at_head)
            report.gaps.extend(Gap(origin.session_id, origin.origin, *gap) for gap in seqs.gaps())
    except StoreUnavailable:
        raise
    except StoreError as error:
        where = "from its first event on" if before is None else f"behind event {before}"
        fault = _fault(origin, None, "unreadable", f"cannot be read {where}: {error}")
    advance(count % _STEP)
    if fault is not None:
        report.faults.append(fault)


def _check_event(origin: Origin, event: Event, seqs: Seqs) -> Fault | None:
    """A fault if no recorder writes such an event, even if its link is valid."""
    if (types := _unexpected_types(event)) or event.seq < 0:
        return _fault(origin, None, "malformed", f"event {event.seq!r} was not written by a recorder{types}")
    if not seqs.add(event.seq):
        return _fault(origin, event.seq, "duplicated", f"event {event.seq} is stored twice")
    return None


def _check_end(origin: Origin, count: int, seq: int | None, last: bytes, at_head: bytes | None) -> Fault | None:
    """A fault if a valid chain does not end where the origin's row says."""
    if (count, last) == (origin.events, origin.link):
        return None
    if type(origin.events) is not int or not isinstance(origin.link, bytes):
        return _fault(origin, None, "malformed", f"its row says {origin.events!r} events, and a link {origin.link!r}")
    if count < origin.events:
        after = "all of them" if seq is None else f"after event {seq}"
        missing = f"{origin.events - count} of {origin.events} events were removed from the end, {after}"
        return _fault(origin, 0 if seq is None else seq + 1, "removed", missing)
    if count > origin.events and at_head == origin.link:
        more = f"{count - origin.events} more than the {origin.events} events where its row says that it ends"
        return _fault(origin, seq, "head", f"the chain has {more}: the head was moved back")
    return _fault(origin, seq or 0, "changed", f"the chain ends at event {seq} with another link than was recorded")


def _explain(store: Store, origin: Origin, broken: _Break) -> Fault:
    """Diagnose a break, by reading the origin's chain again."""
    for again, stored in store.chains(origin.session_id):
        if again.origin == origin.origin:
            return _classify(again, stored, broken)
    return _fault(origin, None, "changed", f"event {broken.event.seq!r} did not follow {_place(broken)}")


def _classify(origin: Origin, stored: Iterable[Linked], broken: _Break) -> Fault:
    event, before = broken.event, _place(broken)
    if types := _unexpected_types(event):
        return _fault(origin, None, "changed", f"event {event.seq!r} is not what was stored after {before}{types}")
    surroundings = _Surroundings(origin, stored, broken)
    if surroundings.follows is not None and surroundings.follows > broken.at:
        place = f"it is after {before}, and was after event {surroundings.seq_followed}"
        return _fault(origin, event.seq, "reordered", f"event {event.seq} was moved: {place}")
    if surroundings.follows is not None:
        first = surroundings.seq_following
        return _fault(origin, first, "inserted", f"event {first} was inserted before event {event.seq}")
    if broken.at == origin.events and broken.last == origin.link:
        return _fault(origin, event.seq, "inserted", f"event {event.seq} was inserted at the end")
    if surroundings.next_follows_last:
        return _fault(origin, event.seq, "inserted", f"event {event.seq} was inserted after {before}")
    gone = list(surroundings.missing(0 if broken.before is None else broken.before + 1, event.seq))
    if gone and type(origin.events) is int and surroundings.count < origin.events:
        first, last = gone[0][0], gone[-1][1]
        which = f"event {first} was" if first == last else f"events {first} to {last} were"
        return _fault(origin, first, "removed", f"{which} removed before event {event.seq}")
    return _fault(
        origin, event.seq, "changed", f"event {event.seq} ({event.hook}) is not what was stored after {before}"
    )


class _Surroundings:
    """Evidence from the rest of the chain about the event at which it breaks."""

    def __init__(self, origin: Origin, stored: Iterable[Linked], broken: _Break) -> None:
        self.count = 0
        self.follows: int | None = None
        """Index at which the event's link would be valid, if any."""
        self.seq_followed: object = None
        self.seq_following: int | None = None
        self.next_follows_last = False
        self._seqs = Seqs()
        last: object = genesis(origin.session_id, origin.origin)
        seq: object = None
        for event, found in stored:
            if self._would_follow(last, broken):
                self.follows, self.seq_followed = self.count, seq
                self.seq_following = event.seq if type(event.seq) is int else None
            if self.count == broken.at + 1:
                self.next_follows_last = link(broken.last, event) == found
            if type(event.seq) is int:
                self._seqs.add(event.seq)
            self.count += 1
            last, seq = found, event.seq
        if self._would_follow(last, broken):
            self.follows, self.seq_followed = self.count, seq

    def _would_follow(self, last: object, broken: _Break) -> bool:
        free = self.follows is None and self.count != broken.at
        return free and isinstance(last, bytes) and link(last, broken.event) == broken.link

    def missing(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The gaps in ``seq`` from ``start`` up to, excluding, ``end``."""
        for first, last in self._seqs.gaps():
            if last >= start and first < end:
                yield max(first, start), min(last, end - 1)


def _check_empty_origins(store: Store, session_id: str) -> Iterator[Fault]:
    """Faults of origins whose row says 0 events, so that readers skip them."""
    log = audit(store)
    for head, rows in log.empty_heads(session_id) if log is not None else ():
        origin = Origin(session_id, head.origin, head.events, head.link)
        if head.events < 0 or rows:
            message = f"its row says {head.events} events, so that readers skip the {rows} that are stored"
            yield _fault(origin, None, "hidden", message)
        elif head.link != genesis(session_id, head.origin):
            yield _fault(origin, 0, "removed", "its row says 0 events, but has the link of an event that is missing")


def _unexpected_types(event: Event) -> str:
    """Describes fields whose type no recorder writes; empty if there are none."""
    fields = msgspec.structs.astuple(event)[2:]
    if list(map(type, fields)) == _TYPES:
        return ""
    names = event.__struct_fields__[2:]
    odd = [
        f"{name} is {type(value).__name__}"
        for name, value, kind in zip(names, fields, _TYPES, strict=True)
        if type(value) is not kind
    ]
    return f" ({', '.join(odd)})"


def _place(broken: _Break) -> str:
    return "the beginning" if broken.before is None else f"event {broken.before}"


def _fault(origin: Origin, seq: int | None, kind: Kind, what: str) -> Fault:
    place = f"session {origin.session_id!r}, origin {origin.origin!r}"
    return Fault(origin.session_id, origin.origin, seq, kind, f"{place}: {what}")
