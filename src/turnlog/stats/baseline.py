"""A baseline: what the turns were like once, small enough to be committed beside the code.

JSON: of each measure up to `KEPT` values (all of them, or evenly spaced ones of the sorted values, which keep the
percentiles), of each rate its two counts.
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
    """A baseline that cannot be read, or not be compared with."""


Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Baseline(BaseModel):
    """What is kept, under a version of its own."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["turnlog-baseline"] = "turnlog-baseline"
    version: Literal[1] = 1
    rules: str
    turns: Count
    samples: dict[str, list[Finite]]
    """By measure, sorted; in milliseconds, or numbers."""
    rates: dict[str, tuple[Count, Count]]
    """By rate: the turns that have it, and all turns."""


def make_baseline(table: TurnTable, rules: str) -> Baseline:
    """The baseline that these turns are."""
    completed = table.completed(table.everything())
    samples = {measure: _kept(sorted(values_of(table, measure, completed).tolist())) for measure in MEASURES}
    opened = len(table)
    rates = {name: counts_of(table, name, completed) for name in RATES}
    rates["discarded"] = (opened - len(completed), opened)
    return Baseline(rules=rules, turns=len(completed), samples={n: v for n, v in samples.items() if v}, rates=rates)


def _kept(values: list[float]) -> list[float]:
    if len(values) <= KEPT:
        return values
    return [values[round(n * (len(values) - 1) / (KEPT - 1))] for n in range(KEPT)]


def load_baseline(path: Path, rules: str) -> Baseline:
    """Read a baseline, which must be of the same rules. Raises `BadBaseline`."""
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
