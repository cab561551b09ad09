"""``make bench``: turnlog's costs compared with the reference, bare drivers and a different event store, in one run.

Prints a table and writes ``benchmarks/results.json``. Absolute times depend on the machine and its load, so goals are
set for ratios. ``--only WORD`` runs only the families of rows with the word in their names, and writes no file.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import attached
import log
import processes
import stats
from calls import GENERATED, RECORDED, recordings
from databases import Postgres, Sqlite
from eventstore import Recorder, Store, open_store
from eventstore.recording.writer import Durability
from reference_side import arguments, loop_seconds, positional, skipped
from rows import Row, comparison_row
from turnlog.recordings import Recording

HERE = Path(__file__).resolve().parent
ROUNDS = 3


def families(sqlite: Sqlite, postgres: Postgres) -> dict[str, Callable[[], Iterator[Row]]]:
    """All families of rows, in the order of the table, by the names that ``--only`` matches."""
    found: dict[str, Callable[[], Iterator[Row]]] = {
        "hook": partial(hook, sqlite),
        "delivery": partial(delivery, sqlite),
    }
    for measure in (log.append, log.read, log.follow, log.size):
        for database in (sqlite, postgres):
            found[f"{measure.__name__} {database.name}"] = partial(measure, database)
    return found | {
        "replay": partial(log.replay, sqlite),
        "long": partial(log.long, sqlite),
        "stats": partial(stats.stats, sqlite),
    }


def hook(sqlite: Sqlite) -> Iterator[Row]:
    """Cost of a hook call for its caller."""
    generated = [recording for recording in recordings(GENERATED) if recording.name.endswith("cascade")]
    for calls, corpus, path in (("generated", generated, GENERATED), ("recorded", recordings(RECORDED), RECORDED)):
        process, memory, theirs = [], [], []
        with sqlite.fresh() as url:
            store = open_store(url)
            for _ in range(ROUNDS):
                theirs.append(processes.reference("hooks", path)["hook_us"])
                process.append(_hook_us(corpus, "process", store))
                memory.append(_hook_us(corpus, "memory", store))
            store.close()
        peer = f"reference's hook, logging off, {calls} calls"
        yield comparison_row(f"hook call, process, {calls} calls", min(process), peer, min(theirs), "µs", at_most=0.5)
        yield comparison_row(f"hook call, memory, {calls} calls", min(memory), peer, min(theirs), "µs", at_most=0.2)


def delivery(sqlite: Sqlite) -> Iterator[Row]:
    """Cost of delivery in the agent's process, per hook call."""
    generated = [recording for recording in recordings(GENERATED) if recording.name.endswith("cascade")]
    yield from attached.measure(sqlite, lambda recorder: _ready(recorder, generated))


def _hook_us(recordings: list[Recording], durability: Durability, store: Store) -> float:
    """Microseconds per hook call for the caller: all calls in one burst, starting with an idle writer."""
    best = float("inf")
    for _ in range(10):
        with Recorder(store, durability=durability) as recorder:
            ready = _ready(recorder, recordings)
            recorder.start_turn()
            recorder.flush()
            start = time.perf_counter()
            for method, args in ready:
                method(*args)
            best = min(best, (time.perf_counter() - start - loop_seconds(ready)) / len(ready) * 1e6)
    return best


def _ready(recorder: Recorder, recordings: list[Recording]) -> list[tuple[Any, tuple[Any, ...]]]:
    calls = [call.model_dump() for recording in recordings for call in recording.calls]
    methods = [(getattr(recorder, c["hook"]), arguments(c["hook"], c["args"])) for c in calls if not skipped(c)]
    return [(method, positional(method, kwargs)) for method, kwargs in methods]


def measure(console: Console, only: str) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="turnlog-bench-") as folder:
        sqlite, postgres = Sqlite(Path(folder)), Postgres(Path(folder))
        with sqlite.ending, postgres.ending:
            for name, family in families(sqlite, postgres).items():
                if only.lower() not in name.lower():
                    continue
                if postgres.name in name and postgres.server is None:
                    console.print(f"no Postgres here, so not measured: {name}")
                    continue
                console.print(f"[dim]{name}…")
                yield from family()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="WORD", default="", help="run only families whose names contain WORD")
    only = parser.parse_args().only
    console = Console()
    rows: list[Row] = []
    for row in measure(console, only):
        rows.append(row)
        if not only:  # after each row, so that a later failure loses nothing
            result = {"machine": platform.platform(), "python": platform.python_version(), "rows": rows}
            (HERE / "results.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    table = Table("work", "turnlog", "peer", "peer's figure", "ratio", "goal", title="turnlog and its peers")
    marks = {True: " [green]✓", False: " [red]✗", None: ""}
    for row in rows:
        ratio = "-" if row["ratio"] is None else str(row["ratio"])
        table.add_row(row["work"], row["ours"], row["peer"], row["theirs"], ratio, row["goal"] + marks[row["reached"]])
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
