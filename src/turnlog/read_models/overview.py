"""Session overviews: the figures that the list of sessions shows and filters by."""

from __future__ import annotations

from typing import NamedTuple

from eventstore.stores.records import Part
from projections.measures import SessionRow
from projections.measures.row import labels_of, speech_of


class Overview(NamedTuple):
    """The figures that a replay adds to a `Session`; see `projections.measures.SessionRow`."""

    turns: int
    response_p95_ms: float | None
    slowest_ms: float | None
    errors: int
    interruptions: int
    no_response: int
    framework: str
    """Name and version, as recorded; empty if not recorded."""


class Wanted(NamedTuple):
    """A filter for sessions."""

    slower_than_ms: float | None = None
    having: tuple[str, ...] = ()
    """Conditions that a session must all meet, out of ``errors``, ``interruptions`` and ``no-response``."""
    grep: str | None = None
    """Text that the user or the agent must have said; case is ignored."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of a row that the filter and an overview need."""
        return ("labels",) if self.grep is None else ("labels", "speech")

    def holds(self, row: SessionRow) -> bool:
        """Whether the session matches."""
        if self.slower_than_ms is not None and (row.slowest_ms or 0.0) <= self.slower_than_ms:
            return False
        if any(not getattr(row, name.replace("-", "_")) for name in self.having):
            return False
        return self.grep is None or _was_said(row, self.grep.casefold())


def overview_of(row: SessionRow) -> Overview:
    """The overview of a session; its row has the labels."""
    figures = [getattr(row, name) for name in Overview._fields[:-1]]
    return Overview._make([*figures, labels_of(row)[0]])


def _was_said(row: SessionRow, text: str) -> bool:
    return any(text in words.casefold() for each in speech_of(row) for words in each if words)
