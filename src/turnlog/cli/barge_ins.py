"""``turnlog barge-ins``: each time that the user and the agent got into each other's way."""

from __future__ import annotations

from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from projections.barge_in import BargeIn
from projections.barge_in import barge_ins as ledger
from turnlog.cli.common import DbOption, JsonOption, existing, output, print_json, progress, read
from turnlog.cli.export import AllOption, SessionsArgument, chosen
from turnlog.survey import Survey
from turnlog.terminal import safe

QUOTED = 40
"""Characters of what was said that are shown, unless there is --json."""


def barge_ins(
    context: typer.Context,
    sessions: SessionsArgument = None,
    every: AllOption = False,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the barge-ins of sessions, true, false and phantom: how soon the agent yielded, and what it had said."""
    store = existing(context, db)
    with progress() as bar:
        names = chosen(store, sessions, every)
        survey = Survey(alone=len(names) == 1)
        made = survey.each(names, lambda name: list(ledger(read(store, name))))
        listened = bar.track(made, total=len(names), description="listening")
        found = [(name, record) for name, records in listened for record in records]
    store.close()
    if as_json:
        print_json([{"session_id": name, **record_dict(record)} for name, record in found])
    else:
        _show(output(), len(names) - len(survey.failed), found)
    survey.finish()


def record_dict(record: BargeIn) -> dict[str, Any]:
    """The record as JSON carries it."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain


def sentence(record: BargeIn) -> str:
    """The record as `turnlog replay` tells it under its turn."""
    quoted = f" (“{_quote(record.words)}”)" if record.words else ""
    return (_undisturbed if record.kind in ("overlap", "false") else _cut_off)(record) + quoted


def _undisturbed(record: BargeIn) -> str:
    """Of an agent that went on."""
    if record.kind == "overlap":
        agent_first = (record.agent_start or 0.0) <= (record.user_start or 0.0)
        who = "the user spoke over the agent" if agent_first else "the agent spoke over the user"
        return who + _took(" for", record.overlap_ms) + ", and it went on"
    if record.told is None:
        return f"heard noise{_after(record)}, and went on"
    went_on = "" if record.resumed is None else f", and went on {(record.resumed - record.told) * 1000:,.0f} ms later"
    return f"paused{_after(record)} for a false interruption{went_on}"


def _cut_off(record: BargeIn) -> str:
    if record.agent_start is None:
        return "interrupted while it was not heard"
    how = {"phantom": ", though nobody spoke", "escalated": ", first taken for a false interruption"}
    least = "" if record.silent_known else " ≥"
    times = [_took(f"yielded in{least}", record.yield_ms), _took("both spoke for", record.overlap_ms)]
    facts = ", ".join(filter(None, [*times, _texts(record)]))
    return f"cut off{_after(record)}{how.get(record.kind, '')}{': ' if facts else ''}{facts}"


def _after(record: BargeIn) -> str:
    return "" if record.agent_heard_ms is None else f" after {record.agent_heard_ms / 1000:.1f} s of speech"


def _took(what: str, ms: float | None) -> str:
    return "" if ms is None else f"{what} {ms:,.0f} ms"


def _texts(record: BargeIn) -> str:
    """What was heard is shown by its end, what was not by its beginning: between them the agent was cut off."""
    about = "about " if record.estimated else ""
    said = f"had said {about}“{_quote(record.said, end=True)}”" if record.said else ""
    unsaid = f"not “{_quote(record.unsaid)}”" if record.unsaid else ""
    return " and ".join(filter(None, (said, unsaid)))


def _quote(text: str, *, end: bool = False) -> str:
    line = " ".join(text.split())
    if len(line) <= QUOTED:
        return line
    return "…" + line[1 - QUOTED :] if end else line[: QUOTED - 1] + "…"


def _show(console: Console, sessions: int, found: list[tuple[str, BargeIn]]) -> None:
    kinds: dict[str, int] = {}
    for _name, record in found:
        kinds[record.kind] = kinds.get(record.kind, 0) + 1
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    console.print(f"{len(found)} in {sessions} sessions{': ' + counts if counts else ''}")
    if not found:
        return
    table = Table()
    for column in ("session", "kind", "at", "yield", "overlap", "had said", "not said"):
        numeric = column in ("at", "yield", "overlap")
        width = 8 if numeric else 9 if column == "kind" else None  # what was said gives way
        table.add_column(column, justify="right" if numeric else "left", no_wrap=True, min_width=width)
    table.caption = "milliseconds; ≥: nobody said when the agent fell silent; ~: estimated"
    for name, record in found:
        least = "≥ " if record.yield_ms is not None and not record.silent_known else ""
        about = "~ " if record.estimated else ""
        table.add_row(
            safe(name),
            record.kind,
            f"+{record.into_call:,.1f} s",
            least + _number(record.yield_ms),
            _number(record.overlap_ms),
            "–" if record.said is None else safe(f"{about}{_quote(record.said, end=True)}"),
            "–" if record.unsaid is None else safe(f"{about}{_quote(record.unsaid)}"),
        )
    console.print(table)


def _number(ms: float | None) -> str:
    return "–" if ms is None else f"{ms:,.0f}"
