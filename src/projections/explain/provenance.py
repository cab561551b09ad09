"""Why a value of the caller's reading is what it is: the activities it was made of, and the events that say so.

The turn is made once more by the same functions, from activities whose values carry where they come from
(`projections.explain.sourced`). What a reason or a text was decided by is named here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from eventstore.codec import clocks
from eventstore.event import Event
from projections.caller import Reading, left_dict, session_dict
from projections.explain.paths import Path, UnknownPath, walk
from projections.explain.sourced import Source, plain, sourced, sources_of, with_sources
from projections.latency.response import Response
from projections.replay import Call
from projections.timeline import Activity, Timeline
from projections.turns.assembly import Left
from projections.turns.decisions import DECISIONS
from projections.turns.exchange import Exchange
from projections.turns.ledger import BargeIn, ledger
from projections.turns.turn import Turn, turn_of


class Named(NamedTuple):
    """An event."""

    at: int
    """Index in the session's canonical order."""
    origin: str
    seq: int
    hook: str
    seconds: float
    """Into the call."""


class MadeOf(NamedTuple):
    """A field of an activity."""

    kind: str
    id: str
    turn: int | None
    """The turn that the activity is in, from 1; None for one that is in none."""
    field: str
    value: Any
    time: bool
    """The value is a time: seconds into the call."""
    events: list[Named]
    """Those that say so."""


class PartOf(NamedTuple):
    """A part of the response that is explained."""

    path: str
    name: str
    ms: float


class Taken(NamedTuple):
    """A decision that shaped the turn."""

    decision: str
    why: str
    event: Named | None


class Explanation(NamedTuple):
    path: str
    value: Any
    rules: str
    turn: int | None
    """From 1; None for what is of no turn."""
    made_of: list[MadeOf]
    parts: list[PartOf]
    """What a response was spent on; empty for any other value."""
    decisions: list[Taken]
    note: str
    """What else there is to know; empty where all is said."""


class Found(NamedTuple):
    """A value with what it was made of, before events have names."""

    value: Any
    sources: list[Source]
    exchange: Exchange | None = None
    answered: Response | None = None
    decisions: tuple[tuple[str, int | None], ...] = ()
    note: str = ""


def explain_call(call: Call, path: Path, value: Any, events: Sequence[Event]) -> Explanation:
    """What there is to say of a value of the framework's reading without replaying changed logs."""
    made, turn = [], None
    if path.root in ("turns", "payloads") and path.index is not None and path.index < len(call.payloads_at):
        turn, name = path.index + 1, namer(events, offsets_of(events))
        completed = name(call.payloads_at[path.index])
        made = [MadeOf("turn", "", turn, "completed", completed.seconds, True, [completed])]
    note = "what made it, only the caller's reading keeps; --what-if finds the events that change it"
    return Explanation(str(path), value, call.rules, turn, made, [], [], note)


def explain_reading(r: Reading, path: Path, events: Sequence[Event]) -> Explanation:
    """Explain the value at the path; ``events`` are those that the reading was made of. Raises `UnknownPath`."""
    found = find(r, path, events)
    name = namer(events, r.timeline.offsets)
    numbers = {id(x): number for number, x in enumerate(r.exchanges, 1)}
    homes = r.assembly.homes

    def made(source: Source) -> MadeOf:
        activity = source.activity
        home = homes.get(activity.at) if activity is not None else found.exchange
        kind, own = ("session", "") if home is None and activity is None else ("turn", "")
        if activity is not None:
            kind, own = activity.kind, activity.id
        time = is_time(source)
        value = (source.value - r.timeline.began) / 1e9 if time else source.value
        turn = numbers.get(id(home))
        return MadeOf(kind, own, turn, source.field, value, time, [name(at) for at in source.events if at >= 0])

    parts = found.answered.parts if found.answered is not None else []
    turn = numbers.get(id(found.exchange))
    return Explanation(
        path=str(path),
        value=found.value,
        rules=r.rules,
        turn=turn,
        made_of=[made(source) for source in found.sources],
        parts=[PartOf(f"{path.item}.response.parts[{n}].ms", p.name, plain(p.ms)) for n, p in enumerate(parts)],
        decisions=[Taken(d, DECISIONS[d], None if at is None else name(at)) for d, at in found.decisions],
        note=found.note,
    )


def namer(events: Sequence[Event], offsets: dict[str, int]) -> Callable[[int], Named]:
    """Names the event at an index; ``offsets`` are those of `offsets_of`."""
    began = clocks(events[0])[0] + offsets[events[0].origin] if events else 0

    def name(at: int) -> Named:
        event = events[at]
        return Named(at, event.origin, event.seq, event.hook, (clocks(event)[0] + offsets[event.origin] - began) / 1e9)

    return name


def offsets_of(events: Sequence[Event]) -> dict[str, int]:
    """By origin: nanoseconds from its monotonic clock to that of the session's first event."""
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
    """Whether the source's value is a time on the session's clock."""
    also = source.activity is not None and (source.activity.kind, source.field) in (("stt", "preflight"),)
    return (source.field in _TIMES or also) and isinstance(source.value, int)


