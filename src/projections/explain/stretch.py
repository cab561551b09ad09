"""Stretches of a session that can be folded again with changed events, from a snapshot of the state before.

A short session is one stretch. In a long one it is the turn in question and some turns around it: enough to give the
same value as the whole session, which is checked.
"""

from __future__ import annotations

import copy
import pickle
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from eventstore.event import Event
from projections.caller import Reading, session_dict
from projections.explain.paths import Path, UnknownPath, walk
from projections.explain.provenance import barge_ins_at, item, turn_at
from projections.reference import rules as rule_sets
from projections.reference.fold import begin, fold
from projections.reference.metrics import turn_dict
from projections.reference.replay import Call, call_dict, call_of
from projections.reference.state import State
from projections.timeline import Timeline, extend, timeline
from projections.turns.exchange import Exchange

WHOLE = 400
"""Maximum number of events of a session that is one stretch."""
MODERATE = 2000
"""Maximum number of events of a session that is folded from its beginning."""
BEFORE = 8
"""For a longer one, the fold begins this many times `AROUND` turns before."""
AROUND = 2
"""Number of turns before and after the one in question."""
KEPT = 64
"""Number of runs, tool calls and finished turns that later events can still change."""


class Stretch(NamedTuple):
    """Consecutive events, and the value at a path as a function of them."""

    first: int
    """Index of its first event."""
    events: Sequence[Event]
    value: Callable[[Sequence[Event]], Any]
    """The value at the path if the stretch had these events. Raises `UnknownPath` if there is none."""


# the caller's reading ----------------------------------------------------------------------------------------------


def reading_stretch(r: Reading, path: Path, events: Sequence[Event]) -> Stretch:
    """The stretch around the path's value. Raises `UnknownPath`."""
    value = value_in(r, path)
    for since, first, last in _around(r, path, len(events)):
        start = _without_finished(timeline(islice(events, since))) if since else Timeline()
        before = pickle.dumps(extend(start, events[since:first]))
        for here in _same_item(Reading(extend(pickle.loads(before), events[first:last])), r, path):  # noqa: S301 - a copy of our own state, never from outside
            found = _stretch_of_reading(before, here, first, events[first:last])
            if found.value(found.events) == value:
                return found
    return _stretch_of_reading(pickle.dumps(Timeline()), path, 0, events)


def _stretch_of_reading(before: bytes, path: Path, first: int, events: Sequence[Event]) -> Stretch:
    def value(changed: Sequence[Event]) -> Any:
        return value_in(Reading(extend(pickle.loads(before), changed)), path)  # noqa: S301 - a copy of our own state, never from outside

    return Stretch(first, events, value)


def value_in(r: Reading, path: Path) -> Any:
    """The value at the path. Raises `UnknownPath`."""
    if path.root == "turns":
        x = item(path, r.exchanges, "turns")
        return walk(turn_at(r, path, x, r.response_of(x), barge_ins_at(r, path)), path)[0]
    if path.root == "session":
        return walk(session_dict(r.timeline), path)[0]
    return walk(item(path, {"discarded": r.discarded, "outside": r.outside}.get(path.root, []), path.root), path)[0]


def _around(r: Reading, path: Path, length: int) -> Iterator[tuple[int, int, int]]:
    """Candidate stretches, from narrow to wide: start of the fold, first event, and end (exclusive), as indices.

    The fold starts some turns earlier, as activities that are still open matter; for a session of moderate length, at
    its beginning.
    """
    if length <= WHOLE or path.index is None:
        return
    opened = [x.at for x in r.exchanges]
    middle = path.index
    if path.root != "turns":
        middle = bisect_right(opened, getattr(r, path.root)[path.index]["at"]) - 1
    around = AROUND
    while around < len(opened):
        first = _first_event(r.exchanges[max(0, middle - around)])
        last = opened[middle + around + 1] if middle + around + 1 < len(opened) else length
        since = 0 if length <= MODERATE else _first_event(r.exchanges[max(0, middle - BEFORE * around)])
        if since <= first < last and last - first < length:
            yield since, first, last
        around *= 4


def _first_event(x: Exchange) -> int:
    return min([x.at, *(min(part.events()) for part in (*x.voices, *x.parts))])


def _without_finished(t: Timeline) -> Timeline:
    """The state without finished activities; times and indices continue."""
    short: dict[str, Any] = {name: dict(list(getattr(t, name).items())[-KEPT:]) for name in ("runs", "calls")}
    empty: dict[str, Any] = {name: [] for name in ("activities", "steps", "ignored", "notes", "unreported")}
    return replace(t, messages={}, **empty, **short)


def _same_item(here: Reading, r: Reading, path: Path) -> Iterator[Path]:
    """Paths to the same item in the reading of a stretch."""
    if path.root == "turns":
        at = r.exchanges[path.index or 0].at
        found = [number for number, x in enumerate(here.exchanges) if x.at == at]
    else:
        entry = getattr(r, path.root)[path.index]
        there = getattr(here, path.root)
        found = [n for n, other in enumerate(there) if (other["kind"], other["at"]) == (entry["kind"], entry["at"])]
    return (msgspec.structs.replace(path, index=number) for number in found)


# the framework's reading -------------------------------------------------------------------------------------------


def call_stretch(call: Call, path: Path, events: Sequence[Event]) -> Stretch:
    """The stretch around the path's value. Raises `UnknownPath`."""
    value = value_of(call, path)
    start, rules = begin(rule_sets.find_rules(call.rules), spans=False, signals=False), call.rules
    done, index = call.payloads_at, path.index
    if len(events) > WHOLE and path.root in ("turns", "discarded") and index is not None:
        middle = index if path.root == "turns" else bisect_left(done, call.discarded[index].at)
        first = done[middle - AROUND - 1] + 1 if middle > AROUND else 0
        last = done[middle + AROUND] + 1 if middle + AROUND < len(done) else len(events)
        before = fold(begin(rule_sets.find_rules(rules), spans=False, signals=False), events[:first])
        found = _stretch_of_call(before, path, first, events[first:last])
        if found.value(found.events) == value:
            return found
    return _stretch_of_call(start, path, 0, events)


def _stretch_of_call(before: State, path: Path, first: int, events: Sequence[Event]) -> Stretch:
    def value(changed: Sequence[Event]) -> Any:
        return value_of(call_of(fold(_copy_state(before), changed)), path)

    return Stretch(first, events, value)


def _copy_state(s: State) -> State:
    """A deep copy that shares what no later event changes."""
    shared: dict[int, Any] = {id(s.rules): s.rules}
    for field in fields(s):
        value = getattr(s, field.name)
        if isinstance(value, list):
            shared |= {id(one): one for one in value[:-KEPT]}
    return copy.deepcopy(s, shared)


def value_of(call: Call, path: Path) -> Any:
    """The value at the path of the framework's JSON. Raises `UnknownPath`."""
    if path.root == "turns":
        return walk(turn_dict(item(path, call.turns, "turns"), call.session), path)[0]
    if path.root == "discarded":
        found = item(path, call.discarded, "discarded turns")
        return walk(found._asdict() | {"turn": turn_dict(found.turn, call.session)}, path)[0]
    plain = call_dict(call)
    if path.root not in plain:
        raise UnknownPath(f"there is no {path.item!r}; a path begins with turns[0], discarded[0], payloads[0] …")
    there = plain[path.root]
    if isinstance(there, list):
        there = item(path, there, path.root)
    return walk(there, path)[0]
