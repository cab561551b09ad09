"""Renders the differences between turns."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eventstore.event import Event
from projections.compare.turns import Change
from turnlog.compare.differences import COLUMNS, Differences, summary_rows
from turnlog.console import Column, fitted, safe
from turnlog.terminal import in_line, plural

SHOWN = 20
"""Maximum number of changes, and of sessions, listed without --json."""
FIELDS = 3
"""Maximum number of changed fields per turn without --verbose."""
NOTES = {
    "only_in_one": "not in the log of --against",
    "only_in_other": "only in the log of --against",
    "gone": "no longer in the log; not compared",
    "grown": "grown since; compared up to the former end",
    "changed_log": "recorded with different events; not compared",
}


def named(event: Event) -> dict[str, Any]:
    """The identity of an event, as plain data."""
    return {"origin": event.origin, "seq": event.seq, "hook": event.hook}


def show(
    console: Console, title: str, found: Differences, notes: dict[str, list[str]], *, verbose: bool = False
) -> None:
    """Print the verdict, a table of fields, then one line per turn, or per change if ``verbose``."""

    def print_line(line: str) -> None:
        console.print(in_line(line), markup=False)

    sessions = plural(found.sessions, "session")
    print_line(f"{found.changed_turns:,} of {plural(found.turns, 'turn')} differ in {sessions}: {title}")
    for why, names in notes.items():
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            print_line(f"{plural(len(names), 'session')} {NOTES[why]}: {', '.join(names[:SHOWN])}{more}")
    if found.changes:
        console.print(_table(console, found))
    for name, first in list(found.first.items())[:SHOWN]:
        for each in first if isinstance(first, list) else [first]:
            print_line(f"{name}: {_first_line(each)}")
    lines = _change_lines(found) if verbose else _turn_lines(found)
    for line in lines[:SHOWN]:
        text = Text(in_line(line))
        if not verbose:
            text.truncate(console.width, overflow="ellipsis")
        console.print(text)
    rest = (found.changes if verbose else found.changed_turns) - min(SHOWN, len(lines))
    if rest or (lines and not verbose):
        more = f"… {plural(rest, 'more change' if verbose else 'more turn')}; " if rest else ""
        console.print(f"[dim]{more}{'' if verbose else 'each change: --verbose, '}all as data: --json[/]")


def _change_lines(found: Differences) -> list[str]:
    """One line per listed change."""
    return [f"{_turn_label(name, change)}  {_change(change)}" for name, change in found.listed]


def _turn_lines(found: Differences) -> list[str]:
    """One line per listed turn, with its first changes."""
    turns: dict[str, list[Change]] = {}
    for name, change in found.listed:
        turns.setdefault(_turn_label(name, change), []).append(change)
    lines = []
    for place, changes in turns.items():
        more = f", and {len(changes) - FIELDS} more" if len(changes) > FIELDS else ""
        lines.append(f"{place}  {', '.join(map(_change, changes[:FIELDS]))}{more}")
    return lines


def _turn_label(name: str, change: Change) -> str:
    return f"{name} turn {change.turn if change.turn is not None else f'({change.other_turn})'}"


def _change(change: Change) -> str:
    return f"{change.path or 'the whole turn'}: {_short(change.before)} → {_short(change.after)}"


_RANKS = {"least": 3, "p5": 1, "p95": 2, "most": 4}
"""Column ranks (`Column.rank`): on a narrow terminal the lowest is dropped first."""


def _table(console: Console, found: Differences) -> Table:
    columns = []
    for title, cells in zip(COLUMNS, zip(*summary_rows(found), strict=True), strict=True):
        if title == "field":
            columns.append(Column(title, [safe(cell) for cell in cells]))
        else:
            shown = [f"{cell:,}" if title == "turns" else _figure(cell) for cell in cells]
            columns.append(Column(title, shown, right=True, rank=_RANKS.get(title, 0)))
    return fitted(console, columns)


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:+,.1f}" if abs(value) >= 10 else f"{value:+.3g}"  # milliseconds, or seconds, shares, counts


def _first_line(first: dict[str, Any]) -> str:
    if "hook" in first:
        return f"first at event {_event(first)}"
    if first["what"] == "time":
        late = f"{first['late_ms']:+,.1f} ms"
        return f"first at another time: event {_event(first['one'])}, {late} since the event before"
    both = f"event {_event(first['one'])} → event {_event(first['other'])}"
    return f"first with {'a different hook' if first['what'] == 'hook' else 'different arguments'}: {both}"


def _event(event: dict[str, Any] | None) -> str:
    return "(none: end of session)" if event is None else f"{event['seq']}, {event['hook']}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"
