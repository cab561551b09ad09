"""Stretches of time of one length, for charts over time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LENGTHS = (MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, DAY, 7 * DAY, 28 * DAY, 364 * DAY)
"""Seconds."""
MOST = 72
"""Maximum number of buckets in a chart: a bar of some pixels each, also in a narrow window."""


class Bucket(NamedTuple):
    """A stretch of time, in seconds since the epoch."""

    start: int
    end: int

    @property
    def since(self) -> str:
        """The start as a filter of the URL has it."""
        return _date(self.start)

    @property
    def until(self) -> str:
        return _date(self.end)

    @property
    def name(self) -> str:
        """The stretch as people read it, in UTC."""
        start, end = (datetime.fromtimestamp(at, UTC) for at in self)
        if self.end - self.start >= DAY:
            return f"{start:%Y-%m-%d}" if self.end - self.start == DAY else f"{start:%Y-%m-%d} to {end:%Y-%m-%d}"
        return f"{start:%Y-%m-%d %H:%M} to {end:%H:%M}"


def buckets(moments: Iterable[int]) -> list[Bucket]:
    """The buckets from the first to the last moment (nanoseconds since the epoch), empty ones too; of equal length."""
    seconds = [moment // 1_000_000_000 for moment in moments]
    if not seconds:
        return []
    first, last = min(seconds), max(seconds)
    length = next((length for length in LENGTHS if last // length - first // length < MOST), LENGTHS[-1])
    return [Bucket(n * length, (n + 1) * length) for n in range(first // length, last // length + 1)]


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M")
