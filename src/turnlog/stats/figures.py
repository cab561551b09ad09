"""The figure of a metric over some turns, and how sure it is.

Percentiles are numpy's default, linear between the two nearest values. Intervals hold the true figure with 95 %, if
turns are independent of each other, which those of one call are not quite: of a percentile the distribution-free one
from order statistics (`scipy.stats.quantile_test`), of a rate Wilson's (`scipy.stats.binomtest`). Neither draws random
numbers, so the same turns give the same figures.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from turnlog.stats.metrics import PERCENTILES, RATES, Metric
from turnlog.stats.table import TurnTable

if TYPE_CHECKING:
    from turnlog.stats.table import Choice, Numbers

CONFIDENCE = 0.95


class Figure(NamedTuple):
    value: float | None
    """In the metric's unit; None if there was nothing to make it of."""
    samples: int
    """The turns (or sessions) it is made of."""
    low: float | None = None
    high: float | None = None
    """The interval; None where there is none, or the samples are too few for one."""


def figure(table: TurnTable, metric: Metric, chosen: Choice | None = None) -> Figure:
    """The metric over all turns, or the chosen ones."""
    if metric.measure == "sessions":
        count = table.sessions if chosen is None else table.sessions_of(chosen)
        return Figure(count, count)
    chosen = table.everything() if chosen is None else chosen
    completed = table.completed(chosen)
    if metric.measure in ("turns", "discarded"):
        turns = len(completed) if metric.statistic == "completed" else len(chosen) - len(completed)
        return rate(turns, len(chosen)) if metric.statistic == "rate" else Figure(turns, len(chosen))
    if metric.measure in RATES:
        hits, turns = counts_of(table, metric.measure, completed)
        return rate(hits, turns) if metric.statistic == "rate" else Figure(hits, turns)
    values = values_of(table, metric.measure, completed)
    found = statistic(values, metric.statistic)
    bounds = interval(values, PERCENTILES[metric.statistic]) if metric.statistic in PERCENTILES else (None, None)
    return Figure(found, len(values), *bounds)


def values_of(table: TurnTable, measure: str, chosen: Choice) -> Numbers:
    """What was measured, in the order of the turns."""
    import numpy as np

    column = table.column(measure)[chosen]
    return column[~np.isnan(column)]


def counts_of(table: TurnTable, measure: str, chosen: Choice) -> tuple[int, int]:
    """The turns that have what the rate counts, and those that it is a share of."""
    turns = table.share_of(measure, chosen)
    return int((table.column(measure)[turns] > 0).sum()), len(turns)


def statistic(values: Numbers, name: str) -> float | None:
    """One of `STATISTICS`, or ``sum``; None if there are no values to make it of."""
    import numpy as np

    if name == "count":
        return len(values)
    if not len(values) and name != "sum":
        return None
    if name in PERCENTILES:
        return float(np.quantile(values, PERCENTILES[name]))
    simple: dict[str, Any] = {"min": np.min, "mean": np.mean, "max": np.max, "sum": np.sum}
    return float(simple[name](values))


def interval(values: Numbers, share: float) -> tuple[float | None, float | None]:
    """Of the percentile ``share``; None if the values are too few for an upper bound, or a lower one."""
    from scipy import stats

    if max(share, 1 - share) ** len(values) > (1 - CONFIDENCE) / 2:
        return None, None  # so likely do all values lie on one side of it
    found: Any = stats.quantile_test(values, p=share).confidence_interval(CONFIDENCE)
    low, high = float(found.low), float(found.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (None, None)


def rate(hits: int, turns: int) -> Figure:
    """In percent."""
    from scipy import stats

    if not turns:
        return Figure(None, 0)
    found = stats.binomtest(hits, turns).proportion_ci(CONFIDENCE, "wilson")
    return Figure(100 * hits / turns, turns, 100 * float(found.low), 100 * float(found.high))


def exact(value: float, unit: str) -> str:
    """To three decimals: what is held to a limit of 1200 ms must not look like it."""
    return f"{round(value, 3) + 0.0:,.10g} {unit}".rstrip()


def format_value(value: float | None, unit: str) -> str:
    """For people: whole milliseconds from 10 on, and else three digits."""
    if value is None:
        return "–"
    number = f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.3g}"
    return f"{number} {unit}" if unit else number
