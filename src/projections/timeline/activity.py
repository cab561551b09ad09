"""Activities: intervals in a call, with their provenance."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Kind = Literal[
    "voice", "stt", "eou", "eou_wait", "knowledge_base", "llm", "tool", "tts", "agent", "realtime",
    "interruption", "doubt", "fallback", "error", "log", "sound", "hold", "words",
    "note",
]  # fmt: skip
Status = Literal["done", "cancelled", "superseded", "failed", "unfinished"]


def elapsed_ms(start: int | None, end: int | None) -> float | None:
    """Milliseconds from start to end; None if either is unknown, or the clocks put the end before the start."""
    return None if start is None or end is None or end < start else (end - start) / 1e6


class Activity(msgspec.Struct, gc=False):
    """One interval. Times are nanoseconds on the session's clock; None is unknown.

    ``gc=False``: it holds numbers, text and data from JSON, never an activity, so it cannot be part of a cycle.
    """

    kind: Kind
    at: int
    """Index of the event that began it."""
    start: int | None = None
    first: int | None = None
    """First output: an LLM token, a TTS byte, an interim transcript."""
    end: int | None = None
    end_reported: bool = False
    """The end was reported by an event; otherwise it is inferred."""
    status: Status = "unfinished"
    id: str = ""
    """The framework's id of the run or tool call."""
    data: dict[str, Any] = {}
    """Fields of the kind: a transcript, tokens, a tool's name and result."""
    provenance: list[str | int] = []
    """Flat list for speed, read by `sources`: alternately a field, or key of `data`, and the index of an event that
    sets it; ``~at`` replaces the earlier events of the field."""

    def add_source(self, field: str, at: int) -> None:
        """Add the event to the sources of ``field``."""
        provenance = self.provenance
        provenance.append(field)
        provenance.append(at)

    def set_first_output(self, now: int, at: int) -> None:
        """Set the time of the first output, unless it is set."""
        if self.first is None:
            self.first = now
            self.add_source("first", at)

    def finish(self, now: int, status: Status, at: int, *, reported: bool) -> None:
        """Set the end and the status; ``reported``: an event reports this end."""
        self.end, self.end_reported, self.status = now, reported, status
        self.add_source("end", ~at)

    @property
    def sources(self) -> dict[str, list[int]]:
        """Indices of the events that set each field, or key of `data`."""
        found: dict[str, list[int]] = {}
        fields = iter(self.provenance)
        for field, at in zip(fields, fields, strict=True):
            if at < 0:  # type: ignore[operator]
                found[field] = [~at]  # type: ignore[index, operator]
            else:
                found.setdefault(field, []).append(at)  # type: ignore[arg-type]
        return found

    def events(self) -> set[int]:
        """Indices of all events that contribute to it."""
        return {self.at}.union(*self.sources.values())
