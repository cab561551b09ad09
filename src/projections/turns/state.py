"""The state of the assembly: the exchanges so far, and what is not assigned yet."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from projections.timeline import Activity, Step, Timeline
from projections.turns import barge_in, question
from projections.turns.exchange import Exchange

VOICE_KINDS = ("stt", "eou", "eou_wait")


class Unassigned(msgspec.Struct, frozen=True, gc=False):
    """An activity that belongs to no turn, with the reason."""

    activity: Activity
    reason: str


@dataclass(slots=True)
class Assembly:
    """The exchanges of one session, followed by the working state of the fold."""

    timeline: Timeline
    exchanges: list[Exchange] = field(default_factory=list)
    unassigned: list[Unassigned] = field(default_factory=list)
    current: Exchange | None = None
    pending: list[Activity] = field(default_factory=list)
    early: list[Step] = field(default_factory=list)
    orphaned: list[Step] = field(default_factory=list)
    """Early work of a voice that belongs to a different question, or to none."""
    fallback_owners: dict[int, Exchange] = field(default_factory=dict)
    """By the ``at`` of early work: its exchange if no question that was being spoken then is answered."""
    spoken_during: dict[int, Exchange] = field(default_factory=dict)
    """By a voice's ``at``: the exchange that was not over when it began."""
    transcribed: set[int] = field(default_factory=set)
    """Voices with a final or preflight transcript so far."""
    recognised: set[int] = field(default_factory=set)
    """Voices with any transcript so far."""
    dropped: set[int] = field(default_factory=set)
    """Voices that belong to no question."""
    interrupting: set[int] = field(default_factory=set)
    """Voices that interrupted an answer."""
    owners: dict[int, Exchange] = field(default_factory=dict)
    """By an activity's ``at``: the exchange it is assigned to."""
    run_ids: set[str] = field(default_factory=set)
    """Ids of all LLM runs so far; the empty id for runs without one."""
    expired: int = 0
    """Number of leading exchanges that ended too long ago for a late transcript."""
    synthesised_for: Exchange | None = None
    """The exchange whose synthesis is played next."""
    last_speaker: Exchange | None = None
    """The exchange that spoke last."""
    last_llm_owner: Exchange | None = None
    """The exchange whose LLM run ended last."""
    last_llm_end: int = 0
    """When that run ended."""
    say_pending: bool = False
    """The next synthesis is scripted speech."""
    pending_text: tuple[str, int] | None = None
    """Agent text, with its event index, that arrived before its exchange."""
    finals: list[tuple[int, str, Activity | None, int]] = field(default_factory=list)
    """The last final transcripts: time, text, voice and event index."""
    recognised_at: int = -1
    """When STT last recognised the user without a pending voice."""

    def open(self, now: int, at: int) -> Exchange:
        x = Exchange(now, at)
        self.exchanges.append(x)
        self.current = x
        self.say_pending = False
        if self.pending_text is not None:
            self.add_text(x, *self.pending_text)
            self.pending_text = None
        return x

    def add(self, x: Exchange, activity: Activity) -> None:
        x.add(activity)
        self.owners[activity.at] = x
        if activity.kind == "llm":
            self.run_ids.add(activity.id)

    def add_text(self, x: Exchange, text: str, at: int) -> None:
        """Add text of the agent; a report of the whole answer so far replaces one of its beginning."""
        if x.texts and text.startswith(x.texts[-1]):
            x.texts[-1] = text
        elif not x.texts or text not in x.texts[-1]:
            x.texts.append(text)
        x.texts_at.append(at)

    def recent_exchanges(self, now: int) -> list[Exchange]:
        """The exchanges that a late transcript can still belong to."""
        while self.expired < len(self.exchanges) - 1:
            x = self.exchanges[self.expired]
            end = x.voices[-1].end if x.voices and not x.words_at else None
            if x is self.current or (end is not None and now <= end + question.RECENT_NS):
                break
            self.expired += 1
        return self.exchanges[self.expired :]

    # questions -------------------------------------------------------------------------------------------------

    def open_question(self, voices: list[Activity], words: str, step: Step, decision: str) -> Exchange:
        """Open a question of ``voices`` with the text ``words``, and assign the work started early for it."""
        before = self.current
        if before is not None and not before.has_speech and before.cut is None and before.question:
            before.superseded = any(self.spoken_during.get(v.at) is before for v in voices) or (
                not voices and before.is_busy(step.time)
            )
        self.resolve_before(voices, step)
        x = self.open(min([step.time, *(v.start for v in voices if v.start is not None)]), step.at)
        x.add_decision(decision, step.at)
        self.assign(x, voices, words, step)
        return x

    def assign(self, x: Exchange, voices: list[Activity], words: str, step: Step) -> None:
        """Assign voices and text to the exchange, whose question is with the model from now on."""
        x.voices.extend(voices)
        for voice in voices:
            self.owners[voice.at] = x
        if words:
            x.words = words
            x.words_at.append(step.at)
        elif not x.words:
            x.words = " ".join(filter(None, map(question.words_of, x.voices)))
        if x.sent is None:
            x.sent, x.sent_at = step.time, step.at
        if voices:
            self.pending = [voice for voice in self.pending if voice not in voices]
        early, self.early = self.early, []
        for step_before in early:
            self._assign_early(x, step_before)

    def _assign_early(self, x: Exchange, early: Step) -> None:
        """Assign a piece of early work: that of a voice goes to the voice's exchange."""
        part = early.activity
        assert part is not None
        voice = part.data.get("voice") if part.kind in VOICE_KINDS else None
        if part.at in self.fallback_owners and all((v.start or 0) > early.time for v in x.voices):
            self.add(self.fallback_owners[part.at], part)
        elif (voice is None and part.kind != "stt") or (voice is not None and self.owners.get(voice) is x):
            self.add(x, part)
        elif voice is None or voice in self.owners or voice in self.dropped:
            self.orphaned.append(early)
        else:
            self.early.append(early)

    def resolve_before(self, voices: list[Activity], step: Step) -> None:
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
        unanswered: list[Activity] = []
        for voice in rest:
            cut, x = voice.at in self.interrupting, self.spoken_during.get(voice.at)
            reason = barge_in.of_no_question(voice, cut=cut, into_answer=x is not None)
            if reason:
                self.unassigned.append(Unassigned(voice, reason))
                self.dropped.add(voice.at)
            else:
                unanswered.append(voice)
        if unanswered:
            start = unanswered[0].start
            x = self.open(step.time if start is None else start, step.at)
            x.add_decision("of_no_question", step.at)
            x.voices, x.words = unanswered, " ".join(filter(None, map(question.words_of, unanswered)))
            for voice in unanswered:
                self.owners[voice.at] = x
            x.closed = True

    def ended_pending(self, now: int) -> list[Activity]:
        ended = [v for v in self.pending if v.end is not None and v.data.get("reported", v.end) <= now]
        return self.possible_questions(ended)

    def possible_questions(self, pending: list[Activity], *, transcribed: bool = False) -> list[Activity]:
        """The voices that may be questions; with ``transcribed``, also those that have a final transcript to match."""
        return [
            v
            for v in pending
            if (transcribed and "finals" in v.data)
            or not question.back_channel(v, self.spoken_during.get(v.at), self.interrupting)
        ]

    def consecutive(self, pending: list[Activity]) -> list[Activity]:
        return question.voices_in_a_row(pending, interims=self.timeline.reports_interims)
