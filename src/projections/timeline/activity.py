"""An activity: something in a call that lasted, with the events that say so."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Kind = Literal[
    "voice", "stt", "eou", "eou_wait", "knowledge_base", "llm", "tool", "tts", "agent", "realtime",
    "interruption", "doubt", "fallback", "error", "log", "sound", "hold", "words",
    "note",
]  # fmt: skip
Status = Literal["done", "cancelled", "superseded", "failed", "unfinished"]


class Activity(msgspec.Struct, gc=False):
    """One interval. Times are nanoseconds on the session's clock; None: the log does not say.

    ``gc=False``: it holds numbers, text and data from JSON, never another activity, so no cycle can run through it.
    """

    kind: Kind
    at: int
    """Index of the event that began it."""
    start: int | None = None
    first: int | None = None
    """First output: an LLM's token, a synthesis' byte, an interim transcript."""
    end: int | None = None
    end_reported: bool = False
    """An event says when it ended; otherwise the end is inferred."""
    status: Status = "unfinished"
    id: str = ""
    """The framework's own: a run's, or a tool call's."""
    data: dict[str, Any] = {}
    """What belongs to the kind: a transcript, tokens, a tool's name and result."""
    said: list[str | int] = []
    """Provenance as `say` appends it, see `says`: alternately a field, or key of `data`, and the index of an event
    that says so; ``~at`` is one that replaces those before it."""

    def say(self, field: str, at: int) -> None:
        """Note the event as one that says what ``field`` is."""
        said = self.said
        said.append(field)
        said.append(at)

    def put_out(self, now: int, at: int) -> None:
        """Take this for the first output, if there was none yet."""
        if self.first is None:
            self.first = now
            self.say("first", at)

    def finish(self, now: int, status: Status, at: int, *, reported: bool) -> None:
        """Set the end, and how it came about."""
        self.end, self.end_reported, self.status = now, reported, status
        self.say("end", ~at)

    @property
    def says(self) -> dict[str, list[int]]:
        """By field or key of `data`: indices of the events that say so."""
        found: dict[str, list[int]] = {}
        fields = iter(self.said)
        for field, at in zip(fields, fields, strict=True):
            if at < 0:  # type: ignore[operator]
                found[field] = [~at]  # type: ignore[index, operator]
            else:
                found.setdefault(field, []).append(at)  # type: ignore[arg-type]
        return found

    def events(self) -> set[int]:
        """Every event that says something of it."""
        return {self.at}.union(*self.says.values())
