"""Sessions written to a file, each whole or not at all."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import NamedTuple

from eventstore.stores.base import Store
from turnlog.cli.choice import named_sessions
from turnlog.cli.common import progress
from turnlog.files import atomic_file
from turnlog.survey import Survey
from turnlog.terminal import stdout_file

SPOOLED_BYTES = 8_000_000
"""A session that makes a longer file than this waits on the disk until it is whole."""


class Form(NamedTuple):
    """How sessions stand in a file."""

    session: Callable[[Store, str, int], Iterable[bytes]]
    """The pieces of the one of that name, which is the n-th in the file, from 1."""
    head: bytes = b""
    between: bytes = b""
    tail: bytes = b""


def write_sessions(store: Store, sessions: list[str] | None, every: bool, out: Path | None, form: Form) -> None:
    """Write the sessions one by one, so that never more than one is in memory; each whole, or not at all."""
    names = named_sessions(store, sessions, every)
    survey = Survey(alone=len(names) == 1)
    hidden = out is None and sys.stdout.isatty()  # the file itself goes there
    with (
        atomic_file(out) if out is not None else nullcontext(stdout_file()) as file,
        progress(hidden=hidden) as bar,
        SpooledTemporaryFile(SPOOLED_BYTES) as spool,
    ):

        def made(name: str) -> None:
            spool.seek(0)
            spool.truncate()
            spool.writelines(form.session(store, name, written + 1))

        file.write(form.head)
        written = 0
        whole = bar.track(survey.each(names, made), total=len(names), description="exporting")
        for written, _made in enumerate(whole, 1):
            file.write(form.between if written > 1 else b"")
            spool.seek(0)
            shutil.copyfileobj(spool, file)
        file.write(form.tail)
        file.flush()
    store.close()
    survey.finish()
