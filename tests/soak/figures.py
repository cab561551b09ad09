"""What a scenario counted, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Advance = Callable[[float], object]
"""Moves the progress bar by that much of a scenario's work."""


@dataclass
class Figures:
    """One row of the table."""

    scenario: str
    unit: str
    """What ``tried`` counts."""
    tried: int = 0
    survived: int = 0
    """Of them, those after which every invariant held."""
    lost: int = 0
    """Acknowledged calls, sessions or deliveries that are nowhere any more, or were changed."""
    leaked: int = 0
    """Plaintext or keys in files where they must not be; files, locks, threads left over."""
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """One line for each thing that went wrong."""

    @property
    def held(self) -> bool:
        return not self.faults and self.survived == self.tried and not self.lost and not self.leaked

    def lose(self, count: int, what: str) -> None:
        self.lost += count
        self.faults.append(f"{self.scenario}: lost: {what}")

    def leak(self, count: int, what: str) -> None:
        self.leaked += count
        self.faults.append(f"{self.scenario}: leaked: {what}")

    def fail(self, what: str) -> None:
        self.faults.append(f"{self.scenario}: {what}")


def table(rows: list[Figures]) -> str:
    """In Markdown."""
    lines = ["| scenario | tried | survived | lost | leaked | |", "|---|---:|---:|---:|---:|---|"]
    for row in rows:
        counts = f"{row.tried:,} {row.unit} | {row.survived:,} | {row.lost:,} | {row.leaked:,}"
        lines.append(f"| {row.scenario} | {counts} | {'; '.join(row.notes)} |")
    return "\n".join(lines)
