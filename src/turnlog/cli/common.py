"""Helpers that the commands share: the database option, progress bars, headers, confirmations."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

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
from turnlog.sessions import ArchiveOpening, display_name, exists, open_existing, open_log
from turnlog.terminal import in_line, say

if TYPE_CHECKING:
    from turnlog.read_models import Plan

PATIENCE_SECONDS = 2.0
"""A progress bar appears after this time."""


class BadHeader(TurnlogError):
    """A header is malformed."""


class BadDatabase(TurnlogError):
    """--db is empty or ambiguous."""


class NotConfirmed(TurnlogError):
    """An irreversible action was not confirmed."""


def progress(count: ProgressColumn | None = None, *, hidden: bool = False) -> Progress:
    """A progress bar on standard error, shown only on a terminal; ``count`` is its counter, numbers by default."""
    console = errors_to()
    name, counter = TextColumn("{task.description}", markup=False), count or MofNCompleteColumn()
    columns = name, BarColumn(), counter, TimeRemainingColumn()
    return Progress(
        *columns,
        console=console,
        transient=True,
        disable=hidden or not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # what goes to a file must not end up beside the bar
    )


def jobs_or_all(jobs: int | None) -> int:
    """The number of --jobs; by default that of the processors that this process may use."""
    return jobs or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


MANY_SESSIONS = 1000
"""From this number on, reading rows that are there already takes long enough for a bar."""


@contextmanager
def replaying_bar(planned: Plan) -> Iterator[Callable[[int], object]]:
    """A progress bar over the events that the plan replays; yields what advances it.

    If the plan only reads, and reads many sessions, the bar shows no more than that.
    """
    if planned.stale:
        with progress() as bar:
            task = bar.add_task("replaying", total=planned.stale_events)
            yield lambda events: bar.advance(task, events)
    else:
        with progress(TextColumn(""), hidden=len(planned.sessions) < MANY_SESSIONS) as bar:
            bar.add_task(f"reading {len(planned.sessions):,} sessions", total=None)
            yield lambda events: None


@contextmanager
def patient_progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress callback, called with the number done and the total; its bar appears after `PATIENCE_SECONDS`."""
    bar, began = progress(), time.monotonic()
    task = bar.add_task(description)

    def step(done: int, of: int) -> None:
        if not bar.live.is_started and time.monotonic() - began > PATIENCE_SECONDS:
            bar.start()
        bar.update(task, completed=done, total=of)

    try:
        yield step
    finally:
        bar.stop()


def headers_of(pairs: list[str] | None) -> dict[str, str]:
    """Headers from ``NAME=VALUE`` pairs, or else from the environment, comma-separated. Raises `BadHeader`."""
    headers = {}
    for text in pairs or filter(None, os.environ.get(HEADERS, "").split(",")):
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise BadHeader("a header is NAME=VALUE")  # without the text, which may be a token
        headers[name.strip().lower()] = value.strip()
    return headers


def url(context: typer.Context, db: list[str] | None) -> str:
    """The database from --db (before or after the command), else from the environment, else the default.

    Raises `BadDatabase` if --db is given twice with different values, or is empty.
    """
    given = list(db or ())
    level: Any = context
    while level is not None:
        given += level.params.get("db") or ()
        level = level.parent
    if "" in given:
        raise BadDatabase("--db is empty; pass a URL or path, or leave it out")
    if len(several := list(dict.fromkeys(given))) > 1:
        raise BadDatabase(f"--db is given twice: {' and '.join(map(display_name, several))}; pass it once")
    return (given and given[0]) or os.environ.get(TURNLOG_DB) or str(user_data_path("turnlog") / "calls.db")


def writable(context: typer.Context, db: list[str] | None, *, migrate: bool = False) -> Store:
    """The store, created if it is missing; a server is migrated only with ``migrate``."""
    return open_log(url(context, db), migrate=migrate)


def existing(context: typer.Context, db: list[str] | None, archive: str | None = None) -> Store:
    """The store, for a command that only reads: the log or the archive.

    Raises `StoreError` instead of creating a database.
    """
    where = url(context, db)
    if archive is None:
        return open_existing(where)
    return ArchiveOpening(archive, where if db or exists(where) else None)()


def confirm_destructive(where: str, what: str, yes: bool) -> None:
    """Name the database and ask for confirmation of ``what``, which cannot be undone.

    ``where`` comes from `url`; ``what`` is an imperative about the log. Without a terminal to ask on, ``yes`` (--yes)
    is required. Raises `NotConfirmed`, so call this before changing anything.
    """
    if not yes and not sys.stdin.isatty():
        raise NotConfirmed(f"nothing was done: no terminal to ask on; pass --yes to {what} of {display_name(where)}")
    say(f"database: {display_name(where)}", err=True)
    if yes:
        return
    if not typer.confirm(in_line(f"{what[:1].upper()}{what[1:]}?"), err=True):
        raise NotConfirmed("nothing was done")


class BadChoice(TurnlogError):
    """Options contradict each other or name something that does not exist."""


def opener(bar: Progress, path: Path) -> IO[bytes]:
    return bar.open(path, "rb", description=path.name)
