"""What a viewer costs agents that record: beside it, and beside a process that burns as much processor time.

Agents record calls into one SQLite log, one after the other, as fast as they are stored. A further call grows all the
time, and a viewer has its live page open; or a process without a database burns the processor time that the viewer used
in the round before; or neither.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

AGENTS, ROUNDS, SECONDS = 2, 4, 5.0
SIDE = Path(__file__).resolve().parent / "watching_side.py"
Viewing = Callable[[str], AbstractContextManager[Any]]
Figures = dict[str, float]


def measure(folder: Path, viewing: Viewing, say: Callable[[str], None]) -> dict[str, Any]:
    """The medians of all rounds, and the median of each round's ratio of viewer to burner."""
    rounds: dict[str, list[Figures]] = {"nothing": [], "a viewer": [], "a burner": []}
    for n in range(ROUNDS):
        say(f"agents beside nothing, a viewer, a burner: round {n + 1} of {ROUNDS}…")
        watched = _round(f"sqlite:///{folder / f'watched-{n}.db'}", partial(_watching, viewing))
        rounds["a viewer"].append(watched)
        rounds["a burner"].append(
            _round(f"sqlite:///{folder / f'burned-{n}.db'}", partial(_burning, watched["processor"]))
        )
        rounds["nothing"].append(_round(f"sqlite:///{folder / f'alone-{n}.db'}", _nothing))
    pairs = list(zip(rounds["a viewer"], rounds["a burner"], strict=True))
    return {
        "beside": {name: {key: median(r[key] for r in own) for key in own[0]} for name, own in rounds.items()},
        "viewer to burner": {key: median(ours[key] / theirs[key] for ours, theirs in pairs) for key in pairs[0][0]},
        "lowest and highest": {
            key: [min(a[key] / b[key] for a, b in pairs), max(a[key] / b[key] for a, b in pairs)] for key in pairs[0][0]
        },
    }


def table(found: dict[str, Any]) -> Iterator[str]:
    """The figures as lines of Markdown."""
    units = {"p50": "µs", "p99": "µs", "events": "/s", "processor": "of a core"}
    yield "| agents record beside | hook call, p50 | p99 | events stored | processor time beside them |"
    yield "|---|---:|---:|---:|---:|"
    for name, own in found["beside"].items():
        yield f"| {name} | " + " | ".join(f"{_figure(own[key])} {unit}" for key, unit in units.items()) + " |"
    ratios, ranges = found["viewer to burner"], found["lowest and highest"]
    cells = [f"{ratios[key]:.3f} ({ranges[key][0]:.2f} to {ranges[key][1]:.2f})" for key in units]
    yield "| ratio of viewer to burner, median (range) | " + " | ".join(cells) + " |"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _round(db: str, beside: Callable[[str], AbstractContextManager[Callable[[], float]]]) -> Figures:
    """The agents' figures, and the share of a core that what is beside them used."""
    with ExitStack() as ending:
        agents = []
        for n in range(AGENTS):
            command = [sys.executable, str(SIDE), "record", db, f"agent-{n}", str(SECONDS)]
            agents.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            ending.callback(agents[-1].kill)
            assert agents[-1].stdout is not None
            agents[-1].stdout.readline()  # it has opened the log
        processor = ending.enter_context(beside(db))
        before, began = processor(), time.perf_counter()
        for agent in agents:
            assert agent.stdin is not None
            agent.stdin.write("go\n")
            agent.stdin.flush()
        found = [json.loads(agent.stdout.readline()) for agent in agents if agent.stdout is not None]
        share = (processor() - before) / (time.perf_counter() - began)
        for agent in agents:
            agent.communicate()
    return {
        "p50": median(each["p50"] for each in found),
        "p99": median(each["p99"] for each in found),
        "events": sum(each["events"] for each in found),
        "processor": share,
    }


@contextmanager
def _nothing(_db: str) -> Iterator[Callable[[], float]]:
    yield lambda: 0.0


@contextmanager
def _burning(share: float, _db: str) -> Iterator[Callable[[], float]]:
    command = [sys.executable, str(SIDE), "burn", str(share)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has imported all, which is not to be counted
        yield lambda: _processor_seconds(process.pid)
        process.kill()


@contextmanager
def _watching(viewing: Viewing, db: str) -> Iterator[Callable[[], float]]:
    """A viewer, and a client that reads what the page of the growing call reads; its processor time counts too."""
    with httpx.Client(trust_env=False, timeout=30, follow_redirects=True) as client:
        with viewing(db) as viewer:
            client.get(viewer.url)
            reader = threading.Thread(target=_read, args=(client, viewer.at("/call/follow?session=live&events=0")))
            reader.start()
            yield lambda: _processor_seconds(viewer.pid) + time.process_time()
        reader.join()


def _read(client: httpx.Client, url: str) -> None:
    """Read until the viewer ends."""
    with suppress(httpx.TransportError), client.stream("GET", url) as answer:
        answer.raise_for_status()
        for _data in answer.iter_raw():
            pass


def _processor_seconds(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)
