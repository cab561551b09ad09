"""Writes sessions to a file, each completely or not at all."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, NamedTuple

from eventstore.event import Event
from eventstore.stores.base import Store
from eventstore.stores.records import ALL_PARTS
from projections.measures import SessionRow
from turnlog.cli.choice import named_sessions
from turnlog.cli.common import jobs_or_all, progress
from turnlog.files import atomic_file
from turnlog.survey import Survey
from turnlog.terminal import stdout_file

SPOOLED_BYTES = 8_000_000
"""Larger sessions are spooled to disk until they are complete."""


def _read_many(store: Store, names: list[str]) -> Iterable[tuple[str, Iterator[Event]]]:
    return store.read_many(names)


class Form(NamedTuple):
    """A file format for sessions."""

    session: Callable[[str, Any, int], Iterable[bytes]]
    """Returns the bytes of the session with this name and source; the number is its position in the file, from 1."""
    head: bytes = b""
    between: bytes = b""
    tail: bytes = b""
    sources: Callable[[Store, list[str]], Iterable[tuple[str, Any]]] = _read_many
    """Returns what each session is made of: its events, as `Store.read_many` does, or something else."""


def write_sessions(store: Store, sessions: list[str] | None, every: bool, out: Path | None, form: Form) -> None:
    """Write the sessions one at a time, so that at most one is in memory; each completely or not at all."""
    names = named_sessions(store, sessions, every)
    survey = Survey(alone=len(names) == 1)
    hidden = out is None and sys.stdout.isatty()  # the terminal shows the file itself
    with (
        atomic_file(out) if out is not None else nullcontext(stdout_file()) as file,
        progress(hidden=hidden) as bar,
        SpooledTemporaryFile(SPOOLED_BYTES) as spool,
    ):

        def spool_session(name: str, source: object) -> None:
            spool.seek(0)
            spool.truncate()
            spool.writelines(form.session(name, source, written + 1))

        file.write(form.head)
        written = 0
        made = survey.each_of(form.sources(store, names), spool_session)
        spooled = bar.track(made, total=len(names), description="exporting")
        for written, _ in enumerate(spooled, 1):
            file.write(form.between if written > 1 else b"")
            spool.seek(0)
            shutil.copyfileobj(spool, file)
        file.write(form.tail)
        file.flush()
    store.close()
    survey.finish()


def write_rows(
    store: Store,
    sessions: list[str] | None,
    every: bool,
    out: Path | None,
    head: bytes,
    lines: Callable[[str, SessionRow], Iterable[bytes]],
    jobs: int | None,
) -> None:
    """Write lines that are made of the rows of read models; of each session all or none."""
    from turnlog.read_models import model_rows, plan

    recorded = {session.session_id: session for session in store.sessions()}
    planned = plan(store, [recorded[name] for name in named_sessions(store, sessions, every)])
    survey = Survey(alone=len(planned.sessions) == 1)
    hidden = out is None and sys.stdout.isatty()
    with (
        atomic_file(out) if out is not None else nullcontext(stdout_file()) as file,
        progress(hidden=hidden) as bar,
        closing(model_rows(store, planned, ALL_PARTS, jobs=jobs_or_all(jobs), survey=survey)) as rows,
    ):
        file.write(head)
        for session, row in bar.track(rows, total=len(planned.sessions), description="exporting"):
            made = survey.each([session.session_id], lambda name, row=row: b"".join(lines(name, row)))  # type: ignore[misc]
            for _name, data in made:
                file.write(data)
        file.flush()
    store.close()
    survey.finish()


def write_file(out: Path | None, content: bytes) -> None:
    """Write to a file, completely or not at all, or to standard output."""
    with atomic_file(out) if out is not None else nullcontext(stdout_file()) as file:
        file.write(content)
        file.flush()
