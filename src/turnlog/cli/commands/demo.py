"""``turnlog demo`` and ``record``: sample calls, recorded and replayed offline."""

from __future__ import annotations

import asyncio
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import typer

from eventstore.errors import TurnlogError
from projections.caller import read as read_events
from projections.framework_figures import add_figures
from turnlog.cli.common import writable
from turnlog.cli.options import DbOption
from turnlog.console import output
from turnlog.terminal import plural, say


class NoFramework(TurnlogError):
    """The framework is not installed."""


def record(
    context: typer.Context,
    demo_agent: Annotated[
        Literal["videosdk", "livekit", "pipecat"],
        typer.Option(metavar="FRAMEWORK", help="videosdk, livekit or pipecat; needs the extra of that name."),
    ],
    session: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Session id to record under.  [default: demo-FRAMEWORK]", show_default=False),
    ] = None,
    db: DbOption = None,
) -> None:
    """Run a framework's demo agent offline and record its call.

    The agent is scripted and its providers are mocks; the framework is real.
    """
    try:
        run = import_module(f"turnlog.adapters.{demo_agent}.demo.agent").run
    except ModuleNotFoundError as error:
        raise NoFramework(f"{demo_agent} is not installed: pip install 'turnlog[{demo_agent}]' ({error})") from error
    name = session or f"demo-{demo_agent}"
    store = writable(context, db)
    try:
        before = sum(found.events for found in store.sessions() if found.session_id == name)
        asyncio.run(run(store, name))
        events = sum(found.events for found in store.sessions() if found.session_id == name) - before
    finally:
        store.close()
    say(f"recorded {plural(events, 'event')} as {name}; next: turnlog replay {name}")


def demo() -> None:
    """Record a sample call into a temporary log and replay it."""
    import tempfile

    from eventstore.recording.recorder import Clock, Recorder
    from eventstore.stores.factory import open_store
    from turnlog.cli.render.reading import show_reading
    from turnlog.conformance import no_timers
    from turnlog.recordings import RecordedClock, drive, read_recordings

    ((_place, recording),) = read_recordings(_demo_file())
    console, clock = output(), RecordedClock()
    with tempfile.TemporaryDirectory(prefix="turnlog-") as folder:
        store = open_store(Path(folder) / "calls.db")
        console.print("A call recorded with videosdk-agents 1.0.2: the caller interrupts a long answer.")
        console.print(
            f"Recording its {len(recording.calls)} hook calls into {folder}/calls.db, then replaying the log.\n"
        )
        with Recorder(
            store, recording.name, clock=Clock(clock.read_perf_ns, clock.read_wall_ns), scheduler=no_timers
        ) as recorder:
            drive(recorder, clock, recording.calls)
        events = list(store.read(recording.name))
        call = read_events(events)
        add_figures(call, events)
        show_reading(console, call)
        store.close()
    console.print(
        "\nYour own calls: `turnlog import FILE`, `turnlog sessions`, `turnlog replay SESSION`; see README.md."
    )


def _demo_file() -> Path:
    """The sample recording: package data in a wheel, a fixture in a clone."""
    here = Path(__file__).resolve().parents[2]
    packaged, fixture = here / "data" / "demo.jsonl.gz", here.parents[1] / "fixtures" / "demo.jsonl.gz"
    return packaged if packaged.exists() else fixture
