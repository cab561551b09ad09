"""The verdict on each limit of a budget, and the worst turns where it fails."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from projections.caller import RULES as TURNLOG
from turnlog.stats.baseline import Baseline
from turnlog.stats.budget import Budget, Limit, NoRegression
from turnlog.stats.figures import figure, format_exact, format_value
from turnlog.stats.metrics import FRAMEWORK_PARTS, MEASURES, PARTS, Metric
from turnlog.stats.regression import LESS_IS_WORSE, MetricChange, TooFew, compare, is_worse
from turnlog.stats.table import TurnTable
from turnlog.terminal import plural

WORST = 5
"""Number of turns shown for a broken budget."""


class Worst(NamedTuple):
    """One of the worst turns."""

    session: str
    number: int | None
    """None if it was discarded."""
    at: int | None
    """Index of the event that discarded it."""
    value: float | None
    """Its value of the budget's measure, in its unit; None if a turn has no such value."""
    parts: dict[str, float]
    """Its measured latencies in milliseconds; see `turnlog.stats.metrics.PARTS`."""
    why: list[str] = []  # noqa: RUF012
    """Explanation lines; see `turnlog.stats.reasons`."""

    @property
    def turn(self) -> str:
        return str(self.number) if self.number is not None else f"discarded at event {self.at}"


class Verdict(NamedTuple):
    """The outcome of one limit."""

    budget: str
    """As written."""
    outcome: Literal["pass", "fail", "inconclusive"]
    found: str
    """The figure with its unit."""
    why: str
    """Details of the figure: samples and interval, or the test."""
    unit: str
    worst: list[Worst] = []  # noqa: RUF012


def judge(table: TurnTable, budget: Budget, baseline: Baseline | None) -> list[Verdict]:
    """A verdict for each limit, then for each metric that must not regress.

    Without any turn there is a failed one in front: a check of nothing must not pass.
    """
    found = [] if len(table.completed(table.all_turns())) else [_no_turns(table)]
    found += [_limit_verdict(table, limit) for limit in budget.limits]
    return found + [
        _regression_verdict(table, metric, budget.regression, baseline) for metric in budget.regression.metrics
    ]


def _no_turns(table: TurnTable) -> Verdict:
    return Verdict("turns to check", "fail", "0", f"no turn in {plural(table.sessions, 'session')}", "")


def _limit_verdict(table: TurnTable, limit: Limit) -> Verdict:
    unit, (value, samples, low, high) = limit.metric.unit, figure(table, limit.metric)
    if table.rules == TURNLOG and limit.metric.name in ("turns.discarded", "discarded.rate", "discarded.count"):
        return Verdict(limit.text, "inconclusive", "–", f"the rules {TURNLOG} discard no turn", unit)
    if value is None:
        return Verdict(limit.text, "inconclusive", "–", f"no turn has {limit.metric.measure}", unit)
    why = plural(samples, "session" if limit.metric.measure == "sessions" else "turn")
    if low is not None and high is not None:
        why += f", 95 % interval {format_value(low, unit)} … {format_value(high, unit)}"
        if limit.holds(low) != limit.holds(high):
            why += ", which contains the limit"
    if limit.holds(value):
        return Verdict(limit.text, "pass", format_exact(value, unit), why, unit)
    worst = _worst(table, limit.metric, least=limit.comparison.startswith(">"))
    return Verdict(limit.text, "fail", format_exact(value, unit), why, unit, worst)


def _regression_verdict(table: TurnTable, metric: Metric, rule: NoRegression, baseline: Baseline | None) -> Verdict:
    text, unit = f"no regression of {metric.name}", metric.unit
    if table.rules == TURNLOG and metric.measure == "discarded":
        return Verdict(text, "inconclusive", "–", f"the rules {TURNLOG} discard no turn", unit)
    if baseline is None:
        return Verdict(text, "inconclusive", "–", "no --baseline to compare with", unit)
    change = compare(table, metric, baseline)
    if isinstance(change, TooFew):
        return Verdict(text, "inconclusive", "–", change.why, unit)
    found = f"{format_exact(change.before, unit)} → {format_exact(change.after, unit)}"
    worse = is_worse(metric, change, rule.significance, rule.minimum_change)
    worst = _worst(table, metric, least=metric.measure in LESS_IS_WORSE) if worse else []
    return Verdict(text, "fail" if worse else "pass", found, _test_details(metric, change, rule), unit, worst)


def _test_details(metric: Metric, change: MetricChange, rule: NoRegression) -> str:
    statistic = "median " if metric.statistic == "all" else ""
    moved = "from 0" if math.isinf(change.relative) else f"{change.relative:+.1%}"
    needs = f"fails at p < {rule.significance:g} with a change of {rule.minimum_change * 100:g} %"
    return f"{statistic}{moved}, p = {change.p:.2g}, at least {plural(change.samples, 'turn')} on each side; {needs}"


def _worst(table: TurnTable, metric: Metric, *, least: bool) -> list[Worst]:
    """The turns with the highest or (``least``) lowest values; for a rate, the first turns that it counts."""
    if metric.measure == "sessions" or metric.name == "turns.completed":
        return []
    chosen = table.all_turns()
    completed = table.completed(chosen)
    if metric.measure in ("turns", "discarded"):
        kept = set(completed.tolist())
        return [_turn(table, index, None) for index in chosen.tolist() if index not in kept][:WORST]
    values = table.column(metric.measure)
    measured = [(float(values[i]), i) for i in completed.tolist() if not math.isnan(values[i])]
    if metric.measure not in MEASURES:
        return [_turn(table, index, None) for value, index in measured if value][:WORST]
    measured.sort(key=lambda pair: (pair[0] if least else -pair[0], pair[1]))
    return [_turn(table, index, value) for value, index in measured[:WORST]]


def _turn(table: TurnTable, index: int, value: float | None) -> Worst:
    session, number = table.where(index)
    completed, at = (number, None) if number > 0 else (None, -1 - number)
    return Worst(
        session, completed, at, value, table.parts(index, PARTS if table.rules == TURNLOG else FRAMEWORK_PARTS)
    )
