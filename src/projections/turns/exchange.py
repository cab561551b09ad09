"""An exchange: what the user asked and what was done to answer it. `projections.turns.assembly` makes them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from projections.timeline import Activity

WORK = ("llm", "tool", "knowledge_base", "tts")


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

    def busy(self, now: int) -> bool:
        """Whether an answer was being made or spoken at that time."""
        for part in reversed(self.parts):
            running = part.start is not None and part.start <= now and (part.end is None or part.end > now)
            if running and (part.kind in ("llm", "tool", "knowledge_base", "agent") or (part.kind == "tts" and part.first is None)):
                return True
        return False

    def over(self, now: int) -> bool:
        """Whether what comes now is none of its answer: it was cut off, or was heard and is done."""
        return self.closed or self.cut is not None or (self.heard and not self.busy(now))

    def because(self, decision: str, at: int) -> None:
        self.decisions.append(Decision(decision, at))
