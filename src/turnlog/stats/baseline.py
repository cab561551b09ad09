"""Baselines: samples of earlier turns to compare with, small enough to be committed with the code.

A baseline is JSON with up to `KEPT` values of each measure (all of them, or evenly spaced ones of the sorted values,
which preserves the percentiles) and the two counts of each rate.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eventstore.errors import TurnlogError
from turnlog.stats.figures import counts_of, values_of
from turnlog.stats.metrics import MEASURES, RATES
from turnlog.stats.table import TurnTable

KEPT = 1000


class BadBaseline(TurnlogError):
    """The baseline cannot be read or compared."""


Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Baseline(BaseModel):
    """The content of a baseline file, which has its own version."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["turnlog-baseline"] = "turnlog-baseline"
    version: Literal[1] = 1
    rules: str
    turns: Count
    samples: dict[str, list[Finite]]
    """Sorted values by measure, in its unit."""
    rates: dict[str, tuple[Count, Count]]
    """By rate: the number of turns counted, and of all turns."""


def make_baseline(table: TurnTable, rules: str) -> Baseline:
    """Make a baseline of the table's turns."""
    completed = table.completed(table.all_turns())
    samples = {measure: _thin_out(sorted(values_of(table, measure, completed).tolist())) for measure in MEASURES}
    opened = len(table)
    rates = {name: counts_of(table, name, completed) for name in RATES}
    rates["discarded"] = (opened - len(completed), opened)
    return Baseline(rules=rules, turns=len(completed), samples={n: v for n, v in samples.items() if v}, rates=rates)


def _thin_out(values: list[float]) -> list[float]:
    if len(values) <= KEPT:
        return values
    return [values[round(n * (len(values) - 1) / (KEPT - 1))] for n in range(KEPT)]


def load_baseline(path: Path, rules: str) -> Baseline:
    """Read a baseline, which must have the same rules. Raises `BadBaseline`."""
    try:
        found = Baseline.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadBaseline(
            f"cannot read {path}: {error.strerror}; `turnlog check --save-baseline {path}` writes one"
        ) from error
    except ValidationError as error:
        raise BadBaseline(
            f"{path} is not a baseline of this version; `turnlog check --save-baseline {path}` writes one"
        ) from error
    if found.rules != rules:
        raise BadBaseline(f"{path} was made under the rules {found.rules!r}, so it cannot be compared under {rules!r}")
    return found
