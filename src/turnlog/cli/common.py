"""Shared by the commands: the database option, progress bars, headers, confirmations."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO, Any

import typer
from platformdirs import user_data_path
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from eventstore.errors import TurnlogError
from eventstore.stores.base import Store
from turnlog.cli.options import HEADERS, TURNLOG_DB
from turnlog.console import errors_to
from turnlog.sessions import display_name, open_existing, open_log
from turnlog.terminal import in_line, say


class BadHeader(TurnlogError):
    """A header that cannot be understood."""


class BadDatabase(TurnlogError):
    """--db is empty or ambiguous."""


class NotConfirmed(TurnlogError):
    """Something that cannot be undone was not confirmed."""


def progress(count: ProgressColumn | None = None, *, hidden: bool = False) -> Progress:
    """A bar, on standard error; only on a terminal. ``count`` says how far it is, by default as numbers."""
    console = errors_to()
    name, how_far = TextColumn("{task.description}", markup=False), count or MofNCompleteColumn()
    columns = name, BarColumn(), how_far, TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True, disable=hidden or not console.is_terminal)


def headers_of(pairs: list[str] | None) -> dict[str, str]:
    """From ``NAME=VALUE``; where there are none, those of the environment, between commas. Raises `BadHeader`."""
    found = {}
    for text in pairs or filter(None, os.environ.get(HEADERS, "").split(",")):
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise BadHeader("a header is NAME=VALUE")  # not shown: it may be a token
        found[name.strip().lower()] = value.strip()
    return found


def url(context: typer.Context, db: list[str] | None) -> str:
    """The database: that of --db, before or behind the command, or of the environment, or the default one.

    Raises `BadDatabase` if --db is given twice with different values, or is empty.
    """
    given = list(db or ())
    above: Any = context
    while above is not None:
        given += above.params.get("db") or ()
        above = above.parent
    if "" in given:
        raise BadDatabase("--db is empty; pass a URL or path, or leave it out")
    if len(several := list(dict.fromkeys(given))) > 1:
        raise BadDatabase(f"--db is given twice: {' and '.join(map(display_name, several))}; pass it once")
    return (given and given[0]) or os.environ.get(TURNLOG_DB) or str(user_data_path("turnlog") / "calls.db")


def writable(context: typer.Context, db: list[str] | None, *, migrate: bool = False) -> Store:
    """The store, made if it is not there; a server is migrated only with ``migrate``."""
    return open_log(url(context, db), migrate=migrate)


def existing(context: typer.Context, db: list[str] | None) -> Store:
    """The store; a command that only reads makes no database. Raises `StoreError` if there is none."""
    return open_existing(url(context, db))


def confirm_destructive(where: str, what: str, yes: bool) -> None:
    """Say which database is acted on, and ask before ``what`` is done, which cannot be undone.

    ``where`` is what `url` gives; ``what`` an imperative about the log. On a terminal the
    user is asked; without one, ``yes`` (--yes) is needed. Raises `NotConfirmed`; nothing may have been done by then.
    """
    if not yes and not sys.stdin.isatty():
        raise NotConfirmed(f"nothing was done: no terminal to ask on; pass --yes to {what} of {display_name(where)}")
    say(f"database: {display_name(where)}", err=True)
    if yes:
        return
    if not typer.confirm(in_line(f"{what[:1].upper()}{what[1:]}?"), err=True):
        raise NotConfirmed("nothing was done")


class BadChoice(TurnlogError):
    """Options that contradict each other, or name something that is not there."""


def opener(bar: Progress, path: Path) -> IO[bytes]:
    return bar.open(path, "rb", description=path.name)
