"""An exchange: what the user asked and what was done to answer it. `projections.turns.assembly` makes them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from projections.timeline import Activity

GIVEN_UP_NS = 5_000_000_000
"""An answer for which nothing was done for that long will not come."""
HUNG_NS = 10_000_000_000
"""A model's run that never ends counts as running for that long after its start, or its first token."""
WORK = frozenset(("llm", "tts", "tool", "knowledge_base", "agent"))
"""Kinds of which an answer is made, and spoken."""
FEW = 8
"""More parts than that are searched for those that are over, and these are left out."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Why something stands where it does: the decision's name, and the event on which it was taken."""

    name: str
    at: int


class Exchange(msgspec.Struct):
    """Times are nanoseconds on the session's clock."""

    opened: int
    at: int
    """Index of the event on which it was opened."""
    voices: list[Activity] = []
    """The question's utterances."""
    words: str = ""
    """The question, in words."""
    words_at: list[int] = []
    asked: int | None = None
    """When the question's words, or the run that answers them, went to the model."""
    asked_at: int = -1
    """Index of the event that says so."""
    came: int | None = None
    """When words came that no voice goes with."""
    came_at: int = -1
    typed: bool = False
    """No voice goes with the words: they were typed, or missed by the detector."""
    parts: list[Activity] = []
    """What was done for it: runs, tool calls, the agent's speech, errors …"""
    texts: list[str] = []
    """What the agent said, or was to say."""
    texts_at: list[int] = []
    cut: Activity | None = None
    """The interruption that ended it."""
    cut_by: Activity | None = None
    """The voice that was behind it."""
    cut_by_words: bool = False
    """STT understood the user where no voice was detected."""
    cut_by_voice: bool = False
    """A voice that the next turn answers ended its answer, with no hook for the interruption itself."""
    superseded: bool = False
    """Another question was answered in its place before anything was heard of it."""
    closed: bool = False
    hung_up: bool = False
    """The session ended while it was going on."""
    handed_off: bool = False
    decisions: list[Decision] = []
    by_kind: dict[str, list[Activity]] = {}
    """`parts` again."""
    work: list[Activity] = []
    """Those that make an answer; of many, the ones that were over long ago are left out."""
    others: list[Activity] = []
    """Those of all other kinds; likewise."""
    latest: int = -(2**63)
    """When something was last done of what is left out of both."""
    spoke: int | None = None
    """When the agent last began to speak in it."""

    @property
    def question(self) -> bool:
        return bool(self.voices) or bool(self.words)

    def add(self, part: Activity) -> None:
        """The activity is part of it. Its times are complete: the timeline is read to its end before."""
        kind = part.kind
        self.parts.append(part)
        same = self.by_kind.get(kind)
        if same is None:
            self.by_kind[kind] = [part]
        else:
            same.append(part)
        (self.work if kind in WORK else self.others).append(part)
        if kind == "agent":
            self.spoke = part.start or 0 if self.spoke is None else max(self.spoke, part.start or 0)

    def of(self, kind: str) -> Sequence[Activity]:
        """Its parts of that kind, in their order."""
        return self.by_kind.get(kind, ())

    def speeches(self) -> Sequence[Activity]:
        return self.by_kind.get("agent", ())

    @property
    def heard(self) -> bool:
        """The agent was heard."""
        return self.spoke is not None

    @property
    def answer(self) -> str:
        """What the agent said, or was to say."""
        return self.texts[0] if len(self.texts) == 1 else " ".join(self.texts)

    @property
    def cut_off(self) -> bool:
        """Its answer was, before it was over."""
        return self.cut is not None or self.cut_by_voice

    # Where it stands at a time; these are called in the order of time -------------------------------------------

    def busy(self, now: int) -> bool:
        """Whether an answer was being made or spoken at that time."""
        if len(self.work) > FEW:
            self.work = self._recent(self.work, now)
        for part in reversed(self.work):
            start, end = part.start, part.end
            if start is None or start > now or (end is not None and end <= now):
                continue
            kind = part.kind
            if kind == "llm":
                if part.end_reported or now - (part.first or start) < HUNG_NS:
                    return True
            elif kind != "tts" or (part.first is None and now - start < GIVEN_UP_NS):
                return True
        return False

    def over(self, now: int) -> bool:
        """Whether what comes now is none of its answer: it was cut off, was heard and is done, or never came."""
        if self.closed or self.cut is not None:
            return True
        if self.busy(now):
            return False
        if self.spoke is not None:
            return not self._unspoken(now, self.spoke)
        return now - self._latest(now) >= GIVEN_UP_NS

    def _unspoken(self, now: int, spoke: int) -> bool:
        """Whether a model's run wrote something after the agent was last heard, that may yet be said."""
        for run in self.work:
            if run.kind == "llm" and (run.start or 0) > spoke and run.first is not None and run.status == "done":
                end = run.end
                if end is not None and end <= now < end + GIVEN_UP_NS:
                    return True
        return False

    def _latest(self, now: int) -> int:
        """When something was last done for it."""
        if len(self.others) > FEW:
            self.others = self._recent(self.others, now)
        latest = max(self.latest, self.asked or self.opened)
        for part in (*self.work, *self.others):
            for time in (part.start, part.first, part.end):
                if time is not None and latest < time <= now:
                    latest = time
        return latest

    def _recent(self, parts: list[Activity], now: int) -> list[Activity]:
        """Those that may matter at that time, or after it; the others' times go into `latest`."""
        rest = []
        for part in parts:
            last = max((time for time in (part.start, part.first, part.end) if time is not None), default=self.latest)
            if last + GIVEN_UP_NS >= now or (part.end is None and part.kind in WORK):
                rest.append(part)
            else:
                self.latest = max(self.latest, last)
        return rest

    def because(self, decision: str, at: int) -> None:
        self.decisions.append(Decision(decision, at))
