"""An exchange: what the user asked and what was done to answer it. `projections.turns.assembly` makes them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from projections.timeline import Activity

GIVEN_UP_NS = 5_000_000_000
"""An answer for which nothing was done for that long will not come."""
HUNG_NS = 10_000_000_000
"""A model's run that never ends counts as running for that long after its start, or its first token."""


class Decision(msgspec.Struct, frozen=True):
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

    @property
    def question(self) -> bool:
        return bool(self.voices) or bool(self.words)

    def of(self, *kinds: str) -> Iterator[Activity]:
        return (part for part in self.parts if part.kind in kinds)

    def speeches(self) -> list[Activity]:
        return [part for part in self.parts if part.kind == "agent"]

    @property
    def heard(self) -> bool:
        """The agent was heard."""
        return any(part.kind == "agent" for part in self.parts)

    @property
    def cut_off(self) -> bool:
        """Its answer was, before it was over."""
        return self.cut is not None or self.cut_by_voice

    def busy(self, now: int) -> bool:
        """Whether an answer was being made or spoken at that time."""
        for part in reversed(self.parts):
            start, end = part.start, part.end
            if start is None or start > now or (end is not None and end <= now):
                continue
            if part.kind == "llm" and not part.end_reported and now - (part.first or start) >= HUNG_NS:
                continue
            if part.kind in ("llm", "tool", "knowledge_base", "agent"):
                return True
            if part.kind == "tts" and part.first is None and now - start < GIVEN_UP_NS:
                return True
        return False

    def over(self, now: int) -> bool:
        """Whether what comes now is none of its answer: it was cut off, was heard and is done, or never came."""
        if self.closed or self.cut is not None:
            return True
        if self.busy(now) or self._unspoken(now):
            return False
        return self.heard or now - self._latest(now) >= GIVEN_UP_NS

    def _unspoken(self, now: int) -> bool:
        """Whether a model's run wrote something after the agent was last heard, that may yet be said."""
        spoke = max((part.start or 0 for part in self.of("agent")), default=None)
        return spoke is not None and any(
            run.first is not None and run.status == "done" and (run.start or 0) > spoke
            and run.end is not None and run.end <= now < run.end + GIVEN_UP_NS
            for run in self.of("llm")
        )  # fmt: skip

    def _latest(self, now: int) -> int:
        """When something was last done for it."""
        times = (t for part in self.parts for t in (part.start, part.first, part.end) if t is not None and t <= now)
        return max([self.asked or self.opened, *times])

    def because(self, decision: str, at: int) -> None:
        self.decisions.append(Decision(decision, at))
