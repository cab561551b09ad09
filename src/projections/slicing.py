"""Which events does a value hang on? All that made it, and all that could have changed it.

A value hangs on its last writer, on what that had read, on the last writers of that, and so on. It also hangs on every
event since that did not write it but could have (`projections.footprints`), and on what those had read; else an event
that nobody named might, given another argument, have been such a writer. Where all of these stay as they are, the
handlers take the same way and write the same value, by induction over the events.

How turns follow each other is known here, as otherwise all of a session would hang together: a turn's end comes
whatever was in it, and a new turn begins with what the last one left, mostly nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from eventstore.vocabulary import TRACES
from projections.footprints import aside, closing, footprint, once, opening, resetting
from projections.provenance import ASIDES, Part, Place, Read, Trail, Write
from projections.reference.metrics import Vad
from projections.reference.state import State

TURN = Place(0, "turn")
_USER_SPEAKING = Place(0, "user_speaking")
_CARRIED = frozenset({"carried", "stt", "eou", "vad", "timeline", "words"})
"""What a turn leaves to the next one: empty once that is opened."""
_BEGINS_WITH = {
    **{f"{kind}_metrics": frozenset({"carried", kind}) for kind in ("stt", "eou", "vad")},
    "user_speech": frozenset({"carried", "words"}),
    "words_at": frozenset({"carried", "words"}),
    "preemtive_generation_enabled": frozenset({"preemptive_generation"}),
}
"""What is read for each of these fields of a new turn."""
_USER_SPEECH = frozenset({"user_speech_start_time", "user_speech_end_time", "user_speech_duration"})
_NOT_SPEECH = frozenset({"stt", "eou", "timeline", "words", "preemptive_generation", "session_id", "forgotten"})
"""What is not read for these."""
_PENDING = "pending_user_start"
_RESET: dict[str, Any] = {"user_speaking": False, "agent_speaking": False, "stt_start": None, _PENDING: None}
"""The end of a turn sets these to this, or leaves them."""
_ASIDE_WRITES = {function.__name__: aside(function) for function in ASIDES.values()}
_OF_ONE = "take_negatives"
"""It looks at many numbers, and each has a say in itself alone."""
_FILLED_IN = frozenset({"user_speech_start_time", "user_speech_end_time"})
_TRACING = frozenset({"set_traces_flow_manager", "set_provider_info", "update_provider_class", "finalize_session"})
_AT_OPENING = _CARRIED | {"told_at", "turn_has_session"}
"""The opening of a turn sets these whatever was before."""


class Slice:
    """Collects the events on which values hang, by index."""

    def __init__(self, trail: Trail) -> None:
        self.trail = trail
        self.events: set[int] = set()
        self._waiting: list[tuple[Place, int, int]] = []
        self._done: dict[tuple[Place, int], int] = {}
        self._whole: set[tuple[int, Place]] = set()
        self._by_hook: dict[str, list[int]] = defaultdict(list)
        for at, event in enumerate(trail.events):
            self._by_hook[event.hook].append(at)
        self._openings = [write for write in trail.writes.get(TURN, []) if write.value is not None]
        self._opened = [self._end_of(write.part) for write in self._openings]
        """When each opening was over."""

    def _end_of(self, part: Part) -> int:
        moments = [read.moment for read in part.reads]
        return max(moments + [write.moment for write in self.trail.written[part.at] if write.part is part])

    def add(self, reads: Iterable[Read], at: int) -> None:
        """All on which these reads, made at an event, hang."""
        reads = list(reads)
        for read in reads:
            if self.trail.name(read.place) in _FILLED_IN:
                self._name_tracing(read.place)
        self._later(reads, at)
        while self._waiting:
            self._hang(*self._waiting.pop())

    def _later(self, reads: Iterable[Read], at: int) -> None:
        self._waiting.extend((read.place, read.moment, at) for read in reads)

    def _hang(self, place: Place, moment: int, at: int) -> None:
        """``place`` as it was at ``moment``, during event ``at``."""
        write = self._last(place, moment)
        since = -1 if write is None else write.part.at
        key = place, -1 if write is None else write.moment
        done = self._done.get(key, -2)
        if done < -1 and write is not None:
            self.events.add(since)
            self._later(self._reads_for(write, place), since)
            self._later(self._reads_after(write, place), since)
        if at > done:
            self._done[key] = at
            for candidate in self._could(place, moment, max(since, done - 1), at):
                self._name_whole(candidate, place)

    def _name_tracing(self, place: Place) -> None:
        """Whether a voice's missing time is filled in as its turn is told (`turn_spans`) hangs on who is told of it."""
        if isinstance(self.trail.objects[place.object], Vad):
            for hook, events in self._by_hook.items():
                if hook.startswith(TRACES) or hook in _TRACING:
                    self.events.update(events)

    def _last(self, place: Place, moment: int) -> Write | None:
        """The last write that matters."""
        trail, name = self.trail, self.trail.name(place)
        write = trail.writer(place, moment)
        if self._resets(name) and place.object == 0:
            while write is not None and write.part.closes is not None:
                before = trail.writer(place, write.moment)
                if write.value != (before.value if before else _initial(name)):
                    break
                write = before  # it was so already, and stays so whether the turn is kept or not
        elif name in _CARRIED:
            n = bisect_left(self._opened, moment)
            if n and (write is None or write.moment < self._openings[n - 1].moment):
                write = self._openings[n - 1]
        return write

    def _reads_for(self, write: Write, place: Place) -> list[Read]:
        """What was read to write that, or could have kept it from being written or made it another."""
        trail, part, name = self.trail, write.part, self.trail.name(place)
        if place == TURN and write.value is None:
            return self.reads_for_end(part)
        if trail.rules.finalize_resets and trail.events[part.at].hook == "finalize_session" and name in resetting():
            return []
        if part.opens is not None:
            before = trail.reads_of(part.after)
            if place == TURN or name not in opening() or name in _AT_OPENING:
                return before
            return before + self._own_reads(part, place, name)
        if part.decided is not None and write.read_before <= part.decided and write.place == place:
            reads = trail.reads_of(part.after) + part.reads[: part.decided]
            hook = trail.events[part.at].hook
            if part.ending is not None and (not footprint(hook).writes or hook == "finalize_session"):
                reads = self.reads_for_end(part) + part.reads[part.ending : part.decided]
            return self._without_asides(reads, place)
        reads = trail.reads_of(part)
        if place == write.place and part.closes is None and name in once(trail.events[part.at].hook):
            reads = [read for read in reads if read.moment < write.moment]
        else:
            self._name_first_opening(part)
        return self._without_asides(reads, place)

    def _own_reads(self, part: Part, place: Place, name: str) -> list[Read]:
        """What a field of a new turn begins with, of all that was read for the turn."""
        named = [(read, self.trail.name(read.place)) for read in self._without_asides(part.reads, place)]
        if name in _BEGINS_WITH:
            return [read for read, of in named if of in _BEGINS_WITH[name]]
        if name not in _USER_SPEECH:
            return [read for read, _of in named]
        return [read for read, of in named if of not in _NOT_SPEECH | {"carried", "vad"}]

    def _without_asides(self, reads: list[Read], place: Place | None) -> list[Read]:
        """Those that can matter to a place: not what was read by a function that writes other things."""
        names = {self.trail.name(read.place) for read in reads if read.aside is None}
        names |= {self.trail.name(place)} if place is not None else set()
        kept = {function for function in _ASIDE_WRITES if _ASIDE_WRITES[function] & names}
        return [
            read
            for read in reads
            if read.aside is None or read.place == place or (read.aside in kept and read.aside != _OF_ONE)
        ]

    def _reads_after(self, write: Write, place: Place) -> list[Read]:
        """What the same event read in later parts that could have written the place again."""
        parts, name = self.trail.parts[write.part.at], self.trail.name(place)
        foot = footprint(self.trail.events[write.part.at].hook)
        found: list[Read] = []
        for part in parts[parts.index(write.part) + 1 :]:
            able = opening() if part.opens is not None else foot.writes | (closing() if part.closes else frozenset())
            if name in able and name not in _AT_OPENING:
                found += part.reads
        return self._without_asides(found, place)

    def reads_for_end(self, part: Part) -> list[Read]:
        """What could have kept a turn from being ended: mostly nothing, or a hold."""
        reads = self.trail.reads_of(part.after) + part.reads[: part.ending]
        return [read for read in reads if read.place.field == "holds"]

    def _name_first_opening(self, part: Part) -> None:
        """Of two turns or more, only the first is kept whatever is in it; one opening before is enough."""
        if part.decided is None or part.closes is None:
            return
        resets = [write.moment for write in self.trail.writes.get(Place(0, "forgotten"), []) if write.part.at < part.at]
        n = bisect_right(self._openings, resets[-1] if resets else -1, key=lambda opened: opened.moment)
        first = self._openings[n]
        self.events.add(first.part.at)
        self._later(self.trail.reads_of(first.part.after), first.part.at)

    def _name_whole(self, at: int, place: Place) -> None:
        """An event that could have written the place: all that it read, but for other things."""
        self.events.add(at)
        if (at, place) in self._whole:
            return
        self._whole.add((at, place))
        for part in self.trail.parts[at]:
            self._later(self._without_asides(part.reads, place), at)
            self._name_first_opening(part)

    # who could have? -------------------------------------------------------------------------------------------------

    def _could(self, place: Place, moment: int, since: int, at: int) -> list[int]:
        """Events between two that did not write the place, and could have."""
        trail, name = self.trail, self.trail.name(place)
        if place == TURN:
            return self._turn_could(moment, since, at)
        found = []
        shared = place.object == 0 or name in _CARRIED
        for hook, events in self._by_hook.items():
            foot = footprint(hook)
            if name in foot.writes and (trail.rules.finalize_resets or hook != "finalize_session"):
                found += _between(events, since, at)
            elif foot.closes and name in closing():
                found += [e for e in _between(events, since, at) if self._end_could(place, name, moment, e)]
        if shared and name in opening():
            self._waiting.append((TURN, moment, at))
            found += [
                opened.part.at for opened in self._openings if since < opened.part.at < at and name not in _AT_OPENING
            ]
        return found

    def _turn_could(self, moment: int, since: int, at: int) -> list[int]:
        """An open turn might have ended before; where there is none, one might have been opened."""
        last = self.trail.writer(TURN, moment)
        open_now = last is not None and last.value is not None
        return [
            event
            for hook, events in self._by_hook.items()
            if (footprint(hook).closes if open_now else footprint(hook).opens)
            for event in _between(events, since, at)
        ]

    def _end_could(self, place: Place, name: str, moment: int, at: int) -> bool:
        """Whether the end of a turn, at an event, could have changed the place."""
        trail = self.trail
        if place.object == 0 and self._resets(name):
            write = trail.writer(place, moment)
            if (write.value if write else _initial(name)) != _RESET[name]:
                return True
            return name == _PENDING and not self._silent_at(at)
        if name in _CARRIED:
            return not self._nothing_left(at)
        return True

    def _resets(self, name: str) -> bool:
        return name in _RESET and name != _PENDING

    def _silent_at(self, at: int) -> bool:
        """Whether the user was silent, and why: then noise that is discarded leaves no start of speech."""
        reads = next((part.reads for part in self.trail.parts[at] if part.reads), None)
        if reads is None:
            return False
        write = self.trail.writer(_USER_SPEAKING, reads[0].moment)
        if write is not None and write.value is not False:
            return False
        self._waiting.append((_USER_SPEAKING, reads[0].moment, at))
        return True

    def _nothing_left(self, at: int) -> bool:
        """Whether the turns that end at an event leave nothing to the next, and why: no barge-in, no speech going on.

        On these reasons alone it hangs then, not on all that is read at the end.
        """
        reasons = []
        for part in self.trail.parts[at]:
            if part.closes is None:
                continue
            begin = part.reads[0].moment if part.reads else part.at
            place = Place(part.closes, "is_interrupted")
            write = self.trail.writer(place, begin)
            if write is not None and write.place == place and write.value not in (None, False):
                return False
            reasons.append((place, begin, at))
        self._waiting += reasons
        return True


def _between(events: list[int], since: int, at: int) -> list[int]:
    return events[bisect_right(events, since) : bisect_left(events, at)]


def _initial(name: str) -> Any:
    return getattr(State(), name)
