"""The state of the assembly of turns: which exchange is going on, and what waits for its place."""

from __future__ import annotations

import msgspec

from projections.timeline import Activity, Step, Timeline
from projections.turns import barge_in, question
from projections.turns.exchange import Exchange

OF_A_VOICE = ("stt", "eou", "eou_wait")


class Unassigned(msgspec.Struct, frozen=True, gc=False):
    """An activity that is no turn's, and why."""

    activity: Activity
    reason: str


class Assembly(msgspec.Struct):
    """The exchanges of one session, and, below, where the fold stands."""

    timeline: Timeline
    exchanges: list[Exchange] = []
    left: list[Unassigned] = []
    current: Exchange | None = None
    pending: list[Activity] = []
    ahead: list[Step] = []
    aside: list[Step] = []
    """What was ahead, but is of a voice that is another question's, or none's."""
    fallback: dict[int, Exchange] = {}
    """By the ``at`` of what waits ahead: whose it is if no question that was being spoken then is answered."""
    into: dict[int, Exchange] = {}
    """By a voice's ``at``: the exchange into whose answer, or before it, it was said."""
    worded: set[int] = set()
    """Voices of which words were reported by now, final ones or such as the model may start on."""
    heard_of: set[int] = set()
    """Voices of which STT has understood something by now."""
    dropped: set[int] = set()
    """Voices that are no question's."""
    cutting: set[int] = set()
    """Voices for which something was cancelled."""
    homes: dict[int, Exchange] = {}
    """By an activity's ``at``: its exchange."""
    named: set[str] = set()
    """The ids of all LLM runs so far; of those without one, the empty id."""
    passed: int = 0
    """How many exchanges, from the first, ended too long ago for words that come late."""
    fed_by: Exchange | None = None
    """Whose synthesis is to be heard next."""
    speaker: Exchange | None = None
    """Whose answer was heard last."""
    writer: Exchange | None = None
    """Whose LLM run ended last, and when."""
    wrote: int = 0
    said: bool = False
    """The agent was made to say something of its own accord."""
    text: tuple[str, int] | None = None
    """What it will say, before there is anything it belongs to."""
    finals: list[tuple[int, str, Activity | None, int]] = []
    """The last final words: when they came, what they are, the voice they are of, and the event."""
    understood: int = -1
    """The last event by which STT understood the user with no voice pending."""

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
        """A report of the whole answer so far replaces those of its beginnings."""
        if x.texts and text.startswith(x.texts[-1]):
            x.texts[-1] = text
        elif not x.texts or text not in x.texts[-1]:
            x.texts.append(text)
        x.texts_at.append(at)

    def lately(self, now: int) -> list[Exchange]:
        """The exchanges, but for those that words which come late cannot be of any more."""
        while self.passed < len(self.exchanges) - 1:
            x = self.exchanges[self.passed]
            end = x.voices[-1].end if x.voices and not x.words_at else None
            if x is self.current or (end is not None and now <= end + question.RECENT_NS):
                break
            self.passed += 1
        return self.exchanges[self.passed :]

    # questions -------------------------------------------------------------------------------------------------

    def ask(self, voices: list[Activity], words: str, step: Step, decision: str) -> Exchange:
        """A new question: the ``voices``, with their ``words``, and what was begun for them ahead."""
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
        """The voices and words are the exchange's, from now on its question is with the model."""
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
        """Whose that is which was begun ahead of the exchange: what is of a voice goes with the voice."""
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
        """The pending voices before those: questions that were not answered, or no questions at all."""
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
        """Those of the voices that may ask something; ``worded``: or whose own words will tell."""
        return [
            v
            for v in pending
            if (worded and "finals" in v.data) or not question.back_channel(v, self.into.get(v.at), self.cutting)
        ]

    def in_a_row(self, pending: list[Activity]) -> list[Activity]:
        return question.voices_in_a_row(pending, interims=self.timeline.hears_interims)
