"""``turnlog explain``: show the events behind a value and the events that would change it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from projections.boundary import replaying
from projections.caller import RULES as TURNLOG
from projections.explain import EventReference, Explanation, Outcome, SourceField, WhatIf
from projections.explain import explain as explain_value
from projections.explain import what_if as what_if_of
from projections.explain.what_if import BY_MS, HOW
from turnlog.cli.common import existing, patient_progress
from turnlog.cli.options import ArchiveOption, DbOption, JsonOption, RulesOption, SessionArgument
from turnlog.console import output, safe
from turnlog.sessions import read_session
from turnlog.terminal import in_line, print_json

PathArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH", help="Path in `turnlog replay --json`, such as turns[2].e2e_latency; or: turn 3 e2e_latency."
    ),
]


def explain(
    context: typer.Context,
    session: SessionArgument,
    path: PathArgument,
    what_if: Annotated[
        bool, typer.Option("--what-if", help="Find the events that change the value if removed or moved in time.")
    ] = False,
    by: Annotated[
        float, typer.Option(metavar="MS", min=0.001, help="Milliseconds by which --what-if moves events.")
    ] = BY_MS,
    rules: RulesOption = TURNLOG,
    db: DbOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the events and decisions behind a value."""
    store = existing(context, db, archive)
    events, where = read_session(store, session), " ".join(path)
    store.close()
    with replaying(session):
        found, tried = explain_value(events, where, rules), None
        if what_if:
            with patient_progress("trying") as step:
                tried = what_if_of(events, where, rules, by_ms=by, step=step)
    if as_json:
        print_json(_as_data(found) | ({} if tried is None else {"what_if": _as_data(tried)}))
        return
    several = len({event.origin for event in events}) > 1
    console = output()
    _show(console, found, several, hint=tried is None)
    if tried is not None:
        _show_what_if(console, tried, several)


def _as_data(value: Any) -> Any:
    """The value as JSON data: named tuples become objects."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _as_data(item) for name, item in value._asdict().items()}
    return [_as_data(item) for item in value] if isinstance(value, list | tuple) else value


def _show(console: Console, found: Explanation, several: bool, *, hint: bool) -> None:
    console.print(
        f"[bold]{safe(found.path)}[/]  {safe(_value(found.path, found.value))}  [dim]rules {safe(found.rules)}[/]"
    )
    if found.note not in ("", found.value) and (hint or found.rules == TURNLOG):
        console.print(f"[yellow]{safe(found.note)}[/]")
    rows = [
        (safe(_field(made, found.turn)), safe(_short(made)), _events(made.events, several)) for made in found.made_of
    ]
    _table(console, "made of", rows)
    _table(console, "spent on", [(safe(p.name), f"{p.ms:,.1f} ms", f"[dim]{safe(p.path)}[/]") for p in found.parts])
    decisions = {d.decision: d for d in reversed(found.decisions)}
    names = [d.decision for d in found.decisions]
    rows = [
        (name, "" if d.event is None else _event(d.event, several, hook=False) + _times(names.count(name)), safe(d.why))
        for name, d in reversed(decisions.items())
    ]
    _table(console, "decided by", rows)


def _times(count: int) -> str:
    return f" ×{count}" if count > 1 else ""


def _table(console: Console, title: str, rows: list[tuple[str, str, str]]) -> None:
    if not rows:
        return
    console.print(f"\n[bold]{title}[/]")
    grid = Table.grid(padding=(0, 2))
    for _column in range(3):
        grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console.print(Padding(grid, (0, 0, 0, 2)))


def _field(source: SourceField, turn: int | None) -> str:
    elsewhere = f" (turn {source.turn})" if turn is not None and source.turn not in (None, turn) else ""
    names = source.kind if not source.field.startswith(source.kind) else "", source.id, source.field
    return " ".join(filter(None, names)).replace("_", " ") + elsewhere


def _short(source: SourceField) -> str:
    value = source.value
    if source.time:
        return f"+{value:,.3f} s"
    text = f"{value:,.3f}" if type(value) is float else str("" if value is None else value)
    return text if len(text) <= 24 else text[:23] + "…"


def _events(events: list[EventReference], several: bool) -> str:
    shown = [_event(event, several) for event in events[:3]]
    return ", ".join(shown) + (f" and {len(events) - 3} more" if len(events) > 3 else "")


def _event(event: EventReference, several: bool, *, hook: bool = True) -> str:
    number = f"{event.origin}:{event.seq}" if several else str(event.seq)
    return f"{safe(event.hook)} [cyan]#{safe(number)}[/]" if hook else f"[cyan]#{safe(number)}[/]"


def _value(path: str, value: Any) -> str:
    if value is None:
        return "null"
    if type(value) is not float:
        return in_line(value)
    leaf = path.rpartition(".")[2]
    return f"{value:,.3f}".rstrip("0").rstrip(".") + (
        " ms" if leaf in ("ms", "e2e_latency") or leaf[-3:] == "_ms" else ""
    )


def _show_what_if(console: Console, tried: WhatIf, several: bool) -> None:
    by = f"{tried.by_ms:g} ms"
    events = dict.fromkeys(outcome.event for outcome in tried.outcomes)
    console.print(f"\n[bold]what if[/] one event were removed, or {by} earlier or later?")
    verdict = f"{len(events)} of them change it" if events else "none of them changes it"
    console.print(f"  [dim]{tried.tried} events tried, of the session's #{tried.first} and on; {verdict}[/]")
    if not events:
        return
    table = Table("event", "removed", f"{by} earlier", f"{by} later", box=None, padding=(0, 2, 0, 0))
    found = {(outcome.event, outcome.how): outcome for outcome in tried.outcomes}
    for event in events:
        cells = [_changed_value(tried, found.get((event, how))) for how in HOW]
        table.add_row(_event(event, several), *cells)
    console.print(Padding(table, (0, 0, 0, 2)))


def _changed_value(tried: WhatIf, outcome: Outcome | None) -> str:
    """The changed value or, for numbers, the difference."""
    if outcome is None:
        return "[dim]·[/]"
    if outcome.gone:
        return "gone"
    numbers = [type(value) in (int, float) for value in (tried.value, outcome.value)]
    if all(numbers):
        return f"{outcome.value - tried.value:+,.1f}".removesuffix(".0").replace("-", "−")
    return safe(in_line("null" if outcome.value is None else outcome.value)[:24])
