"""Commands on the log itself: init, import, events, tail, recover."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.progress import DownloadColumn, Progress
from rich.table import Table

from eventstore.errors import StoreError
from eventstore.event import Event
from eventstore.stores.base import Store
from eventstore.stores.encrypted import SEALED
from exporters.archive.layout import Partition
from exporters.archive.libraries import need
from turnlog.cli.common import existing, opener, progress, url, writable
from turnlog.cli.options import ArchiveOption, DbOption, JournalOption, JsonOption, SessionArgument
from turnlog.console import output, safe
from turnlog.sessions import UnknownSession, display_name, find_session, format_time, read_session
from turnlog.terminal import in_line, json_text, plural, print_json, say

if TYPE_CHECKING:
    from turnlog.archive.importing import Batch

RolesOption = Annotated[
    str | None,
    typer.Option(
        "--roles",
        metavar="PREFIX",
        help="On Postgres, create the roles PREFIX_agent, PREFIX_delivery and PREFIX_reader with their privileges.",
    ),
]


def init(context: typer.Context, db: DbOption = None, roles: RolesOption = None) -> None:
    """Create or migrate the database.

    SQLite databases are also created and migrated when they are opened; a Postgres server is migrated only by this.
    """
    if roles is not None and not url(context, db).startswith("postgres"):
        raise StoreError("--roles needs a Postgres database")
    store = writable(context, db, migrate=True)
    kind = str(store).partition(" ")[0]
    say(f"ready: {kind} database {display_name(url(context, db))}")
    if roles is not None:
        from eventstore.stores.postgres.roles import grant_roles

        say(f"roles: {', '.join(grant_roles(url(context, db), roles))}")
    store.close()


def import_(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="JSON lines, plain or gzipped; or an archive: a folder or s3://…"),
    ],
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import recorded calls or archived sessions.

    Each file, of an archive too, is checked completely before any of it is imported. Importing a file again is
    harmless and resumes an interrupted import.
    """
    store = writable(context, db)
    seals = {removal.seal for removal in store.ledger.tombstones()}
    sessions = events = 0
    try:
        with progress(DownloadColumn()) as bar:
            for file in files:
                sources = _partitions if "://" in file or Path(file).is_dir() else _file
                for check, batches in sources(file, bar, seals):
                    check()
                    for batch in batches():
                        store.append(batch.events)
                        sessions += batch.sessions
                        events += len(batch.events)
    except BaseException:
        if events:  # from earlier files, or from an interrupted file
            say(_import_summary(sessions, events), err=as_json)
        raise
    finally:
        store.close()
    if as_json:
        print_json({"sessions": sessions, "events": events})
    else:
        say(_import_summary(sessions, events))


Source = tuple[Callable[[], object], Callable[[], Iterator["Batch"]]]
"""A function that checks a file completely, and one that reads it."""


def _file(file: str, bar: Progress, seals: set[str]) -> Iterator[Source]:
    from turnlog.archive.importing import batches

    read = partial(batches, Path(file), lambda path: opener(bar, path), seals)
    yield lambda: deque(read(), 0), read


def _partitions(archive: str, bar: Progress, seals: set[str]) -> Iterator[Source]:
    need("archive", "pyarrow", "fsspec")
    from exporters.archive.restore import Checker, stream_partition
    from exporters.archive.store import ArchiveStore
    from turnlog.archive.importing import in_batches

    def read(partition: Partition) -> Iterator[Batch]:
        return in_batches(stream_partition(found.place, partition, seals))

    found = ArchiveStore(archive)
    sizes = found.place.partitions()
    task = bar.add_task(found.place.name, total=sum(sizes.values()))
    with Checker() as checker:
        for partition, size in sizes.items():
            yield partial(checker.check, found.place, partition, seals), partial(read, partition)
            bar.advance(task, size)


def _import_summary(sessions: int, events: int) -> str:
    return f"imported {plural(sessions, 'session')}, {plural(events, 'event')}"


