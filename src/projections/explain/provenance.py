"""Provenance of values of the caller's reading: the activities they are made from, and the events of these.

The turn is computed again by the same functions, from activities whose values carry their sources
(`projections.explain.sourced`). The sources of reasons and texts are listed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from eventstore.codec import clocks
from eventstore.event import Event
from projections.caller import Reading, session_dict, unassigned_dict
from projections.explain.paths import Path, UnknownPath, walk
from projections.explain.sourced import Source, attach_sources, sources_of, strip_sources, with_sources
from projections.latency.response import Response
from projections.outputs.turn import Turn, turn_of
from projections.timeline import Activity, Timeline
from projections.turns.assembly import Unassigned
from projections.turns.exchange import Exchange
from projections.turns.ledger import BargeIn, ledger


class FoundValue(NamedTuple):
    """A value with its sources, before events are named for output."""

    value: Any
    sources: list[Source]
    exchange: Exchange | None = None
    response: Response | None = None
    decisions: tuple[tuple[str, int | None], ...] = ()
    note: str = ""


# values by path ----------------------------------------------------------------------------------------------------


class SourcedTurn(NamedTuple):
    """A turn whose values carry their sources, and what it was computed from."""

    exchange: Exchange
    response: Response | None
    records: list[BargeIn]
    turn: Turn


def sourced_turn(r: Reading, path: Path, events: Sequence[Event]) -> SourcedTurn:
    """The path's turn. Raises `UnknownPath`."""
    x: Exchange = item(path, r.exchanges, "turns")
    copies = _Copies()
    copy = copies.exchange(x)
    response = r.response_of(copy)
    records = _barge_ins_near(r, path.index or 0, copies.of) if r.barge_ins_of(x) else []
    turn = turn_at(r, path, copy, response, records, _with_sourced_last(r.timeline, events))
    return SourcedTurn(x, response, records, turn)


def find_value(r: Reading, path: Path, events: Sequence[Event], turn: SourcedTurn | None = None) -> FoundValue:
    """The value at the path, and its sources; ``turn`` is the path's, if it has been computed. Raises `UnknownPath`."""
    if path.root == "turns":
        return _in_turn(r, path, turn or sourced_turn(r, path, events))
    if path.root == "discarded":
        return _unassigned(r, path, [left for left in r.assembly.unassigned if left.activity.kind == "voice"])
    if path.root == "outside":
        return _outside(r, path)
    if path.root == "session" and path.index is None:
        return _of_session(r, path, events)
    raise UnknownPath(f"there is no {path.item!r}; a path begins with turns[0], discarded[0], outside[0] or session")


def item(path: Path, there: Sequence[Any], what: str) -> Any:
    """The list item that the path refers to. Raises `UnknownPath`, with the number of items."""
    if path.index is None or path.index >= len(there):
        missing = (
            f"{path.root} needs an index, like {path.root}[0]" if path.index is None else f"there is no {path.item}"
        )
        raise UnknownPath(f"{missing}; the session has {len(there)} {what}")
    return there[path.index]


def turn_at(
    r: Reading, path: Path, x: Exchange, response: Response | None, records: list[BargeIn], t: Timeline | None = None
) -> Turn:
    """The path's turn, computed from the exchange; ``t`` replaces the reading's timeline."""
    number = (path.index or 0) + 1
    return turn_of(t or r.timeline, x, number, response, records, last=number == len(r.exchanges))


def _in_turn(r: Reading, path: Path, made: SourcedTurn) -> FoundValue:
    x, response, records, turn = made
    field = path.steps[0]
    value, around = walk(turn, path)
    sources, note = list(sources_of(value)), ""
    if not sources and (of := OF_TURN.get(str(field))) is not None:
        sources = list(of(r, x))
    elif field == "interrupted":
        sources = list(_interrupted(records))
    elif not sources:
        sources = _sibling_sources(around[1:])
    if path.steps[:2] == ("response", "parts") and isinstance(path.steps[2], int) and response is not None:
        sources += _activity_sources(response.parts[path.steps[2]].activity)
    if value is None:
        note = f"no response: {turn.no_response}" if field in _ANSWERS and turn.no_response else "the log does not say"
    elif field == "framework_e2e":
        note = "reported by the framework; --rules framework explains it"
    whole = response is not None and path.steps in (("e2e_latency",), ("response", "ms"))
    decisions = tuple((d.name, d.at) for d in x.decisions)
    return FoundValue(strip_sources(value), _deduplicate(sources), x, response if whole else None, decisions, note)


