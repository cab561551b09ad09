"""The budget file: limits on metrics, as TOML (``docs/stats.md`` has the grammar and an example)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eventstore.errors import TurnlogError
from turnlog.stats.metrics import Metric, Unit, UnknownMetric, find_comparable, find_metric

UNITS: dict[Unit, dict[str, float]] = {"ms": {"ms": 1, "s": 1000}, "%": {"%": 1}, "": {"": 1}}
"""The units accepted for each metric unit, with their conversion factors."""
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda value, limit: value < limit,
    "<=": lambda value, limit: value <= limit,
    ">": lambda value, limit: value > limit,
    ">=": lambda value, limit: value >= limit,
    "==": lambda value, limit: value == limit,
}
_LIMIT = re.compile(r"\s*([\w.]+)\s*(<=|>=|==|<|>)\s*(\d+(?:\.\d+)?)\s*(\S*)\s*")


class BadBudget(TurnlogError):
    """The budget file is invalid."""


class Limit(NamedTuple):
    """A limit such as ``response.p95 < 1200 ms``."""

    text: str
    metric: Metric
    comparison: str
    bound: float
    """In the metric's unit."""

    def holds(self, value: float) -> bool:
        return COMPARISONS[self.comparison](value, self.bound)


class NoRegression(NamedTuple):
    """Metrics that must not regress against a baseline; a regression is both significant and relevant."""

    metrics: tuple[Metric, ...] = ()
    significance: float = 0.01
    """The probability of a false alarm."""
    minimum_change: float = 0.05
    """The smallest relevant change, as a share of the baseline's figure."""


class Budget(NamedTuple):
    limits: tuple[Limit, ...]
    regression: NoRegression


class _Regression(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    metrics: list[str] = Field(min_length=1)
    significance: float = Field(0.01, gt=0, lt=0.5)
    minimum_change: str = "5 %"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    budgets: list[str] = []
    regression: _Regression | None = None


def load_budget(path: Path) -> Budget:
    """Read a budget file. Raises `BadBudget` with the place and the problem."""
    try:
        found = _File.model_validate(tomllib.loads(path.read_text("utf-8")))
        budget = Budget(tuple(parse_limit(text) for text in found.budgets), _no_regression(found.regression))
    except OSError as error:
        raise BadBudget(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise BadBudget(f"{path}: {_first(error)}") from error
    except (ValueError, BadBudget, UnknownMetric) as error:  # ValueError: invalid TOML or UTF-8
        raise BadBudget(f"{path}: {error}") from error
    if not budget.limits and not budget.regression.metrics:
        raise BadBudget(f'{path} sets no budget; write budgets = ["response.p95 < 1200 ms"]')
    return budget


def parse_limit(text: str) -> Limit:
    """Parse one limit. Raises `BadBudget`."""
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise BadBudget(f"budget {text!r} is not of the form METRIC < NUMBER UNIT, as in 'response.p95 < 1200 ms'")
    name, comparison, number, unit = match.groups()
    try:
        metric = find_metric(name)
    except UnknownMetric as error:
        raise BadBudget(f"budget {text!r}: {error}") from None
    units = UNITS[metric.unit]
    if unit not in units:
        raise BadBudget(f"budget {text!r}: {_unit_error(name, unit, list(units), f'{name} {comparison} {number}')}")
    return Limit(text.strip(), metric, comparison, float(number) * units[unit])


def _unit_error(name: str, unit: str, units: list[str], bare: str) -> str:
    if not unit:
        return f"{name} needs a unit, {' or '.join(units)}: '{bare} {units[0]}'"
    wanted = " or ".join(filter(None, units))
    return f"{name} takes {wanted or 'no unit'}, not {unit!r}"


def _no_regression(found: _Regression | None) -> NoRegression:
    if found is None:
        return NoRegression()
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", found.minimum_change)
    if match is None:
        raise BadBudget(f"regression.minimum_change must be a percentage such as '5 %', not {found.minimum_change!r}")
    metrics = tuple(find_comparable(name) for name in dict.fromkeys(found.metrics))
    return NoRegression(metrics, found.significance, float(match[1]) / 100)


def _first(error: ValidationError) -> str:
    found: Any = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in found["loc"])
    if found["type"] != "extra_forbidden":
        return f"{where}: {found['msg']}"
    near = get_close_matches(str(found["loc"][-1]), [*_File.model_fields, *_Regression.model_fields], 1)
    return f"unknown setting {where!r}; " + (f"did you mean {near[0]!r}?" if near else "see docs/stats.md")
