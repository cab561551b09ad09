"""Commands on the log itself: init, import, sessions, events, tail, recover."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.progress import DownloadColumn
from rich.table import Table

from eventstore.errors import StoreError
from eventstore.event import Event
from eventstore.stores.encrypted import SEALED
from turnlog.cli.common import existing, opener, output, print_json, progress, url, writable
from turnlog.cli.options import DbOption, FilesArgument, JsonOption, SessionArgument
from turnlog.sessions import moment, place, read
from turnlog.terminal import in_line, json_text, safe, say

RolesOption = Annotated[
    str | None,
    typer.Option(
        "--roles",
        metavar="PREFIX",
        help="On Postgres, make the roles PREFIX_agent, …_delivery and …_reader, and grant each what it needs.",
    ),
]


def init(context: typer.Context, db: DbOption = None, roles: RolesOption = None) -> None:
    """Make the database, or bring it up to date; the only command that migrates a Postgres server."""
    if roles is not None and not url(context, db).startswith("postgres"):
        raise StoreError("only a Postgres server has roles; leave out --roles")
    store = writable(context, db, migrate=True)
    kind = str(store).partition(" ")[0]
    say(f"ready: {kind} database {place(url(context, db))}")
    if roles is not None:
        from eventstore.stores.postgres.roles import grant_roles

        say(f"roles: {', '.join(grant_roles(url(context, db), roles))}")
    store.close()


def import_(context: typer.Context, files: FilesArgument, db: DbOption = None) -> None:
    """Import recorded calls, or archived sessions.

    A file is checked as a whole before anything of it is imported; importing again changes nothing, and goes on with
    what was interrupted.
    """
    from turnlog.archive.importing import batches

    store = writable(context, db)
    seals = {removal.seal for removal in store.ledger.tombstones()}
    sessions = events = 0
    with progress(DownloadColumn()) as bar:
        try:
            for file in files:
                for _checked in batches(file, lambda path: opener(bar, path), seals):
                    pass
                for batch in batches(file, lambda path: opener(bar, path), seals):
                    store.append(batch.events)
                    sessions += batch.sessions
                    events += len(batch.events)
        finally:
            bar.stop()
            say(f"imported {sessions} sessions, {events} events")
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
        row = safe(session.session_id), moment(session.started_ns), f"{length:.1f} s"
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
            safe(name),
            f"{since:.1f}",
            safe(event.hook),
            safe(arguments if len(arguments) <= room else arguments[: room - 1] + "…"),
        )
    console.print(table)


def _arguments(event: Event) -> str:
    """As a person reads them: nothing for none, and no ciphertext."""
    if event.payload == "{}":
        return ""
    if not event.payload.startswith(SEALED):
        return event.payload
    return json_text({k: v for k, v in _payload(event).items() if k != "$sealed"}, indent=False)


def _payload(event: Event) -> Any:
    """The arguments; as text what is not JSON, which no recorder writes."""
    try:
        return orjson.loads(event.payload)
    except orjson.JSONDecodeError:
        return event.payload


def _event(event: Event) -> dict[str, object]:
    return {
        "session_id": event.session_id,
        "origin": event.origin,
        "seq": event.seq,
        "hook": event.hook,
        "version": event.version,
        "perf_ns": event.perf_ns,
        "wall_ns": event.wall_ns,
        "payload": _payload(event),
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
                print_json({"position": position, **_event(event)}, indent=False)
            else:
                line = in_line(f"{moment(event.wall_ns)}  {event.session_id}  {event.hook}  {_arguments(event)}")
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
    from eventstore.recording.recovery import recover_all

    store = writable(context, db)
    folder = journal or store.journal
    if folder is None:
        raise StoreError("this database has no journal folder of its own; name one with --journal")
    if journal is not None and not journal.is_dir():
        raise StoreError(f"there is no folder {journal}")
    logging.getLogger("turnlog").propagate = False  # all of it is printed below
    try:
        found = recover_all(store, folder)
    finally:
        store.close()
    say(f"recovered {found.moved} events from {folder}" if found.moved else f"nothing to recover in {folder}")
    for line in found.lines():
        say(f"turnlog: {line}", err=True)
    if not found.complete:
        raise typer.Exit(1)
