"""Commands for the keys of encrypted sessions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turnlog.cli.common import existing, progress
from turnlog.cli.options import DbOption
from turnlog.terminal import say

if TYPE_CHECKING:
    from eventstore.stores.encrypted import MasterKey

NEW_MASTER_KEY = "TURNLOG_NEW_MASTER_KEY"
SHOWN = 20
"""Of how many sessions that are left each is named."""

app = typer.Typer(help="The keys of encrypted sessions.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """The keys of encrypted sessions."""


@app.command()
def rotate(
    context: typer.Context,
    old_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The master key so far.", show_default="TURNLOG_MASTER_KEY")
    ] = None,
    new_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The new master key.", show_default=NEW_MASTER_KEY)
    ] = None,
    db: DbOption = None,
) -> None:
    """Wrap the keys of all sessions under a new master key.

    Both come from the environment or a file, never from the command line. Interrupt it at any time: run it again to
    finish. Exits with 1 if a session is left under another key.
    """
    from eventstore.stores.encrypted import MASTER_KEY
    from eventstore.stores.rotation import rotate as rotated

    old = _keys(old_key_file, MASTER_KEY, "--old-key-file")
    new = _keys(new_key_file, NEW_MASTER_KEY, "--new-key-file")[0]
    store = existing(context, db)
    try:
        with progress() as bar:
            task = bar.add_task("wrapping keys", total=sum(store.ledger.masters().values()))
            done = rotated(store.ledger, old, new, lambda keys: bar.advance(task, keys))
    finally:
        store.close()
    sessions = "session" if done.rewrapped == 1 else "sessions"
    say(f"{done.rewrapped} {sessions} now under the new master key ({new.fingerprint}), {done.kept} were already")
    for each in done.left[:SHOWN]:
        say(f"{each.session_id}: {each.reason}", err=True)
    if done.left:
        more = f", the first {SHOWN} named above" if len(done.left) > SHOWN else ""
        say(f"{len(done.left)} sessions are left as they were{more}", err=True)
        raise typer.Exit(1)


def _keys(file: Path | None, variable: str, option: str) -> list[MasterKey]:
    from eventstore.errors import StoreError
    from eventstore.stores.encrypted import master_keys

    if file is None:
        text, where = os.environ.get(variable, ""), variable
        if not text:
            raise StoreError(f"no key: set {variable}, or name a file with {option}")
    else:
        where = str(file)
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"cannot read {file}: {error}") from error
    return master_keys(text, where)
