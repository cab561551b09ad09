"""``make bench``: what turnlog costs, beside the reference and beside raw SQLite, as ratios from one run.

Prints a table and writes ``benchmarks/results.json``. Seconds are of this machine and this minute; the ratios are what
the goals are set in. Each side is measured in turns, several times, and its best is taken.
"""

from __future__ import annotations

import json
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from eventstore import Event, Recorder, Store, open_store
from eventstore.writer import Durability
from projections.fold import begin, fold
from projections.replay import replay
from turnlog.recordings import Recording, events_of, read_recordings

HERE = Path(__file__).resolve().parent
RECORDINGS = HERE.parent / "fixtures" / "recordings.jsonl.gz"
GENERATED = HERE.parent / "fixtures" / "conformance.jsonl.gz"
sys.path.insert(0, str(HERE.parent / "tests" / "differential"))
from reference_side import arguments, loop_seconds, positional, skipped

ROUNDS = 3
COPIES = 10
BATCH = 1000


def hook_cost(recordings: list[Recording], durability: Durability, store: Store) -> float:
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


def append_rates(events: list[Event], folder: Path) -> tuple[float, float]:
    """Events a second: ours, and the driver's ``executemany`` of ready rows into the same table."""
    ours = raw = float("inf")
    for n in range(ROUNDS):
        store = open_store(folder / f"append-{n}.db")
        start = time.perf_counter()
        for at in range(0, len(events), BATCH):
            store.append(events[at : at + BATCH])
        ours = min(ours, time.perf_counter() - start)
        store.close()

        open_store(folder / f"raw-{n}.db").close()
        rows = [(e.session_id, e.origin, e.seq, e.hook, e.version, e.perf_ns, e.wall_ns, e.payload) for e in events]
        connection = sqlite3.connect(folder / f"raw-{n}.db", isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        insert = (
            "INSERT INTO events (session_id, origin, seq, hook, version, perf_ns, wall_ns, payload) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        start = time.perf_counter()
        for at in range(0, len(rows), BATCH):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(insert, rows[at : at + BATCH])
            connection.execute("COMMIT")
        raw = min(raw, time.perf_counter() - start)
        connection.close()
    return len(events) / ours, len(events) / raw


def replay_rates(database: Path) -> tuple[float, float]:
    """Events a second from the database: with everything, and with turns and payloads alone."""
    store = open_store(database)
    sessions = [session.session_id for session in store.sessions()]
    events = sum(session.events for session in store.sessions())
    full = lean = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for session in sessions:
            replay(store.read(session))
        full = min(full, time.perf_counter() - start)
        start = time.perf_counter()
        for session in sessions:
            fold(begin(spans=False, signals=False), store.read(session))
        lean = min(lean, time.perf_counter() - start)
    store.close()
    return events / full, events / lean


def reference(python: Path, what: str, argument: Path) -> dict[str, float]:
    done = subprocess.run(
        [python, HERE / "reference_side.py", what, argument], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(python: Path, console: Console) -> list[dict[str, Any]]:
    recordings = [recording for _place, recording in read_recordings(RECORDINGS)]
    generated = [recording for _place, recording in read_recordings(GENERATED) if recording.name.endswith("cascade")]
    rows = []
    with tempfile.TemporaryDirectory(prefix="turnlog-bench-") as name:
        folder = Path(name)
        for calls, corpus, path in (("generated", generated, GENERATED), ("recorded", recordings, RECORDINGS)):
            console.print(f"[dim]hook calls, {calls}…")
            process, memory, theirs = [], [], []
            store = open_store(folder / f"{calls}.db")
            for _ in range(ROUNDS):
                theirs.append(reference(python, "hooks", path)["hook_us"])
                process.append(hook_cost(corpus, "process", store))
                memory.append(hook_cost(corpus, "memory", store))
            store.close()
            peer = f"reference's hook, logging off, {calls} calls"
            rows.append(_cost(f"hook call, process, {calls} calls", min(process), peer, min(theirs), 0.5))
            rows.append(_cost(f"hook call, memory, {calls} calls", min(memory), peer, min(theirs), 0.2))
        console.print("[dim]appending…")
        ours, raw = append_rates(_copies(recordings), folder)
        rows.append(_rate("append, 1,000 a batch, durable", ours, "raw sqlite3 executemany", raw, 0.7))
        console.print("[dim]replaying…")
        full, lean, database = 0.0, 0.0, folder / "append-0.db"
        theirs_replay = {"full_per_s": 0.0, "lean_per_s": 0.0}
        for _ in range(2):
            full, lean = map(max, (full, lean), replay_rates(database))
            again = reference(python, "replay", database)
            theirs_replay = {key: max(rate, again[key]) for key, rate in theirs_replay.items()}
    rows.append(_rate("replay, everything", full, "reference, everything", theirs_replay["full_per_s"], 6.0))
    rows.append(
        _rate("replay, turns and payloads", lean, "reference, turns and payloads", theirs_replay["lean_per_s"], 2.0)
    )
    return rows


def _copies(recordings: list[Recording]) -> list[Event]:
    return [
        event
        for copy in range(COPIES)
        for recording in recordings
        for event in events_of("", recording.model_copy(update={"name": f"{recording.name}-{copy}"}))
    ]


def _cost(work: str, ours_us: float, peer: str, theirs_us: float, at_most: float) -> dict[str, Any]:
    return {
        "work": work, "ours": f"{ours_us:.2f} µs", "peer": peer, "theirs": f"{theirs_us:.2f} µs",
        "ratio": round(ours_us / theirs_us, 3), "goal": f"≤ {at_most}", "reached": ours_us / theirs_us <= at_most,
    }  # fmt: skip


def _rate(work: str, ours: float, peer: str, theirs: float, at_least: float) -> dict[str, Any]:
    return {
        "work": work, "ours": f"{ours / 1000:,.0f} k/s", "peer": peer, "theirs": f"{theirs / 1000:,.0f} k/s",
        "ratio": round(ours / theirs, 2), "goal": f"≥ {at_least}", "reached": ours / theirs >= at_least,
    }  # fmt: skip


def main() -> int:
    from differential import reference_python

    console = Console()
    python = reference_python()
    if python is None:
        console.print("the reference could not be installed here, and a figure alone says nothing")
        return 1
    rows = measure(python, console)
    table = Table("work", "turnlog", "beside", "there", "ratio", "goal", title="turnlog beside its peers")
    for row in rows:
        mark = "[green]✓" if row["reached"] else "[red]✗"
        table.add_row(row["work"], row["ours"], row["peer"], row["theirs"], f"{row['ratio']} {mark}", row["goal"])
    console.print(table)
    result = {"machine": platform.platform(), "python": platform.python_version(), "rows": rows}
    (HERE / "results.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
