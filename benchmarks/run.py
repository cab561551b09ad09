"""``make bench``: what turnlog costs, beside the reference, raw drivers and another event store, all from one run.

Prints a table and writes ``benchmarks/results.json``. Seconds are of this machine and this minute; the ratios are what
goals are set in. ``--only WORD`` runs the families of rows that have the word in their names, and writes nothing.
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
from rows import Row, beside
from turnlog.recordings import Recording

HERE = Path(__file__).resolve().parent
ROUNDS = 3


def families(sqlite: Sqlite, postgres: Postgres) -> dict[str, Callable[[], Iterator[Row]]]:
    """All rows, in the order of the table; a name is what ``--only`` searches."""
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
    """What a hook call costs its caller."""
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
        yield beside(f"hook call, process, {calls} calls", min(process), peer, min(theirs), "µs", at_most=0.5)
        yield beside(f"hook call, memory, {calls} calls", min(memory), peer, min(theirs), "µs", at_most=0.2)


def delivery(sqlite: Sqlite) -> Iterator[Row]:
    """What delivery beside an agent costs its hook calls."""
    generated = [recording for recording in recordings(GENERATED) if recording.name.endswith("cascade")]
    yield from attached.measure(sqlite, lambda recorder: _ready(recorder, generated))


def _hook_us(recordings: list[Recording], durability: Durability, store: Store) -> float:
    """Microseconds a hook call on the caller's side: all calls in one burst, the writer idle before it."""
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
    parser.add_argument("--only", metavar="WORD", default="", help="only the families with this in their names")
    only = parser.parse_args().only
    console = Console()
    rows: list[Row] = []
    for row in measure(console, only):
        rows.append(row)
        if not only:  # so that what was measured is kept whatever comes
            result = {"machine": platform.platform(), "python": platform.python_version(), "rows": rows}
            (HERE / "results.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    table = Table("work", "turnlog", "beside", "there", "ratio", "goal", title="turnlog beside its peers")
    marks = {True: " [green]✓", False: " [red]✗", None: ""}
    for row in rows:
        ratio = "-" if row["ratio"] is None else str(row["ratio"])
        table.add_row(row["work"], row["ours"], row["peer"], row["theirs"], ratio, row["goal"] + marks[row["reached"]])
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
