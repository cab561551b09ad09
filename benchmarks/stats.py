"""Statistics of a million events: `turnlog stats` compared with a handwritten DuckDB query.

The query reads the turns from the output of `turnlog export csv`. It returns the percentiles of six latencies and the
rate of interruptions; `turnlog stats` returns every measure and rate, with intervals. The common percentiles must be
equal.
"""

from __future__ import annotations

import math
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
from projections.measures import measures
from rows import Row, comparison_row
from turnlog.sessions import started_between
from turnlog.stats.report import report
from turnlog.stats.table import TurnTable

ROUNDS = 5
LATENCIES = ("response", "time_to_answer", "stt", "eou", "llm_ttft", "tts_first_byte")
SHARES = (0.5, 0.9, 0.95, 0.99)
_QUANTILES = ", ".join(f"quantile_cont({name}_ms, {list(SHARES)}), count({name}_ms)" for name in LATENCIES)
_TYPES = dict.fromkeys((f"{name}_ms" for name in LATENCIES), "DOUBLE") | {"interrupted": "BOOLEAN"}
QUERY = f"select {_QUANTILES}, 100.0 * count_if(interrupted) / count(*) from read_csv(?, types = {_TYPES})"


def stats(database: Database) -> Iterator[Row]:
    """Statistics from the log, and from turns already in memory."""
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

        measured = []

        def replay() -> None:
            measured.clear()
            measured.extend((name, measures(store.read(name))) for name in names)

        def tabled() -> TurnTable:
            table = TurnTable(rules=RULES)
            for name, found in measured:
                table.add(name, found)
            return table

        replaying, exporting = _best(replay, 1), _best(export, 1)
        table = tabled()
        _agree(report(table)[0], query())
        tabling, reporting, querying = _best(tabled), _best(lambda: report(table)), _best(query)
    peer = "export csv, then a DuckDB query"
    whole = replaying + tabling + reporting, exporting + querying
    yield comparison_row(
        "stats of a million events, from the log", MILLION / whole[0] / 1000, peer, MILLION / whole[1] / 1000, "k/s"
    )
    work = f"stats of {len(table):,} turns, replayed already"
    yield comparison_row(work, (tabling + reporting) * 1000, "DuckDB, of the CSV", querying * 1000, "ms")


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
