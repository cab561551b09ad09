"""The states of a call: what each event, or each few events, changes in its document.

The events are folded once. For a state, only the turns that later events may still change are read again, with some
turns before them, so a state of a long call takes no longer than one of a short call.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from operator import attrgetter, itemgetter
from typing import Any

import msgspec

from eventstore.event import Event
from projections.caller import RULES as TURNLOG
from projections.caller import Reading
from projections.framework_figures import ReportedFigure, Spoken, place_figures, reported_figures, spoken, turn_figures
from projections.readings import VIDEOSDK, framework_of, release
from projections.reference.fold import begin, fold
from projections.spans.span import ROOT
from projections.spans.tree import settled
from projections.timeline import Activity, Timeline
from projections.timeline.fold import extend
from projections.turns.assembly import Unassigned
from projections.turns.exchange import Exchange
from turnlog.viewer.call.delta import Delta, delta
from turnlog.viewer.call.document import Document, session_document, state_document
from turnlog.viewer.call.reading_document import reading_document

Item = dict[str, Any]
Step = Callable[[int, int], None]
WARM_UP = 3
"""Number of turns that are read before the first one that may change: the assembly of a turn depends on them."""

LATER = 2
"""Number of turns after one that no longer changes: the next one may end its runs, or complete the framework's turn."""
OPEN = 12
"""Number of turns after which what is still open in one is not expected to end."""


def states(events: Sequence[Event], every: int, rules: str, step: Step) -> Iterator[Delta]:
    """What each stretch of ``every`` events changes. ``step`` is called with the number of events done, and of all."""
    counts = range(every, len(events), every)
    documents = _reading_states(events, counts) if rules == TURNLOG else _states(events, counts, rules)
    for count, change in zip(counts, documents, strict=True):
        step(count, len(events))
        yield change


def _states(events: Sequence[Event], counts: Sequence[int], rules: str) -> Iterator[Delta]:
    before: Document = {"turns": [], "spans": []}
    for count in counts:
        after = state_document(events[:count], rules)
        yield delta(before, after)
        before = after


def _reading_states(events: Sequence[Event], counts: Sequence[int]) -> Iterator[Delta]:
    framework, version = framework_of(events)
    named = next((n for n, event in enumerate(events, 1) if event.hook == "set_framework"), 1)
    state = None
    if framework in ("", VIDEOSDK):
        state = begin(release(framework, version), spans=False, signals=False)
    t, shown, done, figures = Timeline(), _Shown(), 0, list[ReportedFigure]()
    for count in counts:
        new = events[done:count]
        extend(t, new)
        if state is None:
            figures += reported_figures(t, new)
        else:
            figures = list(turn_figures(t, fold(state, new).turns))
        yield shown.advance(t, session_document(events[: min(count, named)]), figures)
        done = count


