"""What the commands share: the database option, where output goes, and looking up a session."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Annotated, Any

import orjson
import typer
from platformdirs import user_data_path
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from eventstore.errors import StoreError, TurnlogError
from eventstore.event import Event
from eventstore.store import Session, Store, open_store

DbOption = Annotated[
    str | None,
    typer.Option(
        "--db",
        envvar="TURNLOG_DB",
        metavar="URL",
        help="The event log: sqlite:///calls.db, a path, or postgresql+psycopg://…",
        show_default="a file in your data folder",
        show_envvar=True,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SessionArgument = Annotated[str, typer.Argument(metavar="SESSION", help="As `turnlog sessions` lists it.")]


class UnknownSession(TurnlogError):
    """The log has no session of that name."""


class BadHeader(TurnlogError):
    """A header that cannot be understood."""


def output() -> Console:
    """Standard output; wide when it is not a terminal, so that tables are not cut there."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160, highlight=False)


def errors_to() -> Console:
    return Console(stderr=True, highlight=False)


def progress(count: ProgressColumn | None = None, *, hidden: bool = False) -> Progress:
    """A bar, on standard error; only on a terminal. ``count`` says how far it is, by default as numbers."""
    console = errors_to()
    columns = TextColumn("{task.description}"), BarColumn(), count or MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True, disable=hidden or not console.is_terminal)


def print_json(value: Any, *, indent: bool = True) -> None:
    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    sys.stdout.buffer.write(orjson.dumps(value, option=option) + b"\n")
    sys.stdout.buffer.flush()


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


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, complete or not there at all; what was there stays until then. Raises `StoreError`.

    A device or a pipe cannot be replaced, so it is written to as it is.
    """
    replaced = path.is_file() or path.is_dir() or not path.exists()
    part = path.with_name(path.name + ".part") if replaced else path
    try:
        with part.open("wb") as file:
            try:
                yield file
                file.close()
                if replaced:
                    part.replace(path)
            except BaseException:
                if replaced:
                    part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def url(context: typer.Context, db: str | None) -> str:
    """The database: of the command, or of the program, or the default one."""
    return db or context.obj or str(user_data_path("turnlog") / "calls.db")


def writable(context: typer.Context, db: str | None, *, migrate: bool = False) -> Store:
    """The store, made if it is not there; a server is migrated only with ``migrate``."""
    return open_store(url(context, db), migrate=migrate)


def existing(context: typer.Context, db: str | None) -> Store:
    """The store; a command that only reads makes no database. Raises `StoreError` if there is none."""
    return open_existing(url(context, db))


def open_existing(where: str) -> Store:
    """The store at a URL or path, which is not made if it is not there. Raises `StoreError`."""
    path = where.removeprefix("sqlite:///") if where.startswith("sqlite:///") else where
    if "://" not in path and not path.startswith("file:") and not Path(path).expanduser().exists():
        raise StoreError(f"no database at {path}; `turnlog import FILE` or a Recorder makes one, or name one with --db")
    return open_store(where)


def known(store: Store, session: str) -> Session:
    """The session as the list of sessions has it. Raises `UnknownSession`, naming the nearest."""
    sessions = {s.session_id: s for s in store.sessions()}
    if session in sessions:
        return sessions[session]
    removal = next((r for r in store.ledger.removals() if r.session_id == session), None)
    near = get_close_matches(session, sessions, 1)
    hint = f"did you mean {near[0]!r}?" if near else "`turnlog sessions` lists those there are"
    if removal is not None:
        hint = (
            f"it was removed on {moment(removal.removed_ns)} UTC; bring it back with: turnlog import {removal.archive}"
        )
    raise UnknownSession(f"unknown session {session!r}; {hint}")


def read(store: Store, session: str) -> list[Event]:
    """The session's events. Raises `UnknownSession`, naming the nearest."""
    events = list(store.read(session))
    if not events:
        known(store, session)
    return events


def moment(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
