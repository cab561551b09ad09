"""``turnlog sessions``: what is in the log."""

from __future__ import annotations

import typer
from rich.table import Table

from turnlog.cli.common import existing
from turnlog.cli.options import DbOption, JsonOption
from turnlog.console import output, safe
from turnlog.sessions import moment
from turnlog.terminal import print_json


def sessions(context: typer.Context, db: DbOption = None, as_json: JsonOption = False) -> None:
    """List the recorded sessions, newest first."""
    store = existing(context, db)
    found = store.sessions()
    store.close()
    if as_json:
        print_json([session._asdict() for session in found])
        return
    table = Table("session", "started (UTC)", "length", "events", "origins")
    for column in table.columns[2:]:
        column.justify = "right"
    for session in found:
        length = (session.ended_ns - session.started_ns) / 1e9
        row = safe(session.session_id), moment(session.started_ns), f"{length:.1f} s"
        table.add_row(*row, str(session.events), str(session.origins))
    output().print(table if found else "no sessions yet; `turnlog import FILE` or a Recorder brings some")