def _with_sourced_last(t: Timeline, events: Sequence[Event]) -> Timeline:
    """The timeline with a sourced time of the last event, which stands in for unreported ends."""
    times = (clocks(event)[0] + t.offsets[event.origin] for event in reversed(events))
    at = len(events) - 1 - next((n for n, time in enumerate(times) if time == t.last), 0)
    return replace(t, last=attach_sources(t.last, Source(None, "last", (at,), t.last)))


_ANSWERS = ("e2e_latency", "response", "agent_started", "agent_stopped")


class _Copies:
    """Copies of activities and exchanges whose values carry their sources; each is copied once."""

    def __init__(self) -> None:
        self._made: dict[int, Activity] = {}

    def of(self, value: Any) -> Any:
        """The value with copies of the activities in it."""
        if isinstance(value, Activity):
            made = self._made.get(id(value))
            if made is None:
                made = self._made[id(value)] = with_sources(value)
            return made
        if isinstance(value, list):
            return [self.of(one) for one in value]
        return {key: self.of(one) for key, one in value.items()} if isinstance(value, dict) else value

    def exchange(self, x: Exchange) -> Exchange:
        copy = Exchange(*(self.of(getattr(x, name)) for name in x.__struct_fields__))
        first = next((voice for voice in copy.voices if voice.start == x.opened), None)
        opened = attach_sources(x.opened, Source(None, "opened", (x.at,), x.opened))
        copy.opened = opened if first is None or first.start is None else first.start
        copy.sent = attach_sources(x.sent, Source(None, "sent", (x.sent_at,), x.sent))
        copy.arrived = attach_sources(x.arrived, Source(None, "came", (x.arrived_at,), x.arrived))
        return copy


NEAR = 3
"""Number of turns before and after one that contain the voices of its barge-ins."""


def barge_ins_at(r: Reading, path: Path) -> list[BargeIn]:
    """The barge-ins of the path's turn, if it leads to them."""
    if path.index is None or path.steps[:1] not in (("barge_ins",), ("interrupted",)):
        return []
    return _barge_ins_near(r, path.index, _identity)


def _barge_ins_near(r: Reading, index: int, of: Callable[[Any], Any]) -> list[BargeIn]:
    """The barge-ins of a turn, from a ledger over the turns around it; ``of`` makes the copies that it is made from."""
    a = r.assembly
    x, near = a.exchanges[index], a.exchanges[max(0, index - NEAR) : index + NEAR + 1]
    times = [t for other in near for part in (*other.voices, *other.parts) for t in (part.start, part.end) if t]
    low, high = min(times, default=0), max(times, default=0)
    wanted = ("voice", "agent", "doubt", "interruption")
    t = replace(
        a.timeline,
        activities=[
            of(found) for found in a.timeline.activities if found.kind in wanted and low <= (found.start or 0) <= high
        ],
        steps=[step for step in a.timeline.steps if low <= step.time <= high],
    )
    exchanges = [
        msgspec.structs.replace(other, voices=of(other.voices), cut=of(other.cut), cut_by=of(other.cut_by))
        for other in near
    ]
    records = ledger(replace(a, timeline=t, exchanges=exchanges))  # with the reading's own `homes`
    return [record for record in records if record.exchange is x]


def _identity(value: Any) -> Any:
    return value


def _sibling_sources(around: list[Any]) -> list[Source]:
    """Sources of the sibling values, or of those in the next container outwards, for a value without its own."""
    for inside in reversed(around):
        entry = inside if isinstance(inside, dict) else dict(enumerate(inside))
        found = [source for beside in entry.values() for source in sources_of(beside)] + _event_at(entry)
        if found:
            return found
    return []


def _event_at(inside: dict[Any, Any]) -> list[Source]:
    """The event of an entry that has an ``at``."""
    at = strip_sources(inside.get("at"))
    return [Source(None, "at", (at,), at)] if type(at) is int else []


def _activity_sources(activity: Activity | None) -> Iterator[Source]:
    """Sources of the times of a response part's activity."""
    if activity is not None:
        for value in (activity.start, activity.end):
            yield from sources_of(value)


def _deduplicate(sources: Iterable[Source]) -> list[Source]:
    return list({(id(source.activity), source[1:3]): source for source in sources}.values())


# reasons and texts -------------------------------------------------------------------------------------------------


