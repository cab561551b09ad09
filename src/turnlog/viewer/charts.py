"""Charts as positions in percent, which templates draw as SVG; each bar is a link to the calls that it counts."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from turnlog.stats.figures import format_value, interval
from turnlog.stats.metrics import MEASURES, PERCENTILES
from turnlog.terminal import plural
from turnlog.viewer.buckets import buckets
from turnlog.viewer.calls import Matching
from turnlog.viewer.pages import Params, link

if TYPE_CHECKING:
    from turnlog.stats.table import Numbers

SLOW = 1.5
"""A bar stands out if its p95 is this many times that of the median bar."""
FEWEST = 3
"""Minimum number of bars among which one can stand out."""
BINS = 40
"""Number of bars of a histogram, at most, up to the p99; one more has the rest."""


class Tick(NamedTuple):
    at: float
    """Percent from the top, or from the left."""
    value: float


class Bar(NamedTuple):
    """A stretch of time with its values."""

    x: float
    width: float
    top: float
    """Position of the p95."""
    middle: float
    """Position of the p50."""
    low: float | None
    high: float | None
    """Positions of the p95's interval; None if it is not drawn, or unknown."""
    slow: bool
    label: str
    url: str


class OverTime(NamedTuple):
    bars: list[Bar]
    ticks: list[Tick]
    first: str
    last: str
    """Begin and end of the time that is drawn."""


class Bin(NamedTuple):
    """A range of values with the number of turns."""

    x: float
    width: float
    top: float
    label: str
    url: str


class Histogram(NamedTuple):
    bins: list[Bin]
    counts: list[Tick]
    values: list[Tick]
    marks: dict[str, float]
    """Positions of percentiles, by name."""


def over_time(
    found: Matching, params: Params, measure: str = "response", *, intervals: bool = False
) -> OverTime | None:
    """The measure of the turns that match, by the start of their session; None if none has it."""
    column = found.table.column(measure)
    chosen = found.chosen[~np.isnan(column[found.chosen])]
    started = found.started_ns[chosen]
    stretches = buckets(started.tolist())
    if not stretches:
        return None
    at = (started // 1_000_000_000 - stretches[0].start) // (stretches[0].end - stretches[0].start)
    inside = {n: chosen[at == n] for n in np.unique(at).tolist()}
    spreads = {n: _spread(column[turns], intervals=intervals) for n, turns in inside.items()}
    usual = median(spread.p95 for spread in spreads.values())
    ticks = scale(max(max(spread.p95, spread.high or 0.0) for spread in spreads.values()))
    most, unit, bars = ticks[-1].value, MEASURES[measure], []
    for n, spread in spreads.items():
        stretch, calls = stretches[n], plural(found.table.sessions_of(inside[n]), "call")
        figures = f"p50 {format_value(spread.p50, unit)}, p95 {format_value(spread.p95, unit)}{spread.between(unit)}"
        bars.append(
            Bar(
                x=100 * n / len(stretches),
                width=100 / len(stretches),
                top=_height(spread.p95, most),
                middle=_height(spread.p50, most),
                low=None if spread.low is None else _height(spread.low, most),
                high=None if spread.high is None else _height(spread.high, most),
                slow=len(spreads) >= FEWEST and spread.p95 >= SLOW * usual,
                label=f"{stretch.name}: {figures}, {calls}",
                url=link("/", {**params, "since": [stretch.since], "until": [stretch.until], "page": []}),
            )
        )
    return OverTime(bars, ticks, stretches[0].since.replace("T", " "), stretches[-1].until.replace("T", " "))


class _Spread(NamedTuple):
    p50: float
    p95: float
    low: float | None
    high: float | None

    def between(self, unit: str) -> str:
        if self.low is None or self.high is None:
            return ""
        return f" (95 % interval {format_value(self.low, unit)} to {format_value(self.high, unit)})"


def _spread(values: Numbers, *, intervals: bool) -> _Spread:
    p50, p95 = np.quantile(values, (0.50, 0.95)).tolist()
    low, high = interval(values, PERCENTILES["p95"]) if intervals else (None, None)
    return _Spread(p50, p95, low, high)


def histogram(values: Numbers, measure: str, params: Params) -> Histogram | None:
    """The distribution of the values; None if there are none. A range has its upper end, but not its lower one."""
    if not len(values):
        return None
    edges = _edges(float(np.quantile(values, 0.99)))
    counts = np.bincount(np.searchsorted(edges[1:], values), minlength=len(edges)).tolist()
    ticks = scale(max(counts))
    unit, bins = MEASURES[measure], []
    for n, count in enumerate(counts):
        low, high = (edges[n] if n else None), (edges[n + 1] if n + 1 < len(edges) else None)
        if not count:
            continue
        span = {"slower": [] if low is None else [_plain(low)], "faster": [] if high is None else [_plain(high)]}
        bins.append(
            Bin(
                x=100 * n / len(counts),
                width=100 / len(counts),
                top=_height(count, ticks[-1].value),
                label=f"{_range(low, high, unit)}: {plural(count, 'turn')}",
                url=link("/", {**params, **span, "measure": [measure] if measure != "response" else []}),
            )
        )
    step = max(1, len(edges) // 6)
    labelled = [Tick(100 * n / len(counts), edges[n]) for n in range(0, len(edges), step)]
    marks = {name: _position(float(np.quantile(values, PERCENTILES[name])), edges) for name in ("p50", "p95")}
    return Histogram(bins, ticks, labelled, marks)


def scale(largest: float) -> list[Tick]:
    """Ticks, from the bottom, from 0 to a round number that is not below ``largest``."""
    step = next(s for s in _round_numbers() if 4 * s >= largest)
    count = next(n for n in range(1, 5) if n * step >= largest)
    return [Tick(100 - 100 * n / count, n * step) for n in range(count + 1)]


def _edges(largest: float) -> list[float]:
    """Round numbers from 0 on, of which the last is not below ``largest``."""
    step = next(s for s in _round_numbers() if BINS * s >= largest)
    return [n * step for n in range(max(1, -int(-largest // step)) + 1)]


def _round_numbers() -> Sequence[float]:
    return [digit * 10.0**power for power in range(-3, 15) for digit in (1, 2, 2.5, 5)]


def _height(value: float, most: float) -> float:
    return 100 - 100 * value / most


def _position(value: float, edges: list[float]) -> float:
    """Where a value stands on the axis, which ends with one bar for all that is beyond the last edge."""
    bars = min(value / edges[1], len(edges) - 0.5)
    return 100 * bars / len(edges)


def _plain(value: float) -> str:
    return f"{value:.10g}"


def _range(low: float | None, high: float | None, unit: str) -> str:
    if low is None:
        return f"up to {format_value(high, unit)}"
    if high is None:
        return f"more than {format_value(low, unit)}"
    return f"{format_value(low, '')} to {format_value(high, unit)}"