class _Shown:
    """The state that is shown, without the turns and spans that no longer change."""

    def __init__(self) -> None:
        self.document: Document = {"turns": [], "spans": []}
        self.settled = 0
        """Number of turns that no longer change."""
        self.since = 0
        """Index of the first event of the turns after those."""
        self.first = 0
        """Index of the first event that is read again."""
        self.last = 0
        """Index of the event that opened the last settled turn."""
        self.spoken: list[Spoken] = []
        """What the framework's figures are matched with in the settled turns."""
        self.late: dict[int, float] = {}
        """The framework's figures by turn; one may come when its turn has settled."""
        self.outside: list[Item] = []
        """What is outside of turns, before `since`, and has ended."""
        self.open: list[Unassigned] = []
        """What is outside of turns, before `since`, and has not ended."""
        self.open_at: set[int] = set()
        """Their events."""
        self.sounds: list[tuple[Activity, Item]] = []
        """Sounds that began before `since` and have not ended, with their spans: a sound may outlast its turn."""
        self.end = 0.0
        """Latest end of a span that no longer changes."""

    def advance(self, t: Timeline, session: Document, figures: Sequence[ReportedFigure]) -> Delta:
        """What changes in the state when the timeline has grown; ``figures``: all that the framework has reported."""
        r = self.read(t, figures)
        document = session | self.complete(reading_document(r), t)
        change = delta(self.document, document)
        late = [number for number in range(1, self.settled + 1) if r.framework_e2e.get(number) != self.late.get(number)]
        if late:
            turns = [{"turn": number, "framework_e2e": r.framework_e2e.get(number)} for number in late]
            change.setdefault("turns", {"set": [], "remove": []})["set"] += turns
        self.document, self.late = document, r.framework_e2e
        self.settle(r, figures)
        return change

    def read(self, t: Timeline, figures: Sequence[ReportedFigure]) -> Reading:
        """The reading of what began since `first`; of the whole call, if the last settled turn is not in that."""
        older = [left for left in self.open if left.activity.at < self.first]
        r = Reading(_from(t, self.first, [left.activity for left in older]))
        last = next((n for n, x in enumerate(r.exchanges, 1) if x.at == self.last), None)
        if self.settled and last is None:
            r = Reading(t)
        else:
            r.assembly.unassigned[:0] = older
            r.before = self.settled - (last or 0)
        place_figures(r, figures, self.spoken)
        return r

    def complete(self, document: Document, t: Timeline) -> Document:
        """The document of the events from `first` on, as that of the whole call, without what no longer changes."""
        spans = [span for span in document["spans"] if self._changes(span)]
        spans += [_grown(span, sound, t) for sound, span in self.sounds]
        for span in spans:
            if span["id"] == ROOT and span["end"] < self.end:
                span |= {"end": self.end, "ms": (self.end - span["start"]) * 1000}
        outside = [left for left in document["outside"] if self._is_new(left)]
        return document | {
            "seconds": max([document["seconds"], self.end, *(span["end"] for span in spans)]),
            "turns": [turn for turn in document["turns"] if turn["turn"] > self.settled],
            "spans": msgspec.to_builtins(spans),
            "outside": sorted(self.outside + outside, key=itemgetter("at", "kind")),
        }

    def _is_new(self, left: Item) -> bool:
        return left["at"] >= self.since or left["at"] in self.open_at

    def _changes(self, span: Item) -> bool:
        if span["turn"] is not None:
            return bool(span["turn"] > self.settled)
        return span["id"] == ROOT or self._is_new(span)

    def settle(self, r: Reading, figures: Sequence[ReportedFigure]) -> None:
        """Leave out the turns that no longer change, if the others are read in the same way without them."""
        number = self.settled
        while number < r.last - LATER and _is_settled(r, number + 1):
            number += 1
        if number == self.settled:
            return
        after = copy(self)
        after.settled = number
        after.spoken = self.spoken + [spoken(x) for x in r.exchanges[self.settled - r.before : number - r.before]]
        after.since = _first_event(r.exchanges[number - r.before])
        after.last = r.exchanges[number - r.before - 1].at
        if number - r.before >= WARM_UP:
            after.first = _first_event(r.exchanges[number - r.before - WARM_UP])
        unassigned = r.assembly.unassigned
        after.open = [left for left in unassigned if left.activity.end is None and left.activity.at < after.since]
        after.open_at = {left.activity.at for left in after.open}
        after.leave_out(r)
        again = after.complete(reading_document(after.read(r.timeline, figures)), r.timeline)
        if again.items() <= after.document.items():
            vars(self).update(vars(after))

    def leave_out(self, r: Reading) -> None:
        """Leave what no longer changes out of the document."""
        spans = {span["id"]: span for span in self.document["spans"]}
        began = [sound for sound in r.timeline.activities if sound.kind == "sound" and sound.at < self.since]
        sounds = {sound.at: sound for sound in (*(sound for sound, _span in self.sounds), *began)}
        found = [(sound, spans.get(f"sound:{sound.at}")) for sound in sounds.values() if sound.end is None]
        self.sounds = [(sound, span) for sound, span in found if span is not None]
        kept = {span["id"] for _sound, span in self.sounds}
        rest = [span for span in spans.values() if self._changes(span) or span["id"] in kept]
        gone = spans.keys() - {span["id"] for span in rest}
        self.end = max([self.end, *(spans[name]["end"] for name in gone)])
        self.outside = [left for left in self.document["outside"] if not self._is_new(left)]
        turns = [turn for turn in self.document["turns"] if turn["turn"] > self.settled]
        self.document = self.document | {"turns": turns, "spans": rest}


def _grown(span: Item, sound: Activity, t: Timeline) -> Item:
    """The span of a sound that began in a turn that no longer changes."""
    end = max(sound.start or 0, t.last if sound.end is None else sound.end)
    found = span | {
        "end": (end - t.began) / 1e9,
        "ms": (end - (sound.start or 0)) / 1e6,
        "events": sorted(at for at in sound.events() if at >= 0),
    }
    if sound.end is None:
        return found
    return found | {"status": "done", "attributes": {k: v for k, v in span["attributes"].items() if k != "unfinished"}}


def _is_settled(r: Reading, number: int) -> bool:
    """Whether a turn no longer changes: nothing of it is open, unless that was so for many turns."""
    x = r.exchanges[number - r.before - 1]
    ended = all(part.end is not None or part.kind in ("sound", "log") for part in (*x.voices, *x.parts))
    return (ended or number < r.last - OPEN) and settled(r.timeline, x, last=False)


_at = attrgetter("at")


def _from(t: Timeline, first: int, older: list[Activity]) -> Timeline:
    """The timeline without what began before an event, except for the ``older`` activities."""
    if first == 0:
        return t
    activities = older + t.activities[bisect_left(t.activities, first, key=_at) :]
    ignored = t.ignored[bisect_left(t.ignored, first, key=itemgetter(0)) :]
    return replace(t, activities=activities, ignored=ignored, steps=t.steps[bisect_left(t.steps, first, key=_at) :])


def _first_event(x: Exchange) -> int:
    return min([x.at, *(part.at for part in (*x.voices, *x.parts))])
