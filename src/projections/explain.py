"""Why is this number what it is? The events, the rules and the switches that made it, from a replay that took notes.

Nobody writes explanations: they are derived from what the handlers read and wrote (`projections.provenance`), so they
cannot say anything else than the rules do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from eventstore.codec import clocks
from eventstore.event import Event
from projections.asked import resolve
from projections.in_words import in_words
from projections.noted import ITEMS
from projections.provenance import Place, Read, Trail, Write
from projections.reference.handlers import HANDLERS
from projections.reference.rules import SWITCHES, VIDEOSDK_1_0, Rules
from projections.reference.timing import PARTS_OF_E2E
from projections.slicing import TURN, Slice

__all__ = ["Explanation", "Named", "Reason", "Switch", "explain", "explain_in", "in_words"]


_BEFORE_SUM = frozenset({"tts_metrics", "ttfb", "tts_first_byte_time"})
"""The last that is looked at to choose the entries that count, before their latencies are added up."""


class Named(NamedTuple):
    """An event on which the value hangs."""

    at: int
    """Index in the session's canonical order."""
    origin: str
    seq: int
    hook: str
    time: float
    """Seconds on the monotonic clock."""
    since_opening: float
    """Seconds since the turn was opened; negative before."""
    role: Literal["made it", "could have"]
    """``could have``: it did not write the value, but decided whether, or might have written it had it been another."""


class Switch(NamedTuple):
    """A switch that was asked for while the value was made."""

    name: str
    on: bool
    reason: str


class Reason(NamedTuple):
    """A value, who wrote it, and the numbers that it was made of."""

    path: str
    value: Any
    at: int | None
    """The event that wrote it; None if it is as it was at the beginning."""
    rule: str
    """The handler, and what it says it does."""
    why: list[Reason]


class Explanation(NamedTuple):
    """Of one value of a turn."""

    path: str
    value: Any
    rule: str
    switches: list[Switch]
    why: Reason
    events: list[Named]
    """All on which it hangs, in canonical order."""
    discarded: str | None
    """Why the turn was discarded, if it was."""


def explain(events: Iterable[Event], path: str, rules: str | Rules = VIDEOSDK_1_0) -> Explanation:
    """Explain the value at ``path``, as ``turns[6].e2e_latency`` or ``turns[6].stt_metrics[0].stt_latency``.

    Turns are counted from 0, as in `Call.turns`; ``discarded[0]`` and ``current_turn`` have the same fields. A field
    may also be one of `projections.measures` (``e2e_ms``, ``response_ms``), one of the payload (``e2eLatency``), or a
    component's alone (``stt_latency``), of which the last entry counts. Without a field it is why the turn was kept.

    The explanation is complete: an event that it does not name may have been at another time, with the canonical order
    of the events kept, or with other arguments, or not at all; one such event or all of them: the value stays. Turns
    are the same if the same event opened them. Complete it is of calls in which no handler raises (`Call.raised`).

    Raises `UnknownPath`, and what `projections.replay` does.
    """
    return explain_in(Trail(events, rules), path)


def explain_in(trail: Trail, path: str) -> Explanation:
    """The same, of a replay that was noted already; for many questions to one session."""
    asked = resolve(trail, path)
    value, reads = trail.ask(asked.question, asked.turn)
    number = trail.number_of(asked.turn)
    opened = next(write for write in trail.writes[TURN] if trail.number_of(write.value) == number)
    end = next((part.at for parts in trail.parts for part in parts if part.closes == number), len(trail.events))
    slice_ = _slice(trail, reads, opened, end)
    names = _Names(trail)
    made: dict[int, int] = {}
    why = _why(trail, names, made, asked.path, value, reads, asked.leaf)
    return Explanation(
        path=asked.path,
        value=value,
        rule=why.rule,
        switches=_switches(trail, made),
        why=why,
        events=[_named(trail, at, opened.part.at, at in made) for at in sorted(slice_ | set(made))],
        discarded=asked.discarded,
    )


def _slice(trail: Trail, reads: list[Read], opened: Write, end: int) -> set[int]:
    """``end`` is the index of the event that ended the turn: what comes later does not touch it."""
    found = Slice(trail)
    begin, length = opened.moment, len(trail.events)
    closing = max((write.moment for write in trail.writes[TURN] if write.part.at == end), default=opened.moment)
    found.add([Read(TURN, begin + 1, None)], opened.part.at)
    found.add([Read(TURN, closing, None)], end)
    if end < length:
        found.events.add(end)
        for part in trail.parts[end]:
            if part.closes is not None:
                found.add(found.reads_for_end(part), end)
    for read in reads:
        found.add([read], length if trail.under(read.place, "session") else min(end + 1, length))
    return found.events


