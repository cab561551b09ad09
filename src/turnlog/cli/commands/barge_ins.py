"""``turnlog barge-ins``: when the user and the agent spoke over each other."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, NamedTuple

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
from turnlog.terminal import plural, print_json_list


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
    with progress(hidden=as_json and sys.stdout.isatty()) as bar:
        names = named_sessions(store, sessions, every)
        survey = Survey(alone=len(names) == 1)
        make = _as_json if as_json else _as_rows
        replayed = survey.each_of(store.read_many(names), lambda name, read: make(name, events_of(name, read)))
        tracked = bar.track(replayed, total=len(names), description="replaying")
        listed = (each for _name, found in tracked for each in found)
        rows: list[BargeInRow] = []
        if as_json:
            print_json_list(listed)
        else:
            rows = list(listed)
    store.close()
    if not as_json:
        _show(output(), len(names) - len(survey.failed), rows)
    survey.finish()


def _as_json(name: str, events: list[Event]) -> list[Any]:
    r = read_events(events)
    return [{"session_id": name, **entry_dict(r, events, entry)} for entry in entries(r)]


class BargeInRow(NamedTuple):
    """The cells of a barge-in. They are all that is kept of its session."""

    session: str
    kind: str
    at: str
    yielded: str
    overlap: str
    said: str
    unsaid: str


def _as_rows(name: str, events: list[Event]) -> list[Any]:
    return [
        BargeInRow(
            safe(name),
            entry.record.kind,
            f"+{entry.into_call:,.1f} s",
            _yield_time(entry.record),
            _milliseconds(entry.record.overlap_ms),
            _text(entry, entry.spoken.said, end=True),
            _text(entry, entry.spoken.unsaid),
        )
        for entry in entries(read_events(events))
    ]


def _show(console: Console, sessions: int, rows: list[BargeInRow]) -> None:
    kinds = Counter(row.kind for row in rows)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    listed = plural(len(rows), "barge-in")
    console.print(f"{listed} in {plural(sessions, 'session')}{': ' + counts if counts else ''}")
    if not rows:
        return
    session, kind, at, yielded, overlap, said, unsaid = map(list, zip(*rows, strict=True))
    columns = [
        Column("session", session),
        Column("kind", kind),
        Column("at", at, right=True),
        Column("yield", yielded, right=True),
        Column("overlap", overlap, right=True, rank=3),
        Column("had said", said, rank=2, text=True),
        Column("not said", unsaid, rank=1, text=True),
    ]
    caption = "milliseconds; ≥: end of agent audio not reported; ~: estimated"
    console.print(fitted(console, columns, caption))


def _yield_time(record: BargeIn) -> str:
    return ("≥ " if record.yield_ms is not None and not record.silent_known else "") + _milliseconds(record.yield_ms)


def _text(entry: Entry, text: str | None, *, end: bool = False) -> str:
    return "–" if text is None else safe(f"{'~ ' if entry.spoken.estimated else ''}{shorten(text, end=end)}")


def _milliseconds(ms: float | None) -> str:
    return "–" if ms is None else f"{ms:,.0f}"
