"""The state of the assembly: the exchanges so far, and what is not assigned yet."""

from __future__ import annotations

import msgspec

from projections.timeline import Activity, Step, Timeline
from projections.turns import barge_in, question
from projections.turns.exchange import Exchange

OF_A_VOICE = ("stt", "eou", "eou_wait")


class Unassigned(msgspec.Struct, frozen=True, gc=False):
    """An activity that belongs to no turn, with the reason."""

    activity: Activity
    reason: str


class Assembly(msgspec.Struct):
    """The exchanges of one session, followed by the working state of the fold."""

    timeline: Timeline
    exchanges: list[Exchange] = []
    left: list[Unassigned] = []
    current: Exchange | None = None
    pending: list[Activity] = []
    ahead: list[Step] = []
    aside: list[Step] = []
    """Early work of a voice that belongs to a different question, or to none."""
    fallback: dict[int, Exchange] = {}
    """By the ``at`` of early work: its exchange if no question that was being spoken then is answered."""
    into: dict[int, Exchange] = {}
    """By a voice's ``at``: the exchange that was not over when it began."""
    worded: set[int] = set()
    """Voices with a final or preflight transcript so far."""
    heard_of: set[int] = set()
    """Voices with any transcript so far."""
    dropped: set[int] = set()
    """Voices that belong to no question."""
    cutting: set[int] = set()
    """Voices that interrupted an answer."""
    homes: dict[int, Exchange] = {}
    """By an activity's ``at``: the exchange it is assigned to."""
    named: set[str] = set()
    """Ids of all LLM runs so far; the empty id for runs without one."""
    passed: int = 0
    """Number of leading exchanges that ended too long ago for a late transcript."""
    fed_by: Exchange | None = None
    """The exchange whose synthesis is played next."""
    speaker: Exchange | None = None
    """The exchange that spoke last."""
    writer: Exchange | None = None
    """The exchange whose LLM run ended last."""
    wrote: int = 0
    """When that run ended."""
    said: bool = False
    """The next synthesis is scripted speech."""
    text: tuple[str, int] | None = None
    """Agent text, with its event index, that arrived before its exchange."""
    finals: list[tuple[int, str, Activity | None, int]] = []
    """The last final transcripts: time, text, voice and event index."""
    understood: int = -1
    """When STT last recognised the user without a pending voice."""

    def open(self, now: int, at: int) -> Exchange:
        x = Exchange(now, at)
        self.exchanges.append(x)
        self.current = x
        self.said = False
        if self.text is not None:
            self.say(x, *self.text)
            self.text = None
        return x

    def add(self, x: Exchange, activity: Activity) -> None:
        x.add(activity)
        self.homes[activity.at] = x
        if activity.kind == "llm":
            self.named.add(activity.id)

    def say(self, x: Exchange, text: str, at: int) -> None:
        """Add text of the agent; a report of the whole answer so far replaces one of its beginning."""
        if x.texts and text.startswith(x.texts[-1]):
            x.texts[-1] = text
        elif not x.texts or text not in x.texts[-1]:
            x.texts.append(text)
        x.texts_at.append(at)

    def lately(self, now: int) -> list[Exchange]:
        """The exchanges that a late transcript can still belong to."""
        while self.passed < len(self.exchanges) - 1:
            x = self.exchanges[self.passed]
            end = x.voices[-1].end if x.voices and not x.words_at else None
            if x is self.current or (end is not None and now <= end + question.RECENT_NS):
                break
            self.passed += 1
        return self.exchanges[self.passed :]

    # questions -------------------------------------------------------------------------------------------------

    def ask(self, voices: list[Activity], words: str, step: Step, decision: str) -> Exchange:
        """Open a question of ``voices`` with the text ``words``, and assign the work started early for it."""
        before = self.current
        if before is not None and not before.heard and before.cut is None and before.question:
            before.superseded = any(self.into.get(v.at) is before for v in voices) or (
                not voices and before.busy(step.time)
            )
        self.drop(voices, step)
        x = self.open(min([step.time, *(v.start for v in voices if v.start is not None)]), step.at)
        x.because(decision, step.at)
        self.give(x, voices, words, step)
        return x

    def give(self, x: Exchange, voices: list[Activity], words: str, step: Step) -> None:
        """Assign voices and text to the exchange, whose question is with the model from now on."""
        x.voices.extend(voices)
        for voice in voices:
            self.homes[voice.at] = x
        if words:
            x.words = words
            x.words_at.append(step.at)
        elif not x.words:
            x.words = " ".join(filter(None, map(question.words_of, x.voices)))
        if x.asked is None:
            x.asked, x.asked_at = step.time, step.at
        if voices:
            self.pending = [voice for voice in self.pending if voice not in voices]
        ahead, self.ahead = self.ahead, []
        for begun in ahead:
            self._settle(x, begun)

    def _settle(self, x: Exchange, begun: Step) -> None:
        """Assign a piece of early work: that of a voice goes to the voice's exchange."""
        part = begun.activity
        assert part is not None
        voice = part.data.get("voice") if part.kind in OF_A_VOICE else None
        if part.at in self.fallback and all((v.start or 0) > begun.time for v in x.voices):
            self.add(self.fallback[part.at], part)
        elif (voice is None and part.kind != "stt") or (voice is not None and self.homes.get(voice) is x):
            self.add(x, part)
        elif voice is None or voice in self.homes or voice in self.dropped:
            self.aside.append(begun)
        else:
            self.ahead.append(begun)

    def drop(self, voices: list[Activity], step: Step) -> None:
        """Resolve the pending voices before ``voices``: an unanswered question, or unassigned."""
        if len(self.pending) == len(voices):
            return
        last = max((v.start or 0 for v in voices), default=0)
        old = step.time - question.RECENT_NS
        rest = [
            v
            for v in self.pending
            if v not in voices and ((v.start or 0) < last or (v.end is not None and v.end < old))
        ]
        if not rest:
            return
        self.pending = [v for v in self.pending if v not in rest]
        asked: list[Activity] = []
        for voice in rest:
            cut, x = voice.at in self.cutting, self.into.get(voice.at)
            reason = barge_in.of_no_question(voice, cut=cut, into_answer=x is not None)
            if reason:
                self.left.append(Unassigned(voice, reason))
                self.dropped.add(voice.at)
            else:
                asked.append(voice)
        if asked:
            start = asked[0].start
            x = self.open(step.time if start is None else start, step.at)
            x.because("of_no_question", step.at)
            x.voices, x.words = asked, " ".join(filter(None, map(question.words_of, asked)))
            for voice in asked:
                self.homes[voice.at] = x
            x.closed = True

    def ended_pending(self, now: int) -> list[Activity]:
        ended = [v for v in self.pending if v.end is not None and v.data.get("reported", v.end) <= now]
        return self.asking(ended)

    def asking(self, pending: list[Activity], *, worded: bool = False) -> list[Activity]:
        """The voices that may be questions; with ``worded``, also those that have a final transcript to match."""
        return [
            v
            for v in pending
            if (worded and "finals" in v.data) or not question.back_channel(v, self.into.get(v.at), self.cutting)
        ]

    def in_a_row(self, pending: list[Activity]) -> list[Activity]:
        return question.voices_in_a_row(pending, interims=self.timeline.hears_interims)
