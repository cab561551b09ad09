"""``make soak``: run the scenarios, show a table, exit with 1 if anything was lost or leaked or fell over."""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from soak.disk import disk
from soak.figures import Advance, Figures, table
from soak.fuzz import fuzz
from soak.kills import kills
from soak.many import many
from soak.million import million
from soak.places import Places, places

SCENARIOS = ["kills", "disk", "many", "million", "fuzz"]


def soak(
    only: Annotated[str, typer.Option(help=f"Of {', '.join(SCENARIOS)}; several between commas.")] = "",
    seconds: Annotated[float, typer.Option(help="How long to fuzz.")] = 600,
    count: Annotated[int, typer.Option("--kills", help="How many kills in all.")] = 1040,
    events: Annotated[int, typer.Option(help="How long the long session is.")] = 1_000_000,
    calls: Annotated[int, typer.Option(help="How many calls each of 8 processes makes in each of 64 sessions.")] = 100,
    backend: Annotated[str, typer.Option(help="sqlite alone, or sqlite and postgres.")] = "postgres",
    seed: Annotated[int | None, typer.Option(help="Of all that is random.", show_default="a new one")] = None,
) -> None:
    """Kill, fill, crowd, prolong and fuzz; every acknowledged call is counted again afterwards."""
    chosen = only.split(",") if only else SCENARIOS
    if unknown := set(chosen).difference(SCENARIOS):
        sys.exit(f"no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    seed = random.randrange(2**32) if seed is None else seed
    print(f"seed {seed}")
    runs: dict[str, tuple[float, Callable[[Places, Advance], list[Figures]]]] = {
        "kills": (count, lambda places, advance: kills(places, count, seed, advance)),
        "disk": (5, disk),
        "many": (2, lambda places, advance: many(places, calls, advance)),
        "million": (events, lambda places, advance: million(places, events, advance)),
        "fuzz": (seconds, lambda _places, advance: fuzz(seconds, seed, advance)),
    }
    logging.getLogger("turnlog").setLevel(logging.CRITICAL)  # it speaks of every damaged file
    rows: list[Figures] = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with places(postgres=backend == "postgres") as found, Progress(*columns) as bar:
        for name in chosen:
            total, run = runs[name]
            task, began = bar.add_task(name, total=total), time.monotonic()
            made = run(found, lambda by, task=task: bar.advance(task, by))
            made[-1].notes.append(f"{name} took {time.monotonic() - began:.0f} s")
            rows += made
    print(table(rows))
    for fault in [fault for row in rows for fault in row.faults]:
        print(fault, file=sys.stderr)
    sys.exit(any(not row.held for row in rows))


if __name__ == "__main__":
    typer.run(soak)
