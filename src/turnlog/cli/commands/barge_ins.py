"""``turnlog barge-ins``: when the user and the agent spoke over each other."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console

from eventstore.event import Event
from projections.caller import read as read_events
from projections.turns.ledger import BargeIn
from turnlog.cli.choice import named_sessions
from turnlog.cli.common import existing, progress
from turnlog.cli.options import AllOption, ArchiveOption, DbOption, JsonOption, SessionsArgument
from turnlog.cli.render.barge_in import Entry, entries, entry_dict, shorten
from turnlog.console import Column, fitted, output, safe
from turnlog.sessions import events_of
from turnlog.survey import Survey
from turnlog.terminal import plural, print_json


def barge_ins(
    context: typer.Context,
    sessions: SessionsArgument = None,
    every: AllOption = False,
    db: DbOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """List barge-ins: how soon the agent yielded, what was cut.

    True, false and phantom ones alike.
    """
    store = existing(context, db, archive)
    with progress() as bar:
        names = named_sessions(store, sessions, every)
        survey = Survey(alone=len(names) == 1)
        sessions_read = store.read_many(names)
        replayed = survey.each_of(sessions_read, lambda name, read: list(_entries(events_of(name, read), as_json)))
        tracked = bar.track(replayed, total=len(names), description="replaying")
        found = [(name, entry) for name, listed in tracked for entry in listed]
    store.close()
    if as_json:
        print_json([{"session_id": name, **plain} for name, (plain, _entry) in found])
    else:
        _show(output(), len(names) - len(survey.failed), [(name, entry) for name, (_plain, entry) in found])
    survey.finish()


def _entries(events: list[Event], as_json: bool) -> list[tuple[dict[str, Any], Entry]]:
    r = read_events(events)
    return [(entry_dict(r, events, entry) if as_json else {}, entry) for entry in entries(r)]


def _show(console: Console, sessions: int, found: list[tuple[str, Entry]]) -> None:
    kinds: dict[str, int] = {}
    for _name, entry in found:
        kinds[entry.record.kind] = kinds.get(entry.record.kind, 0) + 1
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    listed = plural(len(found), "barge-in")
    console.print(f"{listed} in {plural(sessions, 'session')}{': ' + counts if counts else ''}")
    if not found:
        return
    each = [entry for _name, entry in found]
    columns = [
        Column("session", [safe(name) for name, _entry in found]),
        Column("kind", [entry.record.kind for entry in each]),
        Column("at", [f"+{entry.into_call:,.1f} s" for entry in each], right=True),
        Column("yield", [_yield_time(entry.record) for entry in each], right=True),
        Column("overlap", [_milliseconds(entry.record.overlap_ms) for entry in each], right=True, rank=3),
        Column("had said", [_text(entry, entry.spoken.said, end=True) for entry in each], rank=2, text=True),
        Column("not said", [_text(entry, entry.spoken.unsaid) for entry in each], rank=1, text=True),
    ]
    caption = "milliseconds; ≥: end of agent audio not reported; ~: estimated"
    console.print(fitted(console, columns, caption))


def _yield_time(record: BargeIn) -> str:
    return ("≥ " if record.yield_ms is not None and not record.silent_known else "") + _milliseconds(record.yield_ms)


def _text(entry: Entry, text: str | None, *, end: bool = False) -> str:
    return "–" if text is None else safe(f"{'~ ' if entry.spoken.estimated else ''}{shorten(text, end=end)}")


def _milliseconds(ms: float | None) -> str:
    return "–" if ms is None else f"{ms:,.0f}"