def _words(r: Reading, x: Exchange) -> Iterator[Source]:
    for voice in x.voices:
        events = voice.sources.get("finals") or voice.sources.get("understood")
        if events:
            yield Source(voice, "words", tuple(events), voice.data.get("finals") or voice.data.get("interim"))
    if x.words_at:
        yield Source(None, "words", tuple(x.words_at), x.words)


def _texts(r: Reading, x: Exchange) -> Iterator[Source]:
    if x.texts_at:
        yield Source(None, "text", tuple(x.texts_at), " ".join(x.texts))


def _interrupted(records: list[BargeIn]) -> Iterator[Source]:
    for record in records:
        yield Source(None, "barge-in", (record.at,), record.kind)
        for activity, field in ((record.voice, "start"), (record.speech, "end")):
            if activity is not None and activity.sources.get(field):
                yield Source(activity, field, tuple(activity.sources[field]), getattr(activity, field))


def _no_response(r: Reading, x: Exchange) -> Iterator[Source]:
    """Sources of a missing response: the question, the interruption, the failures and the hang-up."""
    yield Source(None, "opened", (x.at,), x.opened)
    yield from _words(r, x)
    failed = [part for part in x.parts if part.kind == "error" or part.status == "failed"]
    for activity in filter(None, (x.cut, *failed)):
        yield Source(activity, "start", (activity.at,), activity.start)
    if x.hung_up:
        ends = [step.at for step in r.timeline.steps if step.kind == "session ended"]
        yield Source(None, "hang-up", tuple(ends[:1]), True)


def _opening(r: Reading, x: Exchange) -> Iterator[Source]:
    yield Source(None, "opened", (x.at,), x.opened)


OF_TURN = {
    "user_speech": _words, "agent_speech": _texts, "typed": _words, "turn": _opening,
    "no_response": _no_response, "e2e_latency": _no_response, "response": _no_response, "handed_off": _opening,
    "agent_started": _no_response, "agent_stopped": _no_response,
}  # fmt: skip
"""By field of a turn: its sources where the value carries none."""


# outside of turns --------------------------------------------------------------------------------------------------


def _unassigned(r: Reading, path: Path, there: list[Unassigned], what: str = "discarded voices") -> FoundValue:
    left: Unassigned = item(path, there, what)
    copy = with_sources(left.activity)
    value, _around = walk(unassigned_dict(r.timeline, Unassigned(copy, left.reason)), path)
    sources = list(sources_of(value)) or [
        Source(left.activity, field, tuple(dict.fromkeys(events)), getattr(copy, field, copy.data.get(field)))
        for field, events in left.activity.sources.items()
    ]
    voice = left.activity.kind == "voice"
    return FoundValue(
        strip_sources(value), sources, decisions=(("of_no_question", None),) if voice else (), note=left.reason
    )


def _outside(r: Reading, path: Path) -> FoundValue:
    """A value in `Reading.outside`, which lists activities, events and barge-ins in this order."""
    lefts = [left for left in r.assembly.unassigned if left.activity.kind != "voice"]
    entry = item(path, r.outside, "things outside of its turns")
    if path.index is not None and path.index < len(lefts):
        return _unassigned(r, path, lefts, "things outside of its turns")
    value, _around = walk(entry, path)
    return FoundValue(value, _event_at(entry), note=str(entry.get("reason", "")))


_HOOKS = {
    "framework": "set_framework", "framework_version": "set_framework", "end_reason": "session_ended",
    "session_end_time": "finalize_session", "session_id": "set_session_id", "pipeline_mode": "configure_pipeline",
    "realtime_mode": "configure_pipeline", "components": "configure_pipeline",
    "system_instruction": "set_system_instructions", "eou_config": "set_eou_config",
    "interrupt_config": "set_interrupt_config", "participant_metrics": "add_participant_metrics",
    "provider_per_component": "set_provider_info",
}  # fmt: skip
"""By field of the session: the hook that sets it."""


def _of_session(r: Reading, path: Path, events: Sequence[Event]) -> FoundValue:
    value, _around = walk(session_dict(r.timeline), path)
    field = str(path.steps[0])
    indices: Iterable[int] = (at for at, event in enumerate(events) if event.hook == _HOOKS.get(field, ""))
    if field in ("name", "session_start_time"):
        indices = range(min(1, len(events)))
    elif field == "sealed_events":
        indices = (at for at, event in enumerate(events) if event.payload.startswith('{"$sealed"'))
    note = "number of events read" if field == "events" else ""
    sources = [Source(None, field, tuple(indices), value)]
    return FoundValue(value, [source for source in sources if source.events], note=note)
