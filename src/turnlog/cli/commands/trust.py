"""Commands that delete content: forget, retention."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from eventstore.errors import StoreError, StoreUnavailable
from eventstore.stores.base import Session, Store
from eventstore.stores.records import Tombstone
from turnlog.archive.retention import age_ns, expired_sessions, retire
from turnlog.cli.common import BadChoice, confirm_destructive, existing, progress, url
from turnlog.cli.options import DbOption, JournalOption, JsonOption, SessionArgument, YesOption
from turnlog.console import output, safe
from turnlog.sessions import find_session, format_time
from turnlog.terminal import plural, print_json, say


def forget(
    context: typer.Context,
    session: SessionArgument,
    journal: JournalOption = None,
    yes: YesOption = False,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Destroy the content of an encrypted session for good.

    Destroys the session's key, which makes its content unreadable in the log, in journals and in every archive. Exits
    with 1 if any content remains, and prints where.
    """
    from turnlog.archive.forgetting import forget as destroy
    from turnlog.archive.forgetting import is_known

    if journal is not None and not journal.is_dir():
        raise StoreError(f"there is no folder {journal}")
    store = existing(context, db)
    try:
        if not is_known(store, session, journal):
            find_session(store, session)
        confirm_destructive(url(context, db), f"destroy the content of session {session!r} for ever", yes)
        done = destroy(store, session, journal=journal)
    finally:
        store.close()
    if as_json:
        print_json({"session_id": session} | done._asdict())
    elif done.forgotten_ns is not None:
        say(
            f"{session}: content forgotten at {format_time(done.forgotten_ns)} UTC; events, times and hash chain remain"
        )
        if done.moved or done.dropped:
            say(f"journals: {plural(done.moved, 'call')} stored without content, {done.dropped:,} erased")
    elif done.remains:
        say(f"turnlog: session {session!r} is not encrypted; nothing was done", err=True)
    else:
        say(f"{session}: no content to forget")
    for line in done.remains:
        say(f"turnlog: session {session!r}: {line}", err=True)
    if done.remains:
        raise typer.Exit(1)


def retention(
    context: typer.Context,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Remove sessions whose last event is older, such as 90d, 12h or 8w."),
    ] = None,
    session: Annotated[
        str | None, typer.Option(metavar="SESSION", help="Remove this session, whatever its age.")
    ] = None,
    archive: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to archive to.")] = Path("archive"),
    no_archive: Annotated[
        bool, typer.Option("--no-archive", help="With --session: archive nothing; only the tombstone stays.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the sessions, change nothing.")] = False,
    yes: YesOption = False,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Archive old sessions and remove them from the log.

    Each leaves a tombstone. `turnlog import` restores an archived session.
    """
    if (older_than is None) == (session is None):
        raise BadChoice("name the sessions: --older-than AGE or --session SESSION")
    if no_archive and session is None:
        raise BadChoice("--no-archive needs --session; old sessions are always archived")
    store = existing(context, db)
    found = [find_session(store, session)] if session is not None else expired_sessions(store, age_ns(older_than or ""))
    if dry_run:
        store.close()
        if as_json:
            print_json([each._asdict() for each in found])
        else:
            _show(Table("session", "last event (UTC)", "events"), found, "would be removed")
        return
    folder = None if no_archive else archive
    what = f"remove {plural(len(found), 'session')}" + (
        " without a copy" if folder is None else f", archived in {folder},"
    )
    if found or not sys.stdin.isatty():
        confirm_destructive(url(context, db), f"{what}", yes)
    try:
        _retire(store, found, folder, as_json)
        if session is not None:
            _scrub(store, session)
    finally:
        store.close()


def _retire(store: Store, found: list[Session], folder: Path | None, as_json: bool) -> None:
    removed: list[Tombstone] = []
    with progress() as bar:
        task = bar.add_task("archiving", total=sum(session.events for session in found))
        try:
            removed.extend(retire(store, found, folder, lambda events: bar.advance(task, events)))
        except OSError as error:
            raise StoreError(f"cannot archive to {folder}: {error.strerror}; no further session was removed") from error
        finally:  # list the removed sessions even after an error
            bar.stop()
            if as_json:
                print_json([removal._asdict() for removal in removed])
            else:
                what = "removed, without an archive" if folder is None else "archived and removed"
                _show(Table("session", "last event (UTC)", "events", "archive"), removed, what)


def _scrub(store: Store, session: str) -> None:
    """Erase the remaining bytes of a session removed by name from the database's files."""
    try:
        store.ledger.scrub()
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"session {session!r} is removed, but other processes still read the state before; its bytes stay in the "
            "database's write-ahead log until the last of them has closed it"
        ) from error


def _show(table: Table, entries: Sequence[Session | Tombstone], what: str) -> None:
    for entry in entries:
        archive = [safe(entry.archive or "–")] if isinstance(entry, Tombstone) else []
        table.add_row(safe(entry.session_id), format_time(entry.ended_ns), str(entry.events), *archive)
    if entries:
        output().print(table)
    events = sum(entry.events for entry in entries)
    say(f"{plural(len(entries), 'session')}, {plural(events, 'event')} {what}")
