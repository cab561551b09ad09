"""Explanations: a value with its activities, events and decisions, named for output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from eventstore.codec import clocks
from eventstore.event import Event
from projections.caller import Reading
from projections.explain.paths import Path
from projections.explain.provenance import SourcedTurn, find_value, sourced_turn
from projections.explain.sourced import Source, strip_sources
from projections.explain.stretch import value_of
from projections.reference.replay import Call
from projections.turns.decisions import DECISIONS
from projections.turns.exchange import Exchange


class EventReference(NamedTuple):
    """A reference to an event."""

    at: int
    """Index in the session's canonical order."""
    origin: str
    seq: int
    hook: str
    seconds: float
    """Into the call."""


class SourceField(NamedTuple):
    """A field of an activity that the value was made from."""

    kind: str
    id: str
    turn: int | None
    """Number of the activity's turn, from 1; None if it is in no turn."""
    field: str
    value: Any
    time: bool
    """The value is a time, in seconds into the call."""
    events: list[EventReference]
    """The events that set the field."""


class ResponsePartValue(NamedTuple):
    """A part of the explained response."""

    path: str
    name: str
    ms: float


class AppliedDecision(NamedTuple):
    """A decision that shaped the turn."""

    decision: str
    why: str
    event: EventReference | None


class Explanation(NamedTuple):
    path: str
    value: Any
    rules: str
    turn: int | None
    """Number of the turn, from 1; None for values outside of turns."""
    made_of: list[SourceField]
    parts: list[ResponsePartValue]
    """The parts of a response; empty for any other value."""
    decisions: list[AppliedDecision]
    note: str
    """A remark; may be empty."""


Explainer = Callable[[Path], Explanation]
"""A function that explains the value at a path. Raises `UnknownPath`."""


def explainer(r: Reading | Call, events: Sequence[Event]) -> Explainer:
    """The function that explains values of a reading of ``events``; consecutive paths into one turn share its work."""
    return _reading_explainer(r, events) if isinstance(r, Reading) else _call_explainer(r, events)


def _call_explainer(call: Call, events: Sequence[Event]) -> Explainer:
    """Explains values of the framework's reading, as far as that is possible without replaying changed logs."""
    name = namer(events, offsets_of(events))
    note = "only the caller's reading records sources; use --what-if to find the events that change the value"

    def explain(path: Path) -> Explanation:
        made, turn = [], None
        if path.root in ("turns", "payloads") and path.index is not None and path.index < len(call.payloads_at):
            turn, completed = path.index + 1, name(call.payloads_at[path.index])
            made = [SourceField("turn", "", turn, "completed", completed.seconds, True, [completed])]
        return Explanation(str(path), value_of(call, path), call.rules, turn, made, [], [], note)

    return explain


def _reading_explainer(r: Reading, events: Sequence[Event]) -> Explainer:
    name = namer(events, r.timeline.offsets)
    numbers = {id(x): number for number, x in enumerate(r.exchanges, 1)}
    homes = r.assembly.owners

    @lru_cache(maxsize=1)
    def turn_at(index: int | None) -> SourcedTurn:
        return sourced_turn(r, Path("turns", index, ()), events)

    def made(source: Source, x: Exchange | None) -> SourceField:
        activity = source.activity
        home = homes.get(activity.at) if activity is not None else x
        kind, own = ("session", "") if home is None and activity is None else ("turn", "")
        if activity is not None:
            kind, own = activity.kind, activity.id
        time = is_time(source)
        value = (source.value - r.timeline.began) / 1e9 if time else source.value
        turn = numbers.get(id(home))
        return SourceField(kind, own, turn, source.field, value, time, [name(at) for at in source.events if at >= 0])

    def explain(path: Path) -> Explanation:
        found = find_value(r, path, events, turn_at(path.index) if path.root == "turns" else None)
        parts = found.response.parts if found.response is not None else []
        return Explanation(
            path=str(path),
            value=found.value,
            rules=r.rules,
            turn=numbers.get(id(found.exchange)),
            made_of=[made(source, found.exchange) for source in found.sources],
            parts=[
                ResponsePartValue(f"{path.item}.response.parts[{n}].ms", p.name, strip_sources(p.ms))
                for n, p in enumerate(parts)
            ],
            decisions=[AppliedDecision(d, DECISIONS[d], None if at is None else name(at)) for d, at in found.decisions],
            note=found.note,
        )

    return explain


def namer(events: Sequence[Event], offsets: dict[str, int]) -> Callable[[int], EventReference]:
    """A function that makes the reference to the event at an index; ``offsets`` as `offsets_of` returns them."""
    began = clocks(events[0])[0] + offsets[events[0].origin] if events else 0

    def name(at: int) -> EventReference:
        event = events[at]
        return EventReference(
            at, event.origin, event.seq, event.hook, (clocks(event)[0] + offsets[event.origin] - began) / 1e9
        )

    return name


def offsets_of(events: Sequence[Event]) -> dict[str, int]:
    """By origin: the offset in nanoseconds from its monotonic clock to that of the session's first event."""
    found: dict[str, int] = {}
    for event in events:
        if event.origin not in found:
            found[event.origin] = event.wall_ns - event.perf_ns
    first = next(iter(found.values()), 0)
    return {origin: offset - first for origin, offset in found.items()}


_TIMES = frozenset(
    ("start", "first", "end", "reported", "finalising", "failed_until", "armed", "opened", "sent", "came", "last")
)


def is_time(source: Source) -> bool:
    """Whether a source's value is a time on the session's clock."""
    also = source.activity is not None and (source.activity.kind, source.field) == ("stt", "preflight")
    return (source.field in _TIMES or also) and isinstance(source.value, int)
