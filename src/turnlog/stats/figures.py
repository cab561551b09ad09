"""The value of a metric over a set of turns, with its confidence interval.

Percentiles are numpy's default, linear between the two nearest values. Intervals have a confidence of 95 %, assuming
independent turns, which those of one call are not quite: for a percentile the distribution-free one from order
statistics, for a rate Wilson's. They are those of `scipy.stats.quantile_test` and `scipy.stats.binomtest`, made of
`scipy.special` alone, as `scipy.stats` takes a second to import. Nothing draws random numbers, so the same turns give
the same figures.
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
    """In the metric's unit; None without samples."""
    samples: int
    """Number of turns (or sessions)."""
    low: float | None = None
    high: float | None = None
    """The interval; None if the metric has none, or there are too few samples."""


def figure(table: TurnTable, metric: Metric, chosen: Choice | None = None) -> Figure:
    """The metric over the chosen turns, or all."""
    if metric.measure == "sessions":
        count = table.sessions if chosen is None else table.sessions_of(chosen)
        return Figure(count, count)
    chosen = table.all_turns() if chosen is None else chosen
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
    """The measured values, in the order of the turns."""
    import numpy as np

    column = table.column(measure)[chosen]
    return column[~np.isnan(column)]


def counts_of(table: TurnTable, measure: str, chosen: Choice) -> tuple[int, int]:
    """A rate's numerator and denominator: the number of turns counted, and of those it is a share of."""
    turns = table.share_of(measure, chosen)
    return int((table.column(measure)[turns] > 0).sum()), len(turns)


def statistic(values: Numbers, name: str) -> float | None:
    """One of `STATISTICS`, or ``sum``; None without values."""
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
    """The interval of the percentile ``share``; None if there are too few values for either bound."""
    import numpy as np

    tail = (1 - CONFIDENCE) / 2
    if max(share, 1 - share) ** len(values) > tail:
        return None, None  # all values may well lie on one side of it
    low, high = _binomial_quantile(tail, len(values), share) - 1, _binomial_quantile(1 - tail, len(values), share)
    if low < 0 or high >= len(values):
        return None, None
    ordered = np.partition(values, (low, high))
    return float(ordered[low]), float(ordered[high])


def _binomial_quantile(probability: float, trials: int, share: float) -> int:
    """The smallest number of successes that is not exceeded with this probability."""
    from scipy import special

    near = max(math.ceil(special.bdtrik(probability, trials, share)) - 1, 0)  # rounding may be off by one
    return next(k for k in range(near, trials + 1) if special.bdtr(k, trials, share) >= probability)


def rate(hits: int, turns: int) -> Figure:
    """The rate in percent, with its interval."""
    from scipy import special

    if not turns:
        return Figure(None, 0)
    z, share = float(special.ndtri(0.5 + 0.5 * CONFIDENCE)), hits / turns
    denominator = 2 * (turns + z**2)
    center = (2 * turns * share + z**2) / denominator
    delta = z / denominator * math.sqrt(4 * turns * share * (1 - share) + z**2)
    low = center - delta if hits else 0.0
    high = center + delta if hits < turns else 1.0
    return Figure(100 * hits / turns, turns, 100 * low, 100 * high)


def format_exact(value: float, unit: str) -> str:
    """A value with up to three decimals, so that one just above a limit does not look equal to it."""
    return f"{round(value, 3) + 0.0:,.10g} {unit}".rstrip()


def format_value(value: float | None, unit: str) -> str:
    """A rounded value for display: whole numbers from 100 on, else three significant digits."""
    if value is None:
        return "–"
    number = f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.3g}"
    return f"{number} {unit}" if unit else number
