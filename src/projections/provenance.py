"""What did each event read, and what did it write? A replay by the ordinary handlers, over a state that takes notes.

The state and what is in it are handed to the handlers in wrappers (`Noted…`) that note every read and write with the
event at hand. Nothing here knows a rule; what it must know of how a turn is opened and ended is in `Part`.
"""

from __future__ import annotations

import dataclasses
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

import msgspec

from eventstore.event import Event
from projections.noted import ITEMS, Noted, bare, wrapper
from projections.reference import rules as rule_sets
from projections.reference.fold import begin, fold
from projections.reference.rules import Rules
from projections.reference.timing import (
    end_timeline,
    ensure_open_timeline,
    ensure_timeline,
    label_timeline,
    start_timeline,
)


class Place(NamedTuple):
    """A field of one object, or the items of one list or dict."""

    object: int
    """Number of the object, in the order in which they were met; 0 is the state."""
    field: str


class Read(NamedTuple):
    place: Place
    moment: int
    """Counts reads and writes."""
    value: Any

    aside: str | None = None
    """The function of `ASIDES` that made it."""


class Write(NamedTuple):
    place: Place
    moment: int
    value: Any
    part: Part
    read_before: int
    """How many reads the part had made."""
    aside: str | None
    """As `Read.aside`."""


@dataclasses.dataclass(slots=True, eq=False)
class Part:
    """A stretch of one event's handling: before a turn is opened, while it is, and after; a turn's end begins anew.

    What is written depends on what was read before in the same part and in those it goes on from (`after`). The end
    of a turn comes whatever was in the turn, so what follows does not go on from it.
    """

    at: int
    """Index of the event."""
    after: Part | None = None
    opens: int | None = None
    """The turn that is opened in it, as the number of an object."""
    closes: int | None = None
    """The turn that ends in it."""
    reads: list[Read] = dataclasses.field(default_factory=list)
    ending: int | None = None
    """How many reads there were when it was certain that the turn ends."""
    decided: int | None = None
    """How many reads there were before it was asked whether the turn is kept."""
    told: bool = False
    """The turn is complete: what is read from now on is for those who are told of it."""


