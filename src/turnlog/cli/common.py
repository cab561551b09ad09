"""What the commands share: the database option, where output goes, and looking up a session."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

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
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from eventstore.errors import StoreError, TurnlogError
from eventstore.event import Event
from eventstore.stores.base import Session, Store
from eventstore.stores.factory import open_store
from eventstore.stores.url import without_passwords
from turnlog import files, terminal
from turnlog.terminal import errors_to, in_line, say

# What commands take from here
output, print_json, whole_file = terminal.output, terminal.print_json, files.whole_file

TURNLOG_DB = "TURNLOG_DB"
DbOption = Annotated[
    list[str] | None,
    typer.Option(
        "--db",
        metavar="URL",
        help="The event log: sqlite:///calls.db, a path, or postgresql+psycopg://…; before or after the command. Else "
        f"that of {TURNLOG_DB} in the environment.",
        show_default="a file in your data folder",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking; needed where there is no terminal.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="As `turnlog sessions` lists it.")]


class UnknownSession(TurnlogError):
    """The log has no session of that name."""


class BadHeader(TurnlogError):
    """A header that cannot be understood."""


class BadDatabase(TurnlogError):
    """Which database is meant is not clear."""


class NotConfirmed(TurnlogError):
    """Something that cannot be undone was not confirmed."""


def progress(count: ProgressColumn | None = None, *, hidden: bool = False) -> Progress:
    """A bar, on standard error; only on a terminal. ``count`` says how far it is, by default as numbers."""
    console = errors_to()
    name, how_far = TextColumn("{task.description}", markup=False), count or MofNCompleteColumn()
    columns = name, BarColumn(), how_far, TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True, disable=hidden or not console.is_terminal)


HEADERS = "TURNLOG_HEADERS"
"""The environment variable that has headers, so that no token stands in a list of processes."""


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
        raise BadDatabase("--db is empty; name a database, or leave it out")
    if len(several := list(dict.fromkeys(given))) > 1:
        raise BadDatabase(f"--db is given twice: {' and '.join(map(place, several))}; name one database")
    return (given and given[0]) or os.environ.get(TURNLOG_DB) or str(user_data_path("turnlog") / "calls.db")


def place(where: str) -> str:
    """The database at a URL or path as people are shown it: a whole path, or a URL without its passwords."""
    if "://" not in where:
        return where if where == "memory:" else str(Path(where).expanduser().absolute())
    try:
        parsed = make_url(where)
    except (ArgumentError, ValueError):
        return f"{where.partition(':')[0]}://…"  # what cannot be parsed may have a password anywhere
    if parsed.drivername.startswith("sqlite"):
        path = parsed.database or ""
        return path if path.startswith("file:") else str(Path(path).absolute())
    return without_passwords(parsed)


def writable(context: typer.Context, db: list[str] | None, *, migrate: bool = False) -> Store:
    """The store, made if it is not there; a server is migrated only with ``migrate``."""
    return _opened(url(context, db), migrate=migrate)


def existing(context: typer.Context, db: list[str] | None) -> Store:
    """The store; a command that only reads makes no database. Raises `StoreError` if there is none."""
    return open_existing(url(context, db))


def open_existing(where: str) -> Store:
    """The store at a URL or path, which is not made if it is not there. Raises `StoreError`."""
    path = where.removeprefix("sqlite:///") if where.startswith("sqlite:///") else where
    if "://" not in path and not path.startswith("file:") and not Path(path).expanduser().exists():
        raise StoreError(f"no database at {path}; `turnlog import FILE` or a Recorder makes one, or name one with --db")
    return _opened(where)


def _opened(where: str, *, migrate: bool = False) -> Store:
    try:
        return open_store(where, migrate=migrate)
    except (ArgumentError, ValueError):  # neither shown nor chained: it may have the password in it
        raise StoreError(f"{place(where)} is not the URL of a database") from None


def confirm_destructive(where: str, what: str, yes: bool) -> None:
    """Say which database is acted on, and ask before ``what`` is done, which cannot be undone.

    ``where`` is what `url` gives; ``what`` an imperative about the log. On a terminal the
    user is asked; without one, ``yes`` (--yes) is needed. Raises `NotConfirmed`; nothing may have been done by then.
    """
    if not yes and not sys.stdin.isatty():
        raise NotConfirmed(f"nothing was done: there is no terminal to ask on; give --yes to {what} of {place(where)}")
    say(f"database: {place(where)}", err=True)
    if yes:
        return
    if not typer.confirm(in_line(f"{what[:1].upper()}{what[1:]}?"), err=True):
        raise NotConfirmed("nothing was done")


def known(store: Store, session: str) -> Session:
    """The session as the list of sessions has it. Raises `UnknownSession`, naming the nearest."""
    sessions = {s.session_id: s for s in store.sessions()}
    if session in sessions:
        return sessions[session]
    removal = next((r for r in reversed(store.ledger.removals()) if r.session_id == session), None)
    near = get_close_matches(session, sessions, 1)
    hint = f"did you mean {near[0]!r}?" if near else "`turnlog sessions` lists those there are"
    if removal is not None:
        back = f"; bring it back with: turnlog import {removal.archive}" if removal.archive else ", without an archive"
        hint = f"it was removed on {moment(removal.removed_ns)} UTC{back}"
    raise UnknownSession(f"unknown session {session!r}; {hint}")


def read(store: Store, session: str) -> list[Event]:
    """The session's events. Raises `UnknownSession`, naming the nearest."""
    events = list(store.read(session))
    if not events:
        known(store, session)
    return events


def moment(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
