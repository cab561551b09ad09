"""The differences between two replays of many sessions, summed up by field: turns affected and size of the change.

Memory is bounded: counts, at most `KEPT` values per field, and the first `LISTED` changes and sessions. The sample is
not random: the same sessions in the same order give the same figures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any, NamedTuple

from projections.compare.turns import Change
from projections.model import is_number

KEPT = 4096
LISTED = 1000
GOLDEN = 2654435769
"""2³² divided by the golden ratio: its multiples modulo 2³² are spread evenly, also those of every second or third
number. So the sample has no period in common with the values, as every second value would with turns of two entries."""


class Compared(NamedTuple):
    """The comparison of one session."""

    session: str
    turns: int
    """Number of turns on the first side or only on the second."""
    changes: list[Change]
    first: Any
    """The first divergence, as plain data; None if there is none."""


@dataclass(slots=True)
class Spread:
    """The distribution of a number's change: exact up to `KEPT` values, then from half of them, a quarter, …"""

    count: int = 0
    least: float = 0.0
    most: float = 0.0
    kept: list[tuple[int, float]] = field(default_factory=list)
    """Sample of keys and values; those with the smallest keys are kept."""
    _below: int = 2**32

    def add(self, value: float) -> None:
        self.least = value if not self.count else min(self.least, value)
        self.most = value if not self.count else max(self.most, value)
        key = self.count * GOLDEN % 2**32
        self.count += 1
        if key < self._below:
            self.kept.append((key, value))
            if len(self.kept) > KEPT:
                self._below //= 2
                self.kept = [pair for pair in self.kept if pair[0] < self._below]

    def percentiles(self) -> tuple[float, float, float]:
        """The 5th, 50th and 95th percentile, linear between the two nearest values. Requires at least one value."""
        values = [value for _key, value in self.kept]
        if len(values) == 1:
            return values[0], values[0], values[0]
        found = quantiles(values, n=20, method="inclusive")
        return found[0], found[9], found[18]


@dataclass(slots=True)
class Field:
    """The changes of a field in all turns."""

    turns: int = 0
    spread: Spread = field(default_factory=Spread)
    """Distribution of the change, where the field is a number on both sides."""


@dataclass(slots=True)
class Differences:
    """The totals over all sessions, which are added one by one."""

    sessions: int = 0
    turns: int = 0
    changed_sessions: int = 0
    changed_turns: int = 0
    changes: int = 0
    fields: dict[str, Field] = field(default_factory=dict)
    listed: list[tuple[str, Change]] = field(default_factory=list)
    first: dict[str, Any] = field(default_factory=dict)

    def add(self, compared: Compared) -> None:
        found = compared.changes
        self.sessions += 1
        self.turns += compared.turns
        self.changed_sessions += bool(found)
        self.changed_turns += len({(change.turn, change.other_turn) for change in found})
        self.changes += len(found)
        self.listed += [(compared.session, change) for change in found[: LISTED - len(self.listed)]]
        if compared.first is not None and len(self.first) < LISTED:
            self.first[compared.session] = compared.first
        for name, _turn, _other in dict.fromkeys((c.field, c.turn, c.other_turn) for c in found):
            self.fields.setdefault(name, Field()).turns += 1
        for change in found:
            if is_number(change.before) and is_number(change.after):
                self.fields[change.field].spread.add(change.after - change.before)


COLUMNS = ("field", "turns", "least", "p5", "median", "p95", "most")


def summary_rows(found: Differences) -> list[tuple[Any, ...]]:
    """A row of `COLUMNS` per field, the one that changed in most turns first."""
    rows = []
    for name, each in found.fields.items():
        spread = each.spread
        figures = (spread.least, *spread.percentiles(), spread.most) if spread.count else (None,) * 5
        rows.append((name or "(the whole turn)", each.turns, *figures))
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def summary(found: Differences) -> dict[str, Any]:
    """The totals and the listed changes as JSON data."""
    return {
        "sessions": found.sessions,
        "changed_sessions": found.changed_sessions,
        "turns": found.turns,
        "changed_turns": found.changed_turns,
        "fields": [dict(zip(COLUMNS, row, strict=True)) for row in summary_rows(found)],
        "changes_found": found.changes,
        "changes": [{"session_id": session, **change._asdict()} for session, change in found.listed],
        "first": found.first,
    }
