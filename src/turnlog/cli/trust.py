"""Commands that let go of what is in a log: forget, retention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from eventstore.ledger import Removal
from eventstore.store import Session
from turnlog.cli.common import (
    DbOption,
    JsonOption,
    SessionArgument,
    existing,
    known,
    moment,
    output,
    print_json,
    progress,
)


def forget(context: typer.Context, session: SessionArgument, db: DbOption = None) -> None:
    """Destroy the key of an encrypted session: its content is gone, here and in every archive."""
    from eventstore.private_store import forget as destroy

    store = existing(context, db)
    if store.ledger.key(session) is None:
        known(store, session)  # its name may be wrong; one that was encrypted may be in an archive only
    key = destroy(store, session)
    store.close()
    typer.echo(f"{session}: content forgotten at {moment(key.forgotten_ns or 0)} UTC; events, times and chain stay")


def retention(
    context: typer.Context,
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Since a session's last event: 90d, 12h, 8w.")],
    archive: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the sessions go.")] = Path("archive"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which sessions these are.")] = False,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Archive old sessions, then remove them from the log, leaving a tombstone; `turnlog import` brings one back."""
    from eventstore.errors import StoreError
    from turnlog.retention import age_ns, expired, retire

    store = existing(context, db)
    found = expired(store, age_ns(older_than))
    if dry_run:
        store.close()
        if as_json:
            print_json([session._asdict() for session in found])
        else:
            _show(Table("session", "last event (UTC)", "events"), found, "would be removed")
        return
    removed: list[Removal] = []
    with progress() as bar:
        task = bar.add_task("archiving", total=sum(session.events for session in found))
        try:
            removed.extend(retire(store, found, archive, lambda events: bar.advance(task, events)))
        except OSError as error:
            raise StoreError(f"cannot archive into {archive}: {error.strerror}; nothing more is removed") from error
        finally:  # what is gone is said, whatever came after it
            store.close()
            bar.stop()
            if as_json:
                print_json([removal._asdict() for removal in removed])
            else:
                _show(Table("session", "last event (UTC)", "events", "archive"), removed, "archived and removed")


def _show(table: Table, entries: Sequence[Session | Removal], what: str) -> None:
    for entry in entries:
        archive = [escape(entry.archive)] if isinstance(entry, Removal) else []
        table.add_row(escape(entry.session_id), moment(entry.ended_ns), str(entry.events), *archive)
    if entries:
        output().print(table)
    typer.echo(f"{len(entries)} sessions, {sum(entry.events for entry in entries)} events {what}")