# where paths lead --------------------------------------------------------------------------------------------------


def find(r: Reading, path: Path, events: Sequence[Event]) -> Found:
    """The value at the path, and its sources. Raises `UnknownPath`."""
    if path.root == "turns":
        return _in_turn(r, path, events)
    if path.root == "discarded":
        return _left(r, path, [left for left in r.assembly.left if left.activity.kind == "voice"])
    if path.root == "outside":
        return _outside(r, path)
    if path.root == "session" and path.index is None:
        return _of_session(r, path, events)
    raise UnknownPath(f"there is no {path.item!r}; a path begins with turns[0], discarded[0], outside[0] or session")


def item(path: Path, there: Sequence[Any], what: str) -> Any:
    """The item of a list that the path is of. Raises `UnknownPath`, saying how many there are."""
    if path.index is None or path.index >= len(there):
        which = path.root if path.index is None else path.item
        raise UnknownPath(f"there is no {which}; the session has {len(there)} {what}")
    return there[path.index]


def turn_at(
    r: Reading, path: Path, x: Exchange, answered: Response | None, records: list[BargeIn], t: Timeline | None = None
) -> Turn:
    """The turn of the path, made from the exchange; ``t`` stands in for the reading's timeline."""
    number = (path.index or 0) + 1
    return turn_of(t or r.timeline, x, number, answered, records, last=number == len(r.exchanges))


def _in_turn(r: Reading, path: Path, events: Sequence[Event]) -> Found:
    x: Exchange = item(path, r.exchanges, "turns")
    field, copies = path.steps[0], _Copies()
    copy = copies.exchange(x)
    answered = r.response_of(copy)
    records = barge_ins_at(r, path, copies)
    turn = turn_at(r, path, copy, answered, records, _with_sourced_last(r.timeline, events))
    value, inside = walk(turn, path)
    sources, note = list(sources_of(value)), ""
    if not sources and (of := OF_TURN.get(str(field))) is not None:
        sources = list(of(r, x))
    elif field == "interrupted":
        sources = list(_interrupted(records))
    elif not sources and isinstance(inside, dict):
        sources = [source for beside in inside.values() for source in sources_of(beside)]
        sources += _event_at(inside)
    if path.steps[:2] == ("response", "parts") and isinstance(path.steps[2], int) and answered is not None:
        sources += _at_work(answered.parts[path.steps[2]].activity)
    if value is None:
        note = f"no response: {turn.no_response}" if field in _ANSWERS and turn.no_response else "the log does not say"
    elif field == "framework_e2e":
        note = "what the framework itself reported; --rules framework explains it"
    whole = answered is not None and path.steps in (("e2e_latency",), ("response", "ms"))
    decisions = tuple((d.name, d.at) for d in x.decisions)
    return Found(plain(value), _once(sources), x, answered if whole else None, decisions, note)


def _with_sourced_last(t: Timeline, events: Sequence[Event]) -> Timeline:
    """With the time of the last event, which is the latest end of what has none, carrying its source."""
    times = (clocks(event)[0] + t.offsets[event.origin] for event in reversed(events))
    at = len(events) - 1 - next((n for n, time in enumerate(times) if time == t.last), 0)
    return msgspec.structs.replace(t, last=sourced(t.last, Source(None, "last", (at,), t.last)))


_ANSWERS = ("e2e_latency", "response", "agent_started", "agent_stopped")


class _Copies:
    """Activities and exchanges whose values carry their sources; of each one copy."""

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
        opened = sourced(x.opened, Source(None, "opened", (x.at,), x.opened))
        copy.opened = opened if first is None or first.start is None else first.start
        copy.asked = sourced(x.asked, Source(None, "sent", (x.asked_at,), x.asked))
        copy.came = sourced(x.came, Source(None, "came", (x.came_at,), x.came))
        return copy


NEAR = 3
"""Turns before and after one, among whose voices are those that its barge-ins are of."""


