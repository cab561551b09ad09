"""Regression tests: statistical comparison of the current turns with those of a baseline.

All tests are one-sided, and "worse" means more: more milliseconds, more tokens, more interruptions
(``tokens_per_second`` is the only measure where less is worse). A whole distribution is compared by the Mann-Whitney
test; a percentile by the quantile test, which counts the values above the pooled percentile on both sides (Fisher's
exact test of the four counts; for the median it is Mood's); a rate by Fisher's exact test.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from turnlog.stats.baseline import Baseline
from turnlog.stats.figures import counts_of, values_of
from turnlog.stats.metrics import PERCENTILES, Metric
from turnlog.stats.table import TurnTable

if TYPE_CHECKING:
    from turnlog.stats.table import Numbers

FEWEST = 20
"""Minimum number of values on each side for a decision."""
FEWEST_BEYOND = 5
"""Minimum number of values expected beyond the percentile."""
LESS_IS_WORSE = frozenset({"tokens_per_second"})


class MetricChange(NamedTuple):
    """The result of a test."""

    before: float
    """The baseline's figure; for a whole distribution the median."""
    after: float
    p: float
    """The probability of such a difference or a greater one if nothing had become worse."""
    samples: int
    """Number of values on the smaller side."""

    @property
    def relative(self) -> float:
        """The change relative to ``before``: 0.2 is a fifth more."""
        if self.after == self.before:
            return 0.0
        return (self.after - self.before) / abs(self.before) if self.before else math.copysign(math.inf, self.after)


class TooFew(NamedTuple):
    """Too few values for a decision."""

    why: str


def compare(table: TurnTable, metric: Metric, baseline: Baseline) -> MetricChange | TooFew:
    """Compare the metric over the completed turns (``discarded``: over all turns) with the baseline."""
    if metric.statistic == "rate":
        return _rates(table, metric.measure, baseline)
    import numpy as np

    after = values_of(table, metric.measure, table.completed(table.all_turns()))
    before = np.asarray(baseline.samples.get(metric.measure, []), np.float64)
    share = PERCENTILES.get(metric.statistic)
    needed = FEWEST if share is None else max(FEWEST, math.ceil(FEWEST_BEYOND / (1 - share) - 1e-9))
    if found := _too_few(len(before), len(after), needed):
        return found
    sign = -1 if metric.measure in LESS_IS_WORSE else 1
    return _distributions(before, after, sign) if share is None else _percentiles(before, after, share, sign)


def is_worse(metric: Metric, change: MetricChange, significance: float, minimum_change: float) -> bool:
    """True if the change is for the worse, significant and relevant."""
    relative = -change.relative if metric.measure in LESS_IS_WORSE else change.relative
    return change.p < significance and relative >= minimum_change


def _too_few(before: int, after: int, needed: int) -> TooFew | None:
    if min(before, after) >= needed:
        return None
    return TooFew(f"needs {needed} turns on each side; the baseline has {before}, this run {after}")


def _distributions(before: Numbers, after: Numbers, sign: int) -> MetricChange:
    import numpy as np
    from scipy import stats

    found = stats.mannwhitneyu(after * sign, before * sign, alternative="greater", method="asymptotic")
    return MetricChange(
        float(np.median(before)), float(np.median(after)), float(found.pvalue), min(len(before), len(after))
    )


def _percentiles(before: Numbers, after: Numbers, share: float, sign: int) -> MetricChange:
    """Where less is worse, the percentile counts from the other end, as the tail is there."""
    import numpy as np

    share = share if sign > 0 else 1 - share
    cut = np.quantile(np.concatenate([before, after]), share)
    beyond = [int((side * sign > cut * sign).sum()) for side in (after, before)]
    figures = float(np.quantile(before, share)), float(np.quantile(after, share))
    return MetricChange(*figures, _fisher(beyond[0], len(after), beyond[1], len(before)), min(len(before), len(after)))


def _rates(table: TurnTable, name: str, baseline: Baseline) -> MetricChange | TooFew:
    chosen = table.all_turns()
    completed = table.completed(chosen)
    if name == "discarded":
        hits, turns = len(chosen) - len(completed), len(chosen)
    else:
        hits, turns = counts_of(table, name, completed)
    hits_before, turns_before = baseline.rates.get(name, (0, 0))
    if found := _too_few(turns_before, turns, FEWEST):
        return found
    p = _fisher(hits, turns, hits_before, turns_before)
    return MetricChange(100 * hits_before / turns_before, 100 * hits / turns, p, min(turns, turns_before))


def _fisher(hits: int, turns: int, hits_before: int, turns_before: int) -> float:
    import numpy as np
    from scipy import stats

    counts = np.array([[hits, turns - hits], [hits_before, turns_before - hits_before]])
    return float(stats.fisher_exact(counts, alternative="greater").pvalue)
