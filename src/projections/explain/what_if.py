"""Counterfactuals: how a value changes if an event is removed or moved, found by folding changed logs.

An event is removed, or moved earlier or later by a given time: its clocks are shifted, and it is reordered with its
neighbours accordingly. Nothing else changes, neither times in arguments nor any other event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from eventstore.codec import read_payload
from eventstore.event import Event
from eventstore.hooks.arguments import HAPPENED
from projections.caller import RULES, Reading
from projections.explain.explanation import EventReference, namer, offsets_of
from projections.explain.paths import UnknownPath, parse
from projections.explain.stretch import call_stretch, reading_stretch
from projections.readings import reading
from projections.reference.rules import Rules

How = Literal["removed", "earlier", "later"]
HOW: tuple[How, ...] = ("removed", "earlier", "later")
BY_MS = 50.0


class Outcome(NamedTuple):
    """A change of an event that changes the value."""

    event: EventReference
    how: How
    value: Any
    gone: bool
    """The value no longer exists: its turn, or a part of that, is missing."""


class WhatIf(NamedTuple):
    """The changes that affect a value, among those tried."""

    path: str
    value: Any
    rules: str
    by_ms: float
    first: int
    """Index of the first event tried."""
    tried: int
    """Number of consecutive events tried, each in all three ways."""
    outcomes: list[Outcome]


def what_if(
    events: Sequence[Event],
    path: str,
    rules: str | Rules = RULES,
    *,
    by_ms: float = BY_MS,
    step: Callable[[int, int], None] = lambda done, of: None,
) -> WhatIf:
    """Find the events that change the value at ``path`` if removed, or moved by ``by_ms`` milliseconds.

    Tries all events of a session of up to 400, and in a longer one those of the turn and of some turns around it.
    ``step`` is called after each, with the number tried and the total. Raises `UnknownPath`, and the reading's errors.
    """
    where, r = parse(path), reading(events, rules)
    stretch = reading_stretch(r, where, events) if isinstance(r, Reading) else call_stretch(r, where, events)
    value, offsets = stretch.value(stretch.events), offsets_of(events)
    name, outcomes = namer(events, offsets), list[Outcome]()
    for number in range(len(stretch.events)):
        for how in HOW:
            made = apply_change(stretch.events, number, how, round(by_ms * 1e6), offsets)
            try:
                other, gone = stretch.value(made), False
            except UnknownPath:
                other, gone = None, True
            if gone or other != value or type(other) is not type(value):
                outcomes.append(Outcome(name(stretch.first + number), how, other, gone))
        step(number + 1, len(stretch.events))
    return WhatIf(str(where), value, r.rules, by_ms, stretch.first, len(stretch.events), outcomes)


def apply_change(events: Sequence[Event], at: int, how: How, by_ns: int, offsets: dict[str, int]) -> list[Event]:
    """The events with one removed or moved; ``offsets`` as `offsets_of` returns them."""
    made = [*events[:at], *events[at + 1 :]]
    if how == "removed":
        return made
    event = _shift(events[at], by_ns if how == "later" else -by_ns)

    def time(other: Event) -> int:
        return other.perf_ns + offsets[other.origin]

    to = at
    while how == "later" and to < len(made) and time(made[to]) < time(event):
        to += 1
    while how == "earlier" and to > 0 and time(made[to - 1]) > time(event):
        to -= 1
    made.insert(to, event)
    low, high = min(at, to), max(at, to) + 1
    seqs = iter(sorted(other.seq for other in made[low:high] if other.origin == event.origin))
    made[low:high] = [
        msgspec.structs.replace(other, seq=next(seqs)) if other.origin == event.origin else other
        for other in made[low:high]
    ]
    return made


def _shift(event: Event, by_ns: int) -> Event:
    payload = event.payload
    if payload.startswith('{"$'):
        args = read_payload(payload)
        if isinstance(args.get(HAPPENED), int):
            payload = msgspec.json.encode(args | {HAPPENED: args[HAPPENED] + by_ns}).decode()
    return msgspec.structs.replace(event, perf_ns=event.perf_ns + by_ns, wall_ns=event.wall_ns + by_ns, payload=payload)
