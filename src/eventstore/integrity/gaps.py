"""Gaps in ``seq``: recorded calls that are missing from the log.

Within an origin ``seq`` counts every call from 0. A missing number is a call that was lost before it was stored:
dropped at the journal's size limit, in a damaged frame, or still set aside. Calls missing after the last stored one
cannot be detected.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from eventstore.event import Event


class Gap(NamedTuple):
    """Calls of one origin that are missing, from ``first`` to ``last`` (both are missing)."""

    session_id: str
    origin: str
    first: int
    last: int

    @property
    def calls(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        """``3 calls missing (seq 5 to 7)``."""
        if self.calls == 1:
            return f"1 call missing (seq {self.first})"
        return f"{self.calls} calls missing (seq {self.first} to {self.last})"


class Seqs:
    """A set of ``seq`` numbers, stored as intervals: small as long as there are few gaps."""

    def __init__(self) -> None:
        self._first: list[int] = []
        self._last: list[int] = []

    def add(self, seq: int) -> bool:
        """Add a number; False if it was there already."""
        first, last = self._first, self._last
        if last and seq == last[-1] + 1:  # nearly always
            last[-1] = seq
            return True
        at = bisect_right(first, seq) - 1  # the last interval that begins at or before seq
        if at >= 0 and seq <= last[at]:
            return False
        joins_left = at >= 0 and last[at] == seq - 1
        joins_right = at + 1 < len(first) and first[at + 1] == seq + 1
        if joins_left and joins_right:
            last[at] = last.pop(at + 1)
            del first[at + 1]
        elif joins_left:
            last[at] = seq
        elif joins_right:
            first[at + 1] = seq
        else:
            first.insert(at + 1, seq)
            last.insert(at + 1, seq)
        return True

    def gaps(self) -> Iterator[tuple[int, int]]:
        """The first and last number of each gap before the highest number, counting from 0."""
        before = -1
        for first, last in zip(self._first, self._last, strict=True):
            if first > before + 1:
                yield max(before + 1, 0), first - 1
            before = last


def gaps_in(events: Iterable[Event]) -> list[Gap]:
    """The gaps in a session's events (in any order), sorted by origin and ``seq``."""
    seen: dict[tuple[str, str], Seqs] = {}
    for event in events:
        key = event.session_id, event.origin
        if key not in seen:
            seen[key] = Seqs()
        seen[key].add(event.seq)
    return [Gap(*names, *gap) for names, seqs in sorted(seen.items()) for gap in seqs.gaps()]