def barge_ins_at(r: Reading, path: Path, copies: _Copies | None = None) -> list[BargeIn]:
    """The barge-ins of the path's turn, from a ledger over the turns around it; with sources from ``copies``."""
    if path.index is None or path.steps[:1] not in (("barge_ins",), ("interrupted",)):
        return []
    a, of = r.assembly, _same if copies is None else copies.of
    x, near = a.exchanges[path.index], a.exchanges[max(0, path.index - NEAR) : path.index + NEAR + 1]
    times = [t for other in near for part in (*other.voices, *other.parts) for t in (part.start, part.end) if t]
    low, high = min(times, default=0), max(times, default=0)
    wanted = ("voice", "agent", "doubt", "interruption")
    t = msgspec.structs.replace(
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
    records = ledger(msgspec.structs.replace(a, timeline=t, exchanges=exchanges))  # `homes` are the reading's own
    return [record for record in records if record.exchange is x]


def _same(value: Any) -> Any:
    return value


def _event_at(inside: dict[str, Any]) -> list[Source]:
    """The event itself, of an entry that names one."""
    at = plain(inside.get("at"))
    return [Source(None, "at", (at,), at)] if type(at) is int else []


def _at_work(activity: Activity | None) -> Iterator[Source]:
    """When the activity that was waited for ran."""
    if activity is not None:
        for value in (activity.start, activity.end):
            yield from sources_of(value)


def _once(sources: Iterable[Source]) -> list[Source]:
    return list({(id(source.activity), source[1:3]): source for source in sources}.values())


# reasons and texts -------------------------------------------------------------------------------------------------


def _words(r: Reading, x: Exchange) -> Iterator[Source]:
    for voice in x.voices:
        said = voice.says.get("finals") or voice.says.get("understood")
        if said:
            yield Source(voice, "words", tuple(said), voice.data.get("finals") or voice.data.get("interim"))
    if x.words_at:
        yield Source(None, "words", tuple(x.words_at), x.words)


def _texts(r: Reading, x: Exchange) -> Iterator[Source]:
    if x.texts_at:
        yield Source(None, "text", tuple(x.texts_at), " ".join(x.texts))


def _interrupted(records: list[BargeIn]) -> Iterator[Source]:
    for record in records:
        yield Source(None, "barge-in", (record.at,), record.kind)
        for activity, field in ((record.voice, "start"), (record.speech, "end")):
            if activity is not None and activity.says.get(field):
                yield Source(activity, field, tuple(activity.says[field]), getattr(activity, field))


def _no_response(r: Reading, x: Exchange) -> Iterator[Source]:
    """What there was of a question, what cut its answer off, and what failed."""
    yield Source(None, "opened", (x.at,), x.opened)
    yield from _words(r, x)
    failed = [part for part in x.parts if part.kind == "error" or part.status == "failed"]
    for activity in filter(None, (x.cut, *failed)):
        yield Source(activity, "start", (activity.at,), activity.start)
    if x.hung_up:
        ends = [step.at for step in r.timeline.steps if step.what == "session ended"]
        yield Source(None, "hang-up", tuple(ends[:1]), True)


def _opening(r: Reading, x: Exchange) -> Iterator[Source]:
    yield Source(None, "opened", (x.at,), x.opened)


OF_TURN = {
    "user_speech": _words, "agent_speech": _texts, "typed": _words, "turn": _opening,
    "no_response": _no_response, "e2e_latency": _no_response, "response": _no_response, "handed_off": _opening,
    "agent_started": _no_response, "agent_stopped": _no_response,
}  # fmt: skip
"""By field of a turn, where the value itself carries no sources: what it was decided by."""


# what is no turn's -------------------------------------------------------------------------------------------------


def _left(r: Reading, path: Path, there: list[Left], what: str = "discarded voices") -> Found:
    left: Left = item(path, there, what)
    copy = with_sources(left.activity)
    value, _inside = walk(left_dict(r.timeline, Left(copy, left.reason)), path)
    says = left.activity.says
    sources = list(sources_of(value)) or [
        Source(left.activity, field, tuple(dict.fromkeys(said)), getattr(copy, field, copy.data.get(field)))
        for field, said in says.items()
    ]
    voice = left.activity.kind == "voice"
    return Found(plain(value), sources, decisions=(("of_no_question", None),) if voice else (), note=left.reason)


def _outside(r: Reading, path: Path) -> Found:
    """In the order of `Reading.outside`: activities, events, barge-ins."""
    lefts = [left for left in r.assembly.left if left.activity.kind != "voice"]
    entry = item(path, r.outside, "things outside of its turns")
    if path.index is not None and path.index < len(lefts):
        return _left(r, path, lefts, "things outside of its turns")
    value, inside = walk(entry, path)
    return Found(value, _event_at(inside), note=str(inside.get("reason", "")))


_HOOKS = {
    "framework": "set_framework", "framework_version": "set_framework", "end_reason": "session_ended",
    "session_end_time": "finalize_session", "session_id": "set_session_id", "pipeline_mode": "configure_pipeline",
    "realtime_mode": "configure_pipeline", "components": "configure_pipeline",
    "system_instruction": "set_system_instructions", "eou_config": "set_eou_config",
    "interrupt_config": "set_interrupt_config", "participant_metrics": "add_participant_metrics",
    "provider_per_component": "set_provider_info",
}  # fmt: skip
"""By field of the session: the hook that says it."""


def _of_session(r: Reading, path: Path, events: Sequence[Event]) -> Found:
    value, _inside = walk(session_dict(r.timeline), path)
    field = str(path.steps[0])
    said: Iterable[int] = (at for at, event in enumerate(events) if event.hook == _HOOKS.get(field, ""))
    if field in ("name", "session_start_time"):
        said = range(min(1, len(events)))
    elif field == "sealed_events":
        said = (at for at, event in enumerate(events) if event.payload.startswith('{"$sealed"'))
    note = "how many events were read" if field == "events" else ""
    sources = [Source(None, field, tuple(said), value)]
    return Found(value, [source for source in sources if source.events], note=note)