def events(
    context: typer.Context,
    session: SessionArgument,
    db: DbOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a session's events in canonical order."""
    store = existing(context, db, archive)
    found = read_session(store, session)
    store.close()
    if as_json:
        print_json([_event_dict(event) for event in found])
        return
    several = len({event.origin for event in found}) > 1
    table = Table()
    table.add_column("seq", justify="right", no_wrap=True)
    table.add_column("+ms", justify="right", no_wrap=True)
    table.add_column("hook", no_wrap=True)
    table.add_column("arguments", no_wrap=True)
    console = output()
    width = max(20, console.width - 60)
    for event in found:
        name = f"{event.origin}:{event.seq}" if several else str(event.seq)
        since = (event.perf_ns - found[0].perf_ns) / 1e6 if event.origin == found[0].origin else float("nan")
        arguments = _arguments(event)
        table.add_row(
            safe(name),
            f"{since:.1f}",
            safe(event.hook),
            safe(arguments if len(arguments) <= width else arguments[: width - 1] + "…"),
        )
    console.print(table)


def _arguments(event: Event) -> str:
    """The arguments for display: empty if there are none, and without ciphertext."""
    if event.payload == "{}":
        return ""
    if not event.payload.startswith(SEALED):
        return event.payload
    return json_text({k: v for k, v in _payload(event).items() if k != "$sealed"}, indent=False)


def _payload(event: Event) -> Any:
    """The parsed arguments, or the text itself if it is not JSON, which no recorder writes."""
    try:
        return orjson.loads(event.payload)
    except orjson.JSONDecodeError:
        return event.payload


def _event_dict(event: Event) -> dict[str, object]:
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
    session: Annotated[str | None, typer.Argument(metavar="SESSION", help="Only this session.")] = None,
    after: Annotated[
        str | None, typer.Option(metavar="POSITION", help="Resume after a position printed by --json.")
    ] = None,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print events as they are stored, until interrupted."""
    store = existing(context, db)
    console = output()
    if sys.stderr.isatty() or session is not None:
        say(_follow_status(store, session), err=True)
    try:
        for position, event in store.follow(after, session_id=session):
            if as_json:
                print_json({"position": position, **_event_dict(event)}, indent=False)
            else:
                line = in_line(f"{format_time(event.wall_ns)}  {event.session_id}  {event.hook}  {_arguments(event)}")
                console.print(line[: max(40, console.width)], markup=False, no_wrap=True, overflow="ellipsis")
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    finally:
        store.close()


def _follow_status(store: Store, session: str | None) -> str:
    """The line that says which events are followed."""
    if session is None:
        return "following the log; Ctrl-C ends"
    try:
        find_session(store, session)
    except UnknownSession as error:
        return f"waiting for session {session!r}, which is not in the log yet; Ctrl-C ends ({error})"
    return f"following session {session!r}; Ctrl-C ends"


def recover(
    context: typer.Context,
    db: DbOption = None,
    journal: JournalOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move events from the journals of crashed processes to the log.

    Events that the log refused earlier are tried again. Exits with 1 if anything is unreadable or still refused; it
    stays in the journal folder.
    """
    from eventstore.recording.recovery import recover_all

    store = writable(context, db)
    folder = journal or store.journal
    if folder is None:
        raise StoreError("this database has no journal folder; pass --journal FOLDER")
    if journal is not None and not journal.is_dir():
        raise StoreError(f"there is no folder {journal}")
    logging.getLogger("turnlog").propagate = False  # everything it logs is printed below
    try:
        found = recover_all(store, folder)
    finally:
        store.close()
    if as_json:
        print_json(
            {"journal": str(folder), "recovered": found.moved, "complete": found.complete, "notes": [*found.lines()]}
        )
    elif found.moved:
        say(f"recovered {plural(found.moved, 'event')} from {folder}")
    else:
        say(f"nothing to recover in {folder}")
    for line in found.lines():
        say(f"turnlog: {line}", err=True)
    if not found.complete:
        raise typer.Exit(1)
