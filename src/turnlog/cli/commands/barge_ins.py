"""``turnlog barge-ins``: each time that the user and the agent got into each other's way."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from eventstore.event import Event
from projections.caller import read as read_events
from turnlog.cli.choice import chosen
from turnlog.cli.common import existing, progress
from turnlog.cli.options import AllOption, DbOption, JsonOption, SessionsArgument
from turnlog.cli.render.barge_in import Entry, _quote, entries, entry_dict
from turnlog.console import output, safe
from turnlog.sessions import read
from turnlog.survey import Survey
from turnlog.terminal import print_json


def barge_ins(
    context: typer.Context,
    sessions: SessionsArgument = None,
    every: AllOption = False,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """List barge-ins: how soon the agent yielded, what was cut.

    True, false and phantom ones alike.
    """
    store = existing(context, db)
    with progress() as bar:
        names = chosen(store, sessions, every)
        survey = Survey(alone=len(names) == 1)
        made = survey.each(names, lambda name: list(_listed(read(store, name), as_json)))
        listened = bar.track(made, total=len(names), description="listening")
        found = [(name, one) for name, listed in listened for one in listed]
    store.close()
    if as_json:
        print_json([{"session_id": name, **plain} for name, (plain, _entry) in found])
    else:
        _show(output(), len(names) - len(survey.failed), [(name, entry) for name, (_plain, entry) in found])
    survey.finish()


def _listed(events: list[Event], as_json: bool) -> list[tuple[dict[str, Any], Entry]]:
    r = read_events(events)
    return [(entry_dict(r, events, entry) if as_json else {}, entry) for entry in entries(r)]


def _show(console: Console, sessions: int, found: list[tuple[str, Entry]]) -> None:
    kinds: dict[str, int] = {}
    for _name, entry in found:
        kinds[entry.record.kind] = kinds.get(entry.record.kind, 0) + 1
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    console.print(f"{len(found)} in {sessions} sessions{': ' + counts if counts else ''}")
    if not found:
        return
    table = Table()
    for column in ("session", "kind", "at", "yield", "overlap", "had said", "not said"):
        numeric = column in ("at", "yield", "overlap")
        width = 8 if numeric else 9 if column == "kind" else None  # what was said gives way
        table.add_column(column, justify="right" if numeric else "left", no_wrap=True, min_width=width)
    table.caption = "milliseconds; ≥: the log does not say when the agent fell silent; ~: estimated"
    for name, entry in found:
        record, heard = entry.record, entry.said
        least = "≥ " if record.yield_ms is not None and not record.silent_known else ""
        about = "~ " if heard.estimated else ""
        table.add_row(
            safe(name),
            record.kind,
            f"+{entry.into_call:,.1f} s",
            least + _number(record.yield_ms),
            _number(record.overlap_ms),
            "–" if heard.said is None else safe(f"{about}{_quote(heard.said, end=True)}"),
            "–" if heard.unsaid is None else safe(f"{about}{_quote(heard.unsaid)}"),
        )
    console.print(table)


def _number(ms: float | None) -> str:
    return "–" if ms is None else f"{ms:,.0f}"
