"""Statistics of a million events: `turnlog stats` compared with a handwritten DuckDB query.

The query reads the turns from the output of `turnlog export csv`. It returns the percentiles of six latencies and the
rate of interruptions; `turnlog stats` returns every measure and rate, with intervals. The common percentiles must be
equal.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb

from databases import MILLION, Database
from eventstore import open_store
from exporters.files.turns_csv import header, rows_of
from projections.caller import RULES, read
from rows import Row, comparison_row
from turnlog.read_models import plan
from turnlog.sessions import started_between
from turnlog.stats.collect import collect
from turnlog.stats.report import report
from turnlog.stats.table import TurnTable

ROUNDS = 5
LATENCIES = ("response", "time_to_answer", "stt", "eou", "llm_ttft", "tts_first_byte")
SHARES = (0.5, 0.9, 0.95, 0.99)
_QUANTILES = ", ".join(f"quantile_cont({name}_ms, {list(SHARES)}), count({name}_ms)" for name in LATENCIES)
_TYPES = dict.fromkeys((f"{name}_ms" for name in LATENCIES), "DOUBLE") | {"interrupted": "BOOLEAN"}
QUERY = f"select {_QUANTILES}, 100.0 * count_if(interrupted) / count(*) from read_csv(?, types = {_TYPES})"


def stats(database: Database) -> Iterator[Row]:
    """Statistics the first time, with a replay in all processors, and again, from read models."""
    with closing(open_store(database.million)) as store, tempfile.TemporaryDirectory(dir=database.folder) as folder:
        sessions = started_between(store.sessions(), None, None)
        names, path = [session.session_id for session in sessions], Path(folder) / "turns.csv"

        def export() -> None:
            with path.open("wb") as file:
                file.write(header())
                for name in names:
                    file.writelines(rows_of(read(store.read(name))))

        def query() -> tuple[Any, ...]:
            found = duckdb.execute(QUERY, [str(path)]).fetchone()
            assert found is not None
            return found

        def tabled() -> TurnTable:
            """What `turnlog stats` does: which rows are fresh, a replay of the others, and a table."""
            planned = plan(store, started_between(store.sessions(), None, None), RULES)
            return collect(store, planned, jobs=len(os.sched_getaffinity(0)))

        store.rows.delete(names)
        first, exporting = _best(lambda: report(tabled()), 1), _best(export, 1)
        table = tabled()
        _agree(report(table)[0], query())
        again, querying = _best(lambda: report(tabled())), _best(query)
    peer = "export csv, then a DuckDB query"
    yield comparison_row(
        "stats of a million events, the first time",
        MILLION / first / 1000,
        peer,
        MILLION / (exporting + querying) / 1000,
        "k/s",
    )
    yield comparison_row(
        "stats of a million events, again", MILLION / again / 1000, peer, MILLION / (exporting + querying) / 1000, "k/s"
    )


def _best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds in the best round."""
    best = math.inf
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _agree(ours: dict[str, Any], theirs: tuple[Any, ...]) -> None:
    for at, name in enumerate(LATENCIES):
        spread = ours["measures"].get(name, {"count": 0})
        assert spread["count"] == theirs[2 * at + 1], name
        for share, value in zip(SHARES, theirs[2 * at] or (), strict=False):
            assert math.isclose(spread[f"p{share * 100:.0f}"], value, rel_tol=1e-9), (name, share)
    assert math.isclose(ours["rates"]["interruption"]["rate"], theirs[-1], rel_tol=1e-9)
