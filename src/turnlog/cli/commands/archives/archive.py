"""``turnlog archive``: build, verify and edit archives."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from exporters.archive.libraries import need
from turnlog.cli.choice import select_sessions
from turnlog.cli.common import confirm_destructive, existing, jobs_or_all, progress
from turnlog.cli.options import DbOption, JobsOption, JsonOption, SessionArgument, SinceOption, UntilOption, YesOption
from turnlog.sessions import UnknownSession
from turnlog.terminal import plural, print_json, say

app = typer.Typer(no_args_is_help=True)

ArchiveArgument = Annotated[str, typer.Argument(metavar="ARCHIVE", help="Archive: a folder or s3://BUCKET/PREFIX.")]


@app.command()
def build(
    context: typer.Context,
    to: Annotated[str, typer.Option("--to", metavar="ARCHIVE", help="Archive: a folder or s3://BUCKET/PREFIX.")],
    since: SinceOption = None,
    until: UntilOption = None,
    buckets: Annotated[
        int | None,
        typer.Option(min=1, max=1000, metavar="NUMBER", help="Number of files a day, for a new archive.  [default: 8]"),
    ] = None,
    jobs: JobsOption = None,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write what is new in the log to an archive.

    Sessions that the log no longer has stay in the archive. Exits with 1 if a session does not verify, or is not the
    one that was archived with more events.
    """
    need("archive", "pyarrow", "fsspec")
    from exporters.archive.build import build as write
    from exporters.archive.build import plan
    from exporters.archive.place import Place

    place = Place(to)
    with closing(existing(context, db)) as store, place.exclusive(), progress() as bar:
        chosen = select_sessions(store, None, since, until)
        planned = plan(store, place, chosen, buckets)
        task = bar.add_task("archiving", total=sum(each.events for each in planned.tasks))
        done = write(store, place, planned, jobs_or_all(jobs), lambda events: bar.advance(task, events))
    failed = planned.diverged | done.broken
    counts = {
        "archive": place.name,
        "sessions": {"new": planned.new, "grown": planned.grown, "unchanged": planned.unchanged},
        "partitions_written": done.partitions,
        "failed": failed,
    }
    if as_json:
        print_json(counts)
    else:
        say(
            f"{place.name}: {plural(planned.new, 'new session')}, {planned.grown:,} grown, {planned.unchanged:,} "
            f"unchanged; {plural(done.partitions, 'partition')} written"
        )
    for name, reason in sorted(failed.items()):
        say(f"turnlog: session {name!r} is not archived: {reason}", err=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def verify(archive: ArchiveArgument, as_json: JsonOption = False) -> None:
    """Verify every hash chain and seal of an archive; exit 1 on a fault."""
    need("archive", "pyarrow", "fsspec")
    from exporters.archive.store import ArchiveStore
    from exporters.archive.verify import verify as check

    store = ArchiveStore(archive)
    with progress() as bar:
        task = bar.add_task("verifying", total=None)
        faults = list(check(store.place, store.partitions, lambda events: bar.advance(task, events)))
    if as_json:
        print_json([fault._asdict() for fault in faults])
    else:
        for fault in faults:
            say(fault.message)
        say(f"{plural(len(store.partitions), 'file')}, {plural(len(faults), 'fault')}")
    if faults:
        raise typer.Exit(1)


@app.command()
def remove(
    archive: ArchiveArgument, session: SessionArgument, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Erase a session from an archive, with all that was derived from it.

    Remove it from the log first (`turnlog retention --session`), or the next build archives it again.
    """
    need("archive", "pyarrow", "fsspec")
    from exporters.archive.build import remove as erase
    from exporters.archive.store import ArchiveStore

    store = ArchiveStore(archive)
    if not any(store.chains(session)):
        raise UnknownSession(f"unknown session {session!r}; {store.place.name} does not have it")
    confirm_destructive(store.place.name, f"erase session {session!r}", yes)
    with store.place.exclusive():
        events = erase(store.place, session)
    if as_json:
        print_json({"session_id": session, "events": events})
    else:
        say(f"{session}: {plural(events, 'event')} erased from {store.place.name}")
