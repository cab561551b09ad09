"""Commands on the log itself: init, import, sessions, events, tail, recover."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import IO, Annotated

import orjson
import typer
from rich.markup import escape
from rich.progress import DownloadColumn, Progress
from rich.table import Table

from eventstore.event import Event
from eventstore.private_store import SEALED
from turnlog.cli.common import (
    DbOption,
    JsonOption,
    SessionArgument,
    existing,
    moment,
    output,
    print_json,
    progress,
    read,
    writable,
)

FilesArgument = Annotated[list[Path], typer.Argument(metavar="FILE…", help="JSON lines of calls; may be gzipped.")]


def init(context: typer.Context, db: DbOption = None) -> None:
    """Make the database, or bring it up to date; the only command that migrates a Postgres server."""
    store = writable(context, db, migrate=True)
    typer.echo(f"ready: {store}")
    store.close()


def opener(bar: Progress, path: Path) -> IO[bytes]:
    return bar.open(path, "rb", description=path.name)


def import_(context: typer.Context, files: FilesArgument, db: DbOption = None) -> None:
    """Import recorded calls, or archived sessions.

    Each session is imported whole or not at all; importing again changes nothing.
    """
    from turnlog import archive
    from turnlog.recordings import events_of, read_recordings

    store = writable(context, db)
    sessions = events = 0
    with progress(DownloadColumn()) as bar:
        try:
            for file in files:
                if archive.is_archive(file):
                    whole = (events for _place, events in archive.read(file, lambda path: opener(bar, path)))
                else:
                    recordings = read_recordings(file, lambda path: opener(bar, path))
                    whole = (events_of(place, recording) for place, recording in recordings)
                for found in whole:
                    store.append(found)
                    sessions += 1
                    events += len(found)
        finally:
            bar.stop()
            typer.echo(f"imported {sessions} sessions, {events} events")
            store.close()


def sessions(context: typer.Context, db: DbOption = None, as_json: JsonOption = False) -> None:
    """List the recorded sessions, the latest first."""
    store = existing(context, db)
    found = store.sessions()
    store.close()
    if as_json:
        print_json([session._asdict() for session in found])
        return
    table = Table("session", "started (UTC)", "length", "events", "origins")
    for column in table.columns[2:]:
        column.justify = "right"
    for session in found:
        length = (session.ended_ns - session.started_ns) / 1e9
        row = escape(session.session_id), moment(session.started_ns), f"{length:.1f} s"
        table.add_row(*row, str(session.events), str(session.origins))
    output().print(table if found else "no sessions yet; `turnlog import FILE` or a Recorder brings some")


def events(context: typer.Context, session: SessionArgument, db: DbOption = None, as_json: JsonOption = False) -> None:
    """Show a session's events in canonical order, as they were recorded."""
    store = existing(context, db)
    found = read(store, session)
    store.close()
    if as_json:
        print_json([_event(event) for event in found])
        return
    several = len({event.origin for event in found}) > 1
    table = Table()
    table.add_column("seq", justify="right", no_wrap=True)
    table.add_column("+ms", justify="right", no_wrap=True)
    table.add_column("hook", no_wrap=True)
    table.add_column("arguments", no_wrap=True)
    console = output()
    room = max(20, console.width - 60)
    for event in found:
        name = f"{event.origin}:{event.seq}" if several else str(event.seq)
        since = (event.perf_ns - found[0].perf_ns) / 1e6 if event.origin == found[0].origin else float("nan")
        arguments = _arguments(event)
        table.add_row(
            escape(name),
            f"{since:.1f}",
            event.hook,
            escape(arguments if len(arguments) <= room else arguments[: room - 1] + "…"),
        )
    console.print(table)


def _arguments(event: Event) -> str:
    """As a person reads them: nothing for none, and no ciphertext."""
    if event.payload == "{}":
        return ""
    if not event.payload.startswith(SEALED):
        return event.payload
    return orjson.dumps({k: v for k, v in orjson.loads(event.payload).items() if k != "$sealed"}).decode()


def _event(event: Event) -> dict[str, object]:
    return {
        "session_id": event.session_id,
        "origin": event.origin,
        "seq": event.seq,
        "hook": event.hook,
        "version": event.version,
        "perf_ns": event.perf_ns,
        "wall_ns": event.wall_ns,
        "payload": orjson.loads(event.payload),
    }


def tail(
    context: typer.Context,
    session: Annotated[str | None, typer.Argument(metavar="[SESSION]", help="Only this one.")] = None,
    after: Annotated[
        str | None, typer.Option(metavar="POSITION", help="Go on from a position that --json printed.")
    ] = None,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow the log: print its events, then new ones as they are stored, until interrupted."""
    store = existing(context, db)
    console = output()
    try:
        for position, event in store.follow(after, session_id=session):
            if as_json:
                typer.echo(orjson.dumps({"position": position, **_event(event)}))
            else:
                line = f"{moment(event.wall_ns)}  {event.session_id}  {event.hook}  {_arguments(event)}"
                console.print(line[: max(40, console.width)], markup=False, no_wrap=True, overflow="ellipsis")
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    finally:
        store.close()


def recover(
    context: typer.Context,
    db: DbOption = None,
    journal: Annotated[Path | None, typer.Option(help="The journal's folder.", show_default="the database's")] = None,
) -> None:
    """Move what a crashed process left in its journal into the database, and try again what was set aside there.

    Exits with 1 if something could not be read, or is still refused; it stays in the journal's folder.
    """
    from eventstore.errors import StoreError
    from eventstore.recovery import recover_all

    store = writable(context, db)
    folder = journal or store.journal
    if folder is None:
        raise StoreError("this database has no journal folder of its own; name one with --journal")
    if journal is not None and not journal.is_dir():
        raise StoreError(f"there is no folder {journal}")
    logging.getLogger("turnlog").addHandler(logging.NullHandler())  # all of it is printed below
    try:
        found = recover_all(store, folder)
    finally:
        store.close()
    typer.echo(f"recovered {found.moved} events from {folder}" if found.moved else f"nothing to recover in {folder}")
    for line in found.lines():
        typer.echo(f"turnlog: {line}", err=True)
    if not found.complete:
        raise typer.Exit(1)