class Trail:
    """Everything that was noted in a replay."""

    def __init__(self, events: Iterable[Event], rules: str | Rules) -> None:
        self.events = list(events)
        self.rules = rule_sets.find(rules)
        self.state = begin(self.rules, spans=False, signals=False)
        self.parts: list[list[Part]] = []
        """Of each event."""
        self.writes: dict[Place, list[Write]] = {}
        self.written: list[list[Write]] = []
        """By each event."""
        self.began: list[int] = []
        """The moment at which each event began."""
        self.owners: dict[int, int] = {}
        """Of each record, as it stands at the end, the turn that it is in."""
        self.asked: list[list[tuple[str, int]]] = []
        """Switches that each event asked for, with the moment."""
        self.objects: list[Any] = []
        self.found_in: list[Place | None] = []
        """Where an object was first met."""
        self.met: list[int] = []
        """When."""
        self.names: list[str] = []
        """The field in which a list or dict is."""
        self._numbers: dict[int, int] = {}
        self._wrappers: list[Any] = []
        self._moment = 0
        self._part = Part(-1)
        self._ended: Part | None = None
        self._replay()

    def _replay(self) -> None:
        state: Any = self.wrap(self.state, None, "")
        for at, event in enumerate(self.events):
            self._part, self._ended = Part(at), None
            self.parts.append([self._part])
            self.written.append([])
            self._moment += 1
            self.began.append(self._moment)
            self.asked.append([])
            fold(state, [event])
        self.state.turns = [bare(turn) for turn in self.state.turns]
        self.state.discarded = [found._replace(turn=bare(found.turn)) for found in self.state.discarded]
        for turn in [*self.state.turns, *(found.turn for found in self.state.discarded), self.state.turn]:
            if (number := self.number_of(turn)) is not None:
                self._own(turn, number)

    def _own(self, value: Any, turn: int) -> None:
        value = bare(value)
        if (number := self.number_of(value)) is not None:
            self.owners[number] = turn
        if isinstance(value, (list, msgspec.Struct)):
            fields = value if isinstance(value, list) else [getattr(value, field) for field in value.__struct_fields__]
            for field in fields:
                self._own(field, turn)

    # what the wrappers call ------------------------------------------------------------------------------------------

    def wrap(self, value: Any, place: Place | None, name: str) -> Any:
        """The value as handlers may have it: what can be changed in place is wrapped, once for all."""
        if isinstance(value, Noted):
            return value
        make = wrapper(value, name)
        if make is None:
            return value
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self.objects)
            self.objects.append(value)
            self.found_in.append(None if place is None else Place(*place))
            self.met.append(self._moment + 1)
            self.names.append(self.names[Place(*place).object] if name == ITEMS and place else name)
            self._wrappers.append(make(self, number, value))
        return self._wrappers[number]

    def number_of(self, value: Any) -> int | None:
        """Of an object that was met."""
        return self._numbers.get(id(bare(value)))

    def note_read(self, number: int, field: str, value: Any) -> None:
        part = self._begun()
        if part.told:
            return
        self._moment += 1
        if number == 0 and field == "turn" and part.opens is not None:  # the turn is open, and the event goes on
            part = self._part = Part(part.at, part.after)
            self.parts[-1].append(part)
        part.reads.append(Read(Place(number, field), self._moment, value, _aside(sys._getframe(2))))

    def note_write(self, number: int, field: str, value: Any) -> None:
        self._moment += 1
        place = Place(number, field)
        if place == (0, "turn"):
            self._turn(value)
        part = self._ended or self._part
        write = Write(place, self._moment, value, part, len(part.reads), _aside(sys._getframe(2)))
        self.writes.setdefault(place, []).append(write)
        self.written[-1].append(write)

    def note_switch(self, switch: str) -> None:
        self.asked[-1].append((switch, self._moment))

    def note_decision(self) -> None:
        """It is asked how many turns there were: only that it is not the first one matters."""
        part = self._begun()
        if part.opens is None:
            part.decided = len(part.reads)

    def note_end(self) -> None:
        """The open turn ends, whatever comes."""
        part = self._begun()
        part.ending = len(part.reads)

    def note_told(self) -> None:
        self._part.told = self._part.decided is not None

    # parts -----------------------------------------------------------------------------------------------------------

    def _begun(self) -> Part:
        """The part at hand; after a turn's end a new one begins with the first read."""
        if self._ended is not None:
            self._ended = None
            self._part = Part(self._part.at)
            self.parts[-1].append(self._part)
        return self._part

    def _turn(self, value: Any) -> None:
        if value is None:
            ended = self.writes.get(Place(0, "turn"))
            self._part.closes = self.number_of(ended[-1].value) if ended else None
            self._ended = self._part
            return
        before = self._begun()
        self._part = Part(before.at, before)
        self.parts[-1].append(self._part)
        self.wrap(value, Place(0, "turn"), "turn")
        self._part.opens = self.number_of(value)

    def ask(self, question: Callable[[Any], Any], of: Any) -> tuple[Any, list[Read]]:
        """What a function makes of an object that was met, and what it reads for that, after the last event."""
        self._part, self._ended = Part(len(self.events)), None
        self.parts.append([self._part])
        answer = question(self.wrap(of, None, ""))
        self.parts.pop()
        return answer, self._part.reads

    # questions -------------------------------------------------------------------------------------------------------

    def writer(self, place: Place, before: int) -> Write | None:
        """The last write of a place before a moment; of a place that came with its object, that of the object."""
        writes = self.writes.get(place, [])
        n = bisect_left(writes, before, key=lambda write: write.moment)
        if n:
            return writes[n - 1]
        found_in = self.found_in[place.object]
        return None if found_in is None else self.writer(found_in, min(before, self.met[place.object]))

    def under(self, place: Place | None, field: str) -> bool:
        """Whether a place is that field of the state, or in what is there."""
        while place is not None and place != (0, field):
            place = self.found_in[place.object]
        return place is not None

    def name(self, place: Place) -> str:
        """The field's name; of a list's items, that of the list."""
        return self.names[place.object] if place.field == ITEMS else place.field

    def reads_of(self, part: Part | None) -> list[Read]:
        """Of the part and of those it goes on from."""
        return [] if part is None else self.reads_of(part.after) + part.reads


_FUNCTIONS: tuple[Any, ...] = (
    start_timeline, end_timeline, ensure_timeline, ensure_open_timeline, label_timeline,
)  # fmt: skip
ASIDES: dict[CodeType, FunctionType] = {function.__code__: function for function in _FUNCTIONS}
"""They say nothing to who calls them, so that what they read matters only to what they write."""


def _aside(frame: FrameType | None) -> str | None:
    """Which of these functions reads, the outermost; between it and us are a few frames."""
    found = None
    for _ in range(9):
        if frame is None:
            break
        if frame.f_code in ASIDES:
            found = ASIDES[frame.f_code].__name__
        frame = frame.f_back
    return found


def plain(value: Any) -> Any:
    """A value without wrappers, as JSON carries it."""
    if isinstance(value, Noted):
        value = value._raw
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, msgspec.Struct):
        return {field: plain(getattr(value, field)) for field in value.__struct_fields__}
    return value