class _Names:
    """Paths of fields, as they stand at the end."""

    def __init__(self, trail: Trail) -> None:
        self.trail = trail
        self._paths: dict[int, str] = {}
        s = trail.state
        for n, turn in enumerate(s.turns):
            self._walk(turn, f"turns[{n}]")
        for n, discarded in enumerate(s.discarded):
            self._walk(discarded.turn, f"discarded[{n}].turn")
        if s.turn is not None:
            self._walk(s.turn, "current_turn")

    def _walk(self, value: Any, path: str) -> None:
        value = getattr(value, "_raw", value)
        number = self.trail.number_of(value)
        if number is not None:
            self._paths[number] = path
        if isinstance(value, list):
            for n, item in enumerate(value):
                self._walk(item, f"{path}[{n}]")
        else:
            for field in getattr(value, "__struct_fields__", ()):
                self._walk(getattr(value, field), f"{path}.{field}")

    def path(self, place: Place) -> str:
        above = self._paths.get(place.object)
        if place.field == ITEMS:
            return above or self.trail.name(place)
        return f"{above}.{place.field}" if above else place.field


def _why(
    trail: Trail, names: _Names, made: dict[int, int], path: str, value: Any, reads: list[Read], leaf: str | None
) -> Reason:
    """The tree under what was asked: one value, or (``leaf`` None) something reckoned from several."""
    seen: set[Place] = set()
    if leaf is not None:
        wanted = [read for read in reads if read.place.field == leaf][-1:]
        if wanted:
            return _reason(trail, names, made, seen, wanted[0])._replace(path=path, value=value)
    under = [_reason(trail, names, made, seen, read) for read in _numbers(reads, seen)]
    return Reason(path, value, None, "reckoned from the turn's records", under)


def _reason(trail: Trail, names: _Names, made: dict[int, int], seen: set[Place], read: Read) -> Reason:
    place, path = read.place, names.path(read.place)
    seen.add(place)
    write = trail.writer(place, read.moment)
    if write is None:
        return Reason(path, read.value, None, "as it was at the beginning", [])
    at = write.part.at
    made[at] = max(made.get(at, 0), write.moment)
    before = [r for r in trail.reads_of(write.part) if r.moment < write.moment] if write.place == place else []
    for earlier in [r for r in before if r.place == place]:  # a count, say
        chained = trail.writer(place, earlier.moment)
        while chained is not None and chained.part.at not in made:
            made[chained.part.at] = chained.moment
            again = [r for r in trail.reads_of(chained.part) if r.place == place and r.moment < chained.moment]
            chained = trail.writer(place, again[-1].moment) if again else None
    if place.field == "e2e_latency":  # other numbers that are looked at on the way are no parts of it
        last = max((n for n, r in enumerate(before) if trail.name(r.place) in _BEFORE_SUM), default=-1)
        before = [r for r in before[last + 1 :] if r.place.field in PARTS_OF_E2E]
    before = [r for r in before if r.aside is None or r.aside == write.aside]
    under = [_reason(trail, names, made, seen, r) for r in _numbers(before, seen)]
    return Reason(path, read.value, at, rule_of(trail.events[at].hook), under)


def _numbers(reads: list[Read], seen: set[Place]) -> list[Read]:
    """The numbers among them, each once."""
    found = {r.place: r for r in reads if type(r.value) in (int, float) and r.place.field != "holds"}
    return [read for place, read in found.items() if place not in seen]


def rule_of(hook: str) -> str:
    """The handler of a hook by module and name, and the first line of what it says."""
    bare, with_args, _version = HANDLERS[hook]
    handler: Any = bare or with_args
    said = (handler.__doc__ or "").strip().partition("\n")[0]
    where = f"{handler.__module__.removeprefix('projections.reference.handlers.')}.{handler.__name__}"
    return f"{where}: {said}" if said else where


def _switches(trail: Trail, made: dict[int, int]) -> list[Switch]:
    """``made``: the events, and the moments at which they wrote; what they asked for later was for something else."""
    asked = {switch for at, wrote in made.items() for switch, moment in trail.asked[at] if moment < wrote}
    return [Switch(name, getattr(trail.rules, name), reason) for name, reason in SWITCHES.items() if name in asked]


def _named(trail: Trail, at: int, opened: int, made: bool) -> Named:
    event, begin = trail.events[at], clocks(trail.events[opened])
    perf_ns, _wall_ns = clocks(event)
    elapsed = (perf_ns - begin[0]) if event.origin == trail.events[opened].origin else clocks(event)[1] - begin[1]
    role: Literal["made it", "could have"] = "made it" if made else "could have"
    return Named(at, event.origin, event.seq, event.hook, perf_ns / 1e9, elapsed / 1e9, role)
