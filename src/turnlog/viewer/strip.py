"""The strip over the list of sessions: response over time, a bar for each stretch of time, from its p50 to its p95."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

from turnlog.terminal import plural
from turnlog.viewer.buckets import buckets
from turnlog.viewer.calls import Matching
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


def strip(found: Matching, params: Params) -> Strip | None:
    """The strip of the turns that match, by the start of their session; None if none has a response."""
    response = found.table.column("response")
    chosen = found.chosen[~np.isnan(response[found.chosen])]
    started = found.started_ns[chosen]
    stretches = buckets(started.tolist())
    if not stretches:
        return None
    length = stretches[0].end - stretches[0].start
    at = (started // 1_000_000_000 - stretches[0].start) // length
    spreads = {}
    for n in np.unique(at).tolist():
        inside = chosen[at == n]
        p50, p95 = np.quantile(response[inside], (0.50, 0.95)).tolist()
        spreads[n] = p50, p95, found.table.sessions_of(inside)
    usual = median(p95 for _p50, p95, _calls in spreads.values())
    ticks = scale(max(p95 for _p50, p95, _calls in spreads.values()))
    bars = []
    for n, (p50, p95, calls) in spreads.items():
        bars.append(
            Bar(
                x=100 * n / len(stretches),
                width=100 / len(stretches),
                top=100 - 100 * p95 / ticks[-1].ms,
                middle=100 - 100 * p50 / ticks[-1].ms,
                slow=len(spreads) >= FEWEST and p95 >= SLOW * usual,
                label=f"{stretches[n].name}: p50 {p50:,.0f} ms, p95 {p95:,.0f} ms, {plural(calls, 'call')}",
                url=link("/", {**params, "since": [stretches[n].since], "until": [stretches[n].until], "page": []}),
            )
        )
    return Strip(bars, ticks, stretches[0].since.replace("T", " "), stretches[-1].until.replace("T", " "))


def scale(largest: float) -> list[Tick]:
    """Ticks from 0 to a round number that is not below ``largest``."""
    step = next(s for s in _steps() if 4 * s >= largest)
    count = next(n for n in range(1, 5) if n * step >= largest)
    return [Tick(100 - 100 * n / count, n * step) for n in range(count + 1)]


def _steps() -> Sequence[float]:
    return [digit * 10.0**power for power in range(12) for digit in (1, 2, 2.5, 5)]
