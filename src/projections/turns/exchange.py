"""Exchanges: a user's question with all work done to answer it. `projections.turns.assembly` creates them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from projections.timeline import Activity

ABANDONED_NS = 5_000_000_000
"""Inactivity after which no answer is expected any more."""
HUNG_NS = 10_000_000_000
"""Time after its start, or its first token, during which an LLM run without an end counts as running."""
WORK = frozenset(("llm", "tts", "tool", "knowledge_base", "agent"))
"""Kinds of activities that produce and play an answer."""
PRUNE_ABOVE = 8
"""Longer lists of parts are pruned of those that ended long ago."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """A decision that shaped the exchange: its name, and the index of the event at which it was made."""

    name: str
    at: int


class Exchange(msgspec.Struct):
    """A question and its answer. Times are nanoseconds on the session's clock."""

    opened: int
    at: int
    """Index of the event that opened it."""
    voices: list[Activity] = []
    """The question's utterances."""
    words: str = ""
    """The question's text."""
    words_at: list[int] = []
    sent: int | None = None
    """When the question was sent to the model, or the run that answers it started."""
    sent_at: int = -1
    """Index of the event that reports it."""
    arrived: int | None = None
    """When text without a voice arrived."""
    arrived_at: int = -1
    typed: bool = False
    """The question's text has no voice: it was typed, or missed by VAD."""
    parts: list[Activity] = []
    """Everything done for it: runs, tool calls, the agent's speech, errors …"""
    texts: list[str] = []
    """The agent's text, spoken or intended."""
    texts_at: list[int] = []
    cut: Activity | None = None
    """The interruption that ended the answer."""
    cut_by: Activity | None = None
    """The voice that caused it."""
    cut_by_words: bool = False
    """STT recognised the user although VAD reported no voice."""
    cut_by_voice: bool = False
    """A voice that the next turn answers ended the answer, without an interruption hook."""
    superseded: bool = False
    """A different question was answered in its place before any audio of this answer."""
    closed: bool = False
    hung_up: bool = False
    """The session ended during it."""
    handed_off: bool = False
    decisions: list[Decision] = []
    by_kind: dict[str, list[Activity]] = {}
    """`parts` by kind."""
    work: list[Activity] = []
    """The parts whose kind is in `WORK`, pruned of those that ended long ago."""
    other_parts: list[Activity] = []
    """The parts of all other kinds, pruned likewise."""
    latest_pruned: int = -(2**63)
    """The latest time of any pruned part."""
    last_speech_start: int | None = None
    """Start of the agent's last speech in it."""

    @property
    def question(self) -> bool:
        return bool(self.voices) or bool(self.words)

    def add(self, part: Activity) -> None:
        """Add an activity. Its times are final, as the timeline is complete before the assembly."""
        kind = part.kind
        self.parts.append(part)
        same = self.by_kind.get(kind)
        if same is None:
            self.by_kind[kind] = [part]
        else:
            same.append(part)
        (self.work if kind in WORK else self.other_parts).append(part)
        if kind == "agent":
            self.last_speech_start = (
                part.start or 0 if self.last_speech_start is None else max(self.last_speech_start, part.start or 0)
            )

    def of(self, kind: str) -> Sequence[Activity]:
        """The parts of that kind, in order."""
        return self.by_kind.get(kind, ())

    def speeches(self) -> Sequence[Activity]:
        return self.by_kind.get("agent", ())

    @property
    def has_speech(self) -> bool:
        """Whether the agent spoke in it."""
        return self.last_speech_start is not None

    @property
    def answer(self) -> str:
        """The agent's text, spoken or intended."""
        return self.texts[0] if len(self.texts) == 1 else " ".join(self.texts)

    @property
    def cut_off(self) -> bool:
        """Whether the answer was interrupted."""
        return self.cut is not None or self.cut_by_voice

    # State at a given time; callers pass non-decreasing times ---------------------------------------------------

    def is_busy(self, now: int) -> bool:
        """Whether an answer was being produced or spoken at that time."""
        if len(self.work) > PRUNE_ABOVE:
            self.work = self._prune(self.work, now)
        for part in reversed(self.work):
            start, end = part.start, part.end
            if start is None or start > now or (end is not None and end <= now):
                continue
            kind = part.kind
            if kind == "llm":
                if part.end_reported or now - (part.first or start) < HUNG_NS:
                    return True
            elif kind != "tts" or (part.first is None and now - start < ABANDONED_NS):
                return True
        return False

    def is_over(self, now: int) -> bool:
        """Whether the answer is finished by then: interrupted, completely spoken, or never given."""
        if self.closed or self.cut is not None:
            return True
        if self.is_busy(now):
            return False
        if self.last_speech_start is not None:
            return not self._has_unspoken_output(now, self.last_speech_start)
        return now - self._last_activity(now) >= ABANDONED_NS

    def _has_unspoken_output(self, now: int, last_speech_start: int) -> bool:
        """Whether an LLM run after the last speech has output that may still be spoken."""
        for run in self.work:
            if (
                run.kind == "llm"
                and (run.start or 0) > last_speech_start
                and run.first is not None
                and run.status == "done"
            ):
                end = run.end
                if end is not None and end <= now < end + ABANDONED_NS:
                    return True
        return False

    def _last_activity(self, now: int) -> int:
        """Time of the last activity for it."""
        if len(self.other_parts) > PRUNE_ABOVE:
            self.other_parts = self._prune(self.other_parts, now)
        latest = max(self.latest_pruned, self.sent or self.opened)
        for part in (*self.work, *self.other_parts):
            for time in (part.start, part.first, part.end):
                if time is not None and latest < time <= now:
                    latest = time
        return latest

    def _prune(self, parts: list[Activity], now: int) -> list[Activity]:
        """The parts that can still matter at that time or later; the others' times are folded into `latest_pruned`."""
        rest = []
        for part in parts:
            last = max(
                (time for time in (part.start, part.first, part.end) if time is not None), default=self.latest_pruned
            )
            if last + ABANDONED_NS >= now or (part.end is None and part.kind in WORK):
                rest.append(part)
            else:
                self.latest_pruned = max(self.latest_pruned, last)
        return rest

    def add_decision(self, decision: str, at: int) -> None:
        self.decisions.append(Decision(decision, at))
