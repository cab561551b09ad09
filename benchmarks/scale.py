"""``make bench-scale``: how time and memory grow with the log, and how soon commands print on a log of 10,000 sessions.

Every figure is that of a real process, started as users start it: the seconds that passed, the processor time of all
its processes (which other work on the machine disturbs less), and the peak memory of its largest process.

Prints the tables of ``docs/performance.md`` and writes ``benchmarks/scale.json``. ``--events 100000,1000000`` measures
other sizes and keeps no file; a command that the program does not have is left out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from rich.console import Console

import processes
from calls import RECORDED, fill, recordings
from eventstore import open_store
from processes import Used
from turnlog.cli.app import load
from turnlog.cli.commands import COMMANDS

RESULTS = Path(__file__).resolve().parent / "scale.json"
PARTS = ("first output", "growth")
SIZES = (100_000, 1_000_000, 5_000_000)
SESSIONS = 10_000
GOAL_SECONDS = 2.0
"""Within this time a command on that many sessions starts to print, once read models are there."""
GIVE_UP_SECONDS = 60.0
"""A command that has printed nothing by then is ended."""
APART_NS = 20 * 60 * 10**9
"""Time between two rounds of the recorded calls: some 3,800 calls a day."""


class Work(NamedTuple):
    """A command to measure. ``anew`` runs it on a copy of the log without read models."""

    name: str
    arguments: tuple[str, ...]
    anew: bool = False


LOG, ARCHIVE, REBUILT, SESSION, BUDGET = "LOG", "ARCHIVE", "REBUILT", "SESSION", "BUDGET"
"""Stand-ins for places of a run."""
GROWING = (
    Work("`sessions`, the first time", ("sessions", "--db", LOG), anew=True),
    Work("`sessions`, again", ("sessions", "--db", LOG)),
    Work("`stats`, the first time", ("stats", "--db", LOG), anew=True),
    Work("`stats`, again", ("stats", "--db", LOG)),
    Work("`verify`", ("verify", "--db", LOG)),
    Work("`archive build`", ("archive", "build", "--db", LOG, "--to", ARCHIVE)),
    Work("`archive build`, nothing new", ("archive", "build", "--db", LOG, "--to", ARCHIVE)),
    Work("`rebuild`", ("rebuild", "--archive", ARCHIVE, "--out", REBUILT)),
    Work("`stats` of the archive, the first time", ("stats", "--archive", ARCHIVE)),
    Work("`stats` of the archive, again", ("stats", "--archive", ARCHIVE)),
)
READING = (
    ("sessions",),
    ("sessions", "--json"),
    ("sessions", "--slower-than", "1500ms"),
    ("replay", SESSION),
    ("events", SESSION),
    ("spans", SESSION),
    ("payloads", SESSION),
    ("barge-ins", "--all"),
    ("explain", SESSION, "turn 1 e2e_latency"),
    ("tail",),
    ("stats",),
    ("stats", "--by", "day"),
    ("stats", "--json"),
    ("check", BUDGET),
    ("diff", "--all", "--rules", "videosdk-1.0", "--rules", "videosdk-1.0.30"),
    ("digest", "--all"),
    ("verify",),
    ("verify", SESSION),
    ("seal", SESSION),
    ("export", "csv", "--all"),
    ("export", "payloads", "--all"),
    ("export", "jsonl", "--all"),
)


def is_there(arguments: tuple[str, ...]) -> bool:
    """Whether the program has the command and all its options."""
    if not any(arguments[0] in section for section in COMMANDS.values()):
        return False
    command = load(arguments[0])
    for word in arguments[1:]:
        command = getattr(command, "commands", {}).get(word, command)
    options = {option for param in command.params for option in param.opts}
    return options.issuperset(word for word in arguments if word.startswith("--"))


def growth(folder: Path, sizes: list[int], console: Console) -> Iterator[tuple[str, dict[int, Used]]]:
    """Yield each command with its figures by the number of events."""
    there = [work for work in GROWING if is_there(work.arguments)]
    found: dict[str, dict[int, Used]] = {work.name: {} for work in there}
    for size in sizes:
        place = folder / str(size)
        place.mkdir()
        console.print(f"[dim]{size:,} events…")
        fill(f"sqlite:///{place / 'full.db'}", size, apart_ns=APART_NS)
        for work in there:
            found[work.name][size] = _measure(work, place)
            console.print(f"[dim]  {work.name}: {_figures(found[work.name][size])}")
        shutil.rmtree(place)
    yield from found.items()


def _measure(work: Work, place: Path) -> Used:
    places = {LOG: place / "calls.db", ARCHIVE: place / "archive", REBUILT: place / "rebuilt"}
    if work.anew:
        shutil.copy(place / "full.db", places[LOG])
    return processes.command(*(str(places.get(word, word)) for word in work.arguments))


def by_tenfold(figures: dict[int, float]) -> float:
    """The factor by which a figure grows when the log grows tenfold, between the smallest and the largest log."""
    small, large = min(figures), max(figures)
    return float((figures[large] / figures[small]) ** (1 / math.log10(large / small)))


def first_output(folder: Path, count: int, console: Console) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield each reading command with the seconds and processor seconds to its first output, on ``count`` sessions."""
    url, budget = f"sqlite:///{folder / 'calls.db'}", folder / "budget.toml"
    calls = recordings(RECORDED)
    events = sum(len(call.calls) for call in calls) * math.ceil(count / len(calls))
    console.print(f"[dim]{count:,} sessions, {events:,} events…")
    fill(url, events, apart_ns=APART_NS)
    budget.write_text('budgets = ["response.p95 < 10 s"]\n')
    store = open_store(url)
    session = max(store.sessions(), key=lambda found: found.events).session_id
    store.close()
    processes.command("project", "--db", url)
    for words in filter(is_there, READING):
        command = [str({SESSION: session, BUDGET: budget}.get(word, word)) for word in words]
        found = _seconds_to_output([*command, "--db", url])
        console.print(f"[dim]  {' '.join(words)}: {found[0]:.2f} s ({found[1]:.2f} s)")
        yield " ".join(words).replace(BUDGET, "budget.toml"), found


