"""``turnlog keys``: manage the keys of encrypted sessions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from turnlog.cli.common import existing, progress
from turnlog.cli.options import DbOption, JsonOption
from turnlog.terminal import plural, print_json, say

if TYPE_CHECKING:
    from eventstore.stores.encrypted import MasterKey
    from eventstore.stores.rotation import Rotation

NEW_MASTER_KEY = "TURNLOG_NEW_MASTER_KEY"
SHOWN = 20
"""Maximum number of unchanged sessions that are listed."""

app = typer.Typer(no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Make ``turnlog keys`` a group, even with a single command."""


@app.command()
def rotate(
    context: typer.Context,
    old_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File with the old master key.  [default: $TURNLOG_MASTER_KEY]", show_default=False
        ),
    ] = None,
    new_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help=f"File with the new master key.  [default: ${NEW_MASTER_KEY}]", show_default=False
        ),
    ] = None,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rewrap the keys of all sessions under a new master key.

    Keys are read from the environment or files, never from the command line. If interrupted, run it again to finish.
    Exits with 1 if a session's key cannot be rewrapped.
    """
    from eventstore.stores.encrypted import MASTER_KEY
    from eventstore.stores.rotation import rotate as rotated

    old = _load_keys(old_key_file, MASTER_KEY, "--old-key-file")
    new = _load_keys(new_key_file, NEW_MASTER_KEY, "--new-key-file")[0]
    store = existing(context, db)
    try:
        with progress() as bar:
            task = bar.add_task("wrapping keys", total=sum(store.ledger.masters().values()))
            done = rotated(store.ledger, old, new, lambda keys: bar.advance(task, keys))
    finally:
        store.close()
    if as_json:
        left = [each._asdict() for each in done.left]
        print_json({"master_key": new.fingerprint, "rewrapped": done.rewrapped, "kept": done.kept, "left": left})
    else:
        _show(done, new)
    if done.left:
        raise typer.Exit(1)


def _show(done: Rotation, new: MasterKey) -> None:
    rewrapped = plural(done.rewrapped, "session")
    say(f"{rewrapped} rewrapped under the new master key ({new.fingerprint}), {done.kept:,} already were")
    for each in done.left[:SHOWN]:
        say(f"{each.session_id}: {each.reason}", err=True)
    if done.left:
        more = f", the first {SHOWN} named above" if len(done.left) > SHOWN else ""
        say(f"{plural(len(done.left), 'session')} left unchanged{more}", err=True)


def _load_keys(file: Path | None, variable: str, option: str) -> list[MasterKey]:
    from eventstore.errors import StoreError
    from eventstore.stores.encrypted import master_keys

    if file is None:
        text, where = os.environ.get(variable, ""), variable
        if not text:
            raise StoreError(f"no key: set {variable} or pass {option} FILE")
    else:
        where = str(file)
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"cannot read {file}: {error}") from error
    return master_keys(text, where)
