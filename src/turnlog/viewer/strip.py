"""The strip over the list of sessions: response over time, a bar for each stretch of time, from its p50 to its p95."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles
from typing import NamedTuple

from turnlog.viewer.buckets import Bucket, buckets
from turnlog.viewer.listing import Listed
from turnlog.viewer.pages import Params, link

SLOW = 1.5
"""A bar stands out if its p95 is this many times that of the median bar."""
FEWEST = 3
"""Minimum number of bars among which one can stand out."""


class Tick(NamedTuple):
    y: float
    """Percent from the top."""
    ms: float


class Bar(NamedTuple):
    """A stretch of time with its responses; positions are percentages of the chart."""

    x: float
    width: float
    top: float
    middle: float
    """Position of the p50."""
    bottom: float
    slow: bool
    label: str
    url: str
    """The list of its sessions."""


class Strip(NamedTuple):
    bars: list[Bar]
    ticks: list[Tick]
    first: str
    last: str
    """Begin and end of the time that is drawn."""


def strip(rows: Sequence[Listed], params: Params) -> Strip | None:
    """The strip of the listed sessions, by their start; None if none has a response."""
    found = buckets(row.started_ns for row in rows)
    by_bucket: dict[int, list[Listed]] = {}
    for row in rows:
        if row.responses:
            at = row.started_ns // 1_000_000_000
            by_bucket.setdefault((at - found[0].start) // (found[0].end - found[0].start), []).append(row)
    if not by_bucket:
        return None
    spreads = {n: _spread([ms for row in inside for ms in row.responses]) for n, inside in by_bucket.items()}
    usual = median(p95 for _p50, p95 in spreads.values())
    ticks = scale(max(p95 for _p50, p95 in spreads.values()))
    bars = []
    for n, (p50, p95) in sorted(spreads.items()):
        bars.append(
            Bar(
                x=100 * n / len(found),
                width=100 / len(found),
                top=100 - 100 * p95 / ticks[-1].ms,
                middle=100 - 100 * p50 / ticks[-1].ms,
                bottom=100.0,
                slow=len(spreads) >= FEWEST and p95 >= SLOW * usual,
                label=_label(found[n], len(by_bucket[n]), p50, p95),
                url=link("/", {**params, "since": [found[n].since], "until": [found[n].until], "page": []}),
            )
        )
    return Strip(bars, ticks, found[0].since.replace("T", " "), found[-1].until.replace("T", " "))


def scale(largest: float) -> list[Tick]:
    """Ticks from 0 to a round number that is not below ``largest``."""
    step = next(s for s in _steps() if 4 * s >= largest)
    count = next(n for n in range(1, 5) if n * step >= largest)
    return [Tick(100 - 100 * n / count, n * step) for n in range(count + 1)]


def _steps() -> Sequence[float]:
    return [digit * 10.0**power for power in range(12) for digit in (1, 2, 2.5, 5)]


def _spread(values: list[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    cuts = quantiles(values, n=20, method="inclusive")
    return cuts[9], cuts[18]


def _label(bucket: Bucket, calls: int, p50: float, p95: float) -> str:
    return f"{bucket.name}: p50 {p50:,.0f} ms, p95 {p95:,.0f} ms, {calls:,} {'call' if calls == 1 else 'calls'}"