def _seconds_to_output(command: list[str]) -> tuple[float, float]:
    """Until the first character, which may be of a progress bar, on a terminal as people have it."""
    terminal, its_end = pty.openpty()
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "turnlog", *command], stdout=its_end, stderr=its_end) as process:
        os.close(its_end)
        shown = select.select([terminal], [], [], GIVE_UP_SECONDS)[0]
        seconds = time.perf_counter() - start if shown else math.inf
        first = os.read(terminal, 4096) if shown else b""
        parent = psutil.Process(process.pid)
        times = [found.cpu_times() for found in [parent, *parent.children(recursive=True)]]
        process.kill()
    os.close(terminal)
    if b"turnlog:" in first:
        raise SystemExit(f"{' '.join(command)} failed: {first.decode(errors='replace')}")
    return seconds, sum(used.user + used.system for used in times)


# tables ---------------------------------------------------------------------------------------------------------------


def growth_table(rows: dict[str, dict[int, Used]], sizes: list[int]) -> Iterator[str]:
    yield "| command | " + " | ".join(f"{size / 1e6:g} M events" for size in sizes) + " | a tenfold log |"
    yield "|---|" + "---:|" * (len(sizes) + 1)
    for name, figures in rows.items():
        cells = [_figures(used) for used in figures.values()]
        time_factor = by_tenfold({size: used.processor_seconds for size, used in figures.items()})
        memory_factor = by_tenfold({size: used.megabytes for size, used in figures.items()})
        yield f"| {name} | " + " | ".join(cells) + f" | time × {time_factor:.2g}, memory × {memory_factor:.2g} |"


def _figures(used: Used) -> str:
    return f"{used.seconds:.3g} s ({used.processor_seconds:.3g} s), {used.megabytes:,.0f} MB"


def output_table(rows: dict[str, tuple[float, float]]) -> Iterator[str]:
    yield "| command | first output | processor time until then |"
    yield "|---|---:|---:|"
    for name, (seconds, processor_seconds) in rows.items():
        shown = f"{seconds:.2f} s" if seconds < GIVE_UP_SECONDS else f"> {GIVE_UP_SECONDS:.0f} s"
        yield f"| `{name}` | {shown}{'' if seconds <= GOAL_SECONDS else ', missed'} | {processor_seconds:.2f} s |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", metavar="N,N…", help="sizes of the logs", default=",".join(map(str, SIZES)))
    parser.add_argument("--sessions", metavar="N", type=int, default=SESSIONS, help="size of the log for first outputs")
    parser.add_argument("--only", choices=PARTS, help="measure only this")
    given = parser.parse_args()
    sizes = sorted(map(int, given.events.split(",")))
    if len(sizes) < 2:
        parser.error("--events needs two sizes or more")
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="turnlog-scale-") as folder:
        if given.only != "growth":
            outputs = dict(first_output(Path(folder), given.sessions, console))
            print(*output_table(outputs), "", sep="\n")
            if given.sessions == SESSIONS:
                keep(
                    RESULTS,
                    "first output",
                    {name: [min(found, GIVE_UP_SECONDS), used] for name, (found, used) in outputs.items()},
                )
        if given.only != "first output":
            grown = dict(growth(Path(folder), sizes, console))
            print(*growth_table(grown, sizes), sep="\n")
            if tuple(sizes) == SIZES:
                keep(
                    RESULTS,
                    "growth",
                    {name: {n: used._asdict() for n, used in row.items()} for name, row in grown.items()},
                )


def keep(results: Path, part: str, figures: dict[str, Any]) -> None:
    """Write a part's figures, with machine, date and load; keep the other part."""
    kept = json.loads(results.read_text()) if results.exists() else {}
    kept[part] = {
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "date": datetime.now(UTC).date().isoformat(),
        "load": round(os.getloadavg()[1], 1),
        "figures": figures,
    }
    results.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
