"""``make bench-viewer``: the viewer's pages, beside those of Arize Phoenix, and what it costs agents that record.

Prints the tables of ``docs/performance.md`` and writes ``benchmarks/viewer.json``. ``--only PART`` measures one part
and keeps the others. Needs Chromium; Phoenix is measured where its environment is (`make test-phoenix` makes one, and
``--phoenix PYTHON`` names a different one). The hour-long call is a recorded one, repeated and sped up.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext
from rich.console import Console

import phoenix
import watching
from browser import Frames, Load, chromium, frames, load
from calls import HOUR_OF as THIRTY
from calls import RECORDED, fill, hour, recordings
from eventstore import open_store
from scale import APART_NS, keep
from turnlog.viewer.pages import call_url

RESULTS = Path(__file__).resolve().parent / "viewer.json"
PARTS = ("pages", "agents")
HOUR = "hour"
CALL_READY, LIST_READY = "body[data-ready]", "tbody tr"
SESSIONS = 10_000
FILTERS = {
    "": "the list of 10,017 sessions",
    "?slower=1500&with=interruptions": "… filtered by response and interruptions",
    "?model=scripted-llm-1": "… filtered by model",
}


class Viewer(NamedTuple):
    """A running ``turnlog view``."""

    pid: int
    url: str
    """The printed URL, with the token."""

    def at(self, path: str) -> str:
        return urlsplit(self.url)._replace(path="", query="").geturl() + path


@contextmanager
def viewing(db: str) -> Iterator[Viewer]:
    command = [sys.executable, "-m", "turnlog", "view", "--db", db, "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield Viewer(process.pid, process.stdout.readline().strip())
        process.terminate()


# pages ----------------------------------------------------------------------------------------------------------------


def pages(folder: Path, python: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Figures of all pages and moves, by name."""
    loads: dict[str, Load | str] = {}
    db = f"sqlite:///{folder / 'calls.db'}"
    _turnlog("import", str(RECORDED), "--db", db)
    with chromium() as context:
        say("Phoenix…")
        loads |= _of_phoenix(context, python, folder, db)
        store = open_store(db)
        store.append(hour(HOUR))
        store.close()
        with viewing(db) as viewer:
            context.new_page().goto(viewer.url)
            moves = {}
            for name, title in ((THIRTY, "a call of 30 turns"), (HOUR, "an hour-long call of 40,000 events")):
                say(f"{title}…")
                loads[title] = load(context, viewer.pid, viewer.at(call_url(name)), CALL_READY)
                moves[title] = frames(context, viewer.at(call_url(name)), CALL_READY)
        say(f"{SESSIONS:,} sessions…")
        loads |= _of_lists(context, folder)
    return {
        "loads": {name: found if isinstance(found, str) else _rounded(found) for name, found in loads.items()},
        "frames": {title: {name: _rounded(found) for name, found in own.items()} for title, own in moves.items()},
    }


def _of_phoenix(context: BrowserContext, python: Path, folder: Path, db: str) -> dict[str, Load | str]:
    if not python.exists():
        return {"Phoenix": "not measured: it is not installed here (make test-phoenix installs it)"}
    place = folder / "phoenix"
    place.mkdir()
    with phoenix.phoenix(python, place, db, THIRTY) as found:
        return {
            f"Phoenix {found.version}, the call of 30 turns": load(
                context, found.pid, found.call_url, phoenix.CALL_READY
            ),
            f"Phoenix {found.version}, a list of {found.sessions} sessions": load(
                context, found.pid, found.list_url, phoenix.LIST_READY
            ),
        }


def _of_lists(context: BrowserContext, folder: Path) -> dict[str, Load]:
    calls = recordings(RECORDED)
    db = f"sqlite:///{folder / 'list.db'}"
    fill(db, sum(len(call.calls) for call in calls) * math.ceil(SESSIONS / len(calls)), apart_ns=APART_NS)
    _turnlog("project", "--db", db)
    with viewing(db) as viewer:
        context.new_page().goto(viewer.url)
        return {
            title: load(context, viewer.pid, viewer.at(f"/{query}"), LIST_READY) for query, title in FILTERS.items()
        }


def _turnlog(*arguments: str) -> None:
    # `processes.command` waits for all child processes, and the browser is one
    subprocess.run([sys.executable, "-m", "turnlog", *arguments], stdout=subprocess.DEVNULL, check=True)


def _rounded(found: Load | Frames) -> dict[str, float]:
    return {name: round(value, 1) for name, value in found._asdict().items()}


# tables ---------------------------------------------------------------------------------------------------------------


def load_table(loads: dict[str, dict[str, float] | str]) -> Iterator[str]:
    yield "| page | server, processor | server, waited for | usable after | main thread | tasks of over 50 ms |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, found in loads.items():
        cells = [found, *[""] * 4] if isinstance(found, str) else [f"{value:,.0f} ms" for value in found.values()]
        yield f"| {name} | " + " | ".join(cells) + " |"


def frame_table(moves: dict[str, dict[str, dict[str, float]]]) -> Iterator[str]:
    yield "| main thread of a frame, median and p95 | " + " | ".join(moves) + " |"
    yield "|---|" + "---:|" * len(moves)
    for name in next(iter(moves.values())):
        cells = [f"{own[name]['p50']:.1f} and {own[name]['p95']:.1f} ms" for own in moves.values()]
        yield f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--phoenix", metavar="PYTHON", type=Path, default=phoenix.PYTHON, help="Phoenix's interpreter")
    parser.add_argument("--only", choices=PARTS, help="measure only this")
    given = parser.parse_args()
    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(f"[dim]{text}")

    with tempfile.TemporaryDirectory(prefix="turnlog-viewer-") as folder:
        if given.only != "agents":
            found = pages(Path(folder), given.phoenix, say)
            print(*load_table(found["loads"]), "", *frame_table(found["frames"]), "", sep="\n")
            keep(RESULTS, "pages", found)
        if given.only != "pages":
            cost = watching.measure(Path(folder), viewing, say)
            print(*watching.table(cost), sep="\n")
            keep(RESULTS, "agents", cost)


if __name__ == "__main__":
    main()
