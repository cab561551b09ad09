"""What differs, on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from eventstore.event import Event
from turnlog.compare.differences import COLUMNS, Differences, summary_rows
from turnlog.terminal import in_line, safe

SHOWN = 20
"""Changes and sessions that are listed one by one, unless there is --json."""
NOTES = {
    "only_in_one": "only in the log of --db",
    "only_in_other": "only in the log of --against",
    "gone": "not in the log any more, and not compared",
    "grown": "have grown since, and are compared up to where they ended then",
    "changed_log": "have other events than then, and are not compared",
}


def named(event: Event) -> dict[str, Any]:
    """What tells an event from others, as plain data."""
    return {"origin": event.origin, "seq": event.seq, "hook": event.hook}


def show(console: Console, title: str, found: Differences, notes: dict[str, list[str]]) -> None:
    """Print the figures, then the first changes one by one."""

    def say(line: str) -> None:
        console.print(in_line(line), markup=False)

    say(f"{found.changed_turns} of {found.turns} turns in {found.sessions} sessions differ: {title}")
    for why, names in notes.items():
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            say(f"{len(names)} sessions {NOTES[why]}: {', '.join(names[:SHOWN])}{more}")
    if found.changes:
        console.print(_table(found))
    for name, first in list(found.first.items())[:SHOWN]:
        for each in first if isinstance(first, list) else [first]:
            say(f"{name}: {_first(each)}")
    for name, change in found.listed[:SHOWN]:
        turn = change.turn if change.turn is not None else f"({change.other_turn})"
        what = change.path or "the whole turn"
        say(f"{name} turn {turn}  {what}: {_short(change.before)} → {_short(change.after)}")
    if found.changes > SHOWN:
        console.print(f"[dim]… {found.changes - SHOWN} more changes: --json[/]")


def _table(found: Differences) -> Table:
    table = Table()
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "field" else "right", no_wrap=column != "field")
    for field, count, *spread in summary_rows(found):
        table.add_row(safe(field), str(count), *map(_figure, spread))
    return table


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:+,.1f}" if abs(value) >= 10 else f"{value:+.3g}"  # milliseconds, or seconds, shares, counts


def _first(first: dict[str, Any]) -> str:
    if "hook" in first:
        return f"first at event {_event(first)}"
    if first["what"] == "time":
        late = f"{first['late_ms']:+,.1f} ms"
        return f"first at another time: event {_event(first['one'])}, {late} since the event before"
    both = f"event {_event(first['one'])} → event {_event(first['other'])}"
    return f"first with {'another hook' if first['what'] == 'hook' else 'other arguments'}: {both}"


def _event(event: dict[str, Any] | None) -> str:
    return "(none: it has ended)" if event is None else f"{event['seq']}, {event['hook']}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"
