"""``turnlog diff``: the same calls under two rule sets."""

from __future__ import annotations

from statistics import median
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from eventstore.event import Event
from projections.diff import Change, changes, first_divergence
from projections.replay import replay
from projections.response import is_number
from turnlog.cli.calls import BadChoice
from turnlog.cli.common import DbOption, JsonOption, existing, output, print_json, progress, read
from turnlog.cli.export import AllOption, SessionsArgument, chosen

SHOWN = 20
"""Changes that are listed one by one, unless there is --json."""


def diff(
    context: typer.Context,
    rules: Annotated[list[str], typer.Option("--rules", help="Two of them; `turnlog rules` lists those there are.")],
    sessions: SessionsArgument = None,
    every: AllOption = False,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay sessions under two rule sets, and show in which fields of which turns they differ, and from where on."""
    if len(rules) != 2:
        raise BadChoice("say --rules twice: what to compare with what")
    store = existing(context, db)
    found: list[tuple[str, Change]] = []
    begins: dict[str, Event] = {}
    turns = 0
    with progress() as bar:
        names = chosen(store, sessions, every)
        for name in bar.track(names, description="comparing"):
            events = read(store, name)
            one, two = (replay(events, each) for each in rules)
            changed = changes(one, two)
            turns += len(one.turns) + sum(change.turn is None for change in changed)
            found += [(name, change) for change in changed]
            divergence = first_divergence(events, *rules) if changed else None
            if divergence is not None:
                begins[name] = divergence
    store.close()
    if as_json:
        print_json(_json(names, turns, found, begins))
    else:
        _show(rules, names, turns, found, begins)


def _json(names: list[str], turns: int, found: list[tuple[str, Change]], begins: dict[str, Event]) -> Any:
    return {
        "sessions": len(names),
        "turns": turns,
        "changed_turns": _changed(found),
        "fields": [dict(zip(_COLUMNS, row, strict=True)) for row in _fields(found)],
        "changes": [{"session_id": name, **change._asdict()} for name, change in found],
        "first": {name: {"origin": e.origin, "seq": e.seq, "hook": e.hook} for name, e in begins.items()},
    }


def _changed(found: list[tuple[str, Change]]) -> int:
    return len({(name, change.turn, change.other_turn) for name, change in found})


_COLUMNS = ("field", "turns", "median", "least", "most")


def _fields(found: list[tuple[str, Change]]) -> list[tuple[Any, ...]]:
    """For each field: in how many turns it is another, and by how much where it is a number under both rules."""
    by_field: dict[str, list[tuple[str, Change]]] = {}
    for name, change in found:
        by_field.setdefault(change.field or "(the whole turn)", []).append((name, change))
    rows = []
    for field, those in by_field.items():
        moved = [c.after - c.before for _n, c in those if is_number(c.before) and is_number(c.after)]
        spread = (median(moved), min(moved), max(moved)) if moved else (None, None, None)
        rows.append((field, _changed(those), *spread))
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def _show(
    rules: list[str], names: list[str], turns: int, found: list[tuple[str, Change]], begins: dict[str, Event]
) -> None:
    console = output()
    console.print(f"{_changed(found)} of {turns} turns in {len(names)} sessions differ: {rules[0]} → {rules[1]}")
    if not found:
        return
    table = Table()
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column == "field" else "right", no_wrap=column != "field")
    for field, count, *spread in _fields(found):
        table.add_row(escape(field), str(count), *("–" if value is None else f"{value:+,.1f}" for value in spread))
    console.print(table)
    for name, event in list(begins.items())[:SHOWN]:
        console.print(f"{name}: first at event {event.seq}, {event.hook}", markup=False, highlight=False)
    for name, change in found[:SHOWN]:
        turn = change.turn if change.turn is not None else f"({change.other_turn})"
        line = f"{name} turn {turn}  {change.path}: {_short(change.before)} → {_short(change.after)}"
        console.print(line, markup=False, highlight=False)
    if len(found) > SHOWN:
        console.print(f"[dim]… {len(found) - SHOWN} more changes: --json[/]")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"
