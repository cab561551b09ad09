"""``turnlog barge-ins``: each time that the user and the agent got into each other's way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from eventstore.event import Event
from projections.caller import Reading
from projections.caller import read as read_events
from projections.turns.ledger import BargeIn
from projections.turns.said import Said, said
from projections.turns.turn import barge_in_dict
from turnlog.cli.commands.export import AllOption, SessionsArgument, chosen
from turnlog.cli.common import DbOption, JsonOption, existing, output, print_json, progress, read
from turnlog.survey import Survey
from turnlog.terminal import safe

QUOTED = 40
"""Characters of what was said that are shown, unless there is --json."""


class Entry(NamedTuple):
    """A record of the ledger as it is listed."""

    record: BargeIn
    said: Said
    turn: int | None
    """The number of the turn whose answer it was said into."""
    into_call: float
    """When it began: seconds since the session's first event."""


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


def entries(r: Reading) -> list[Entry]:
    """The session's ledger, in the order of its events."""
    numbers = {id(x): number for number, x in enumerate(r.exchanges, 1)}
    found = []
    for record, heard in zip(r.barge_ins, said(r.assembly, r.barge_ins), strict=True):
        starts = [start for start in (record.user_start, record.agent_start) if start is not None]
        began = max(starts) if record.user_start is not None else record.stopped
        into_call = 0.0 if began is None else (began - r.timeline.began) / 1e9
        found.append(Entry(record, heard, numbers.get(id(record.exchange)), into_call))
    return found


def entry_dict(r: Reading, events: Sequence[Event], entry: Entry) -> dict[str, Any]:
    """The record as JSON carries it; ``events`` are those that ``r`` was read from. Times are as in `docs/json.md`."""
    event = events[entry.record.at]
    where = {"turn": entry.turn, "origin": event.origin, "seq": event.seq, "into_call": entry.into_call}
    return {**barge_in_dict(r.timeline, entry.record), **where, **entry.said._asdict()}


def sentence(entry: Entry) -> str:
    """The record as `turnlog replay` has it under its turn."""
    words = entry.record.words
    quoted = f" (“{_quote(words)}”)" if words else ""
    return (_undisturbed if entry.record.kind in ("overlap", "false") else _cut_off)(entry) + quoted


def _undisturbed(entry: Entry) -> str:
    """Of an agent that went on."""
    record = entry.record
    if record.kind == "overlap":
        agent_first = (record.agent_start or 0) <= (record.user_start or 0)
        who = "the user spoke over the agent" if agent_first else "the agent spoke over the user"
        return who + _took(" for", record.overlap_ms) + ", and it went on"
    if record.stopped is None:
        return f"noise{_after(record)}, and the agent went on"
    went_on = "" if record.resumed is None else f", and went on {(record.resumed - record.stopped) / 1e6:,.0f} ms later"
    return f"paused{_after(record)} for a false interruption{went_on}"


def _cut_off(entry: Entry) -> str:
    record = entry.record
    if record.agent_start is None:
        return "interrupted while it was not heard"
    how = {"phantom": ", though no one spoke", "escalated": ", first taken for a false interruption"}
    least = "" if record.silent_known else " ≥"
    times = [_took(f"yielded in{least}", record.yield_ms), _took("both spoke for", record.overlap_ms)]
    facts = ", ".join(filter(None, [*times, _texts(entry.said)]))
    return f"cut off{_after(record)}{how.get(record.kind, '')}{': ' if facts else ''}{facts}"


def _after(record: BargeIn) -> str:
    return "" if record.agent_heard_ms is None else f" after {record.agent_heard_ms / 1000:.1f} s of speech"


def _took(what: str, ms: float | None) -> str:
    return "" if ms is None else f"{what} {ms:,.0f} ms"


def _texts(heard: Said) -> str:
    """What was heard is shown by its end, what was not by its beginning: between them the agent was cut off."""
    about = "about " if heard.estimated else ""
    had = f"had said {about}“{_quote(heard.said, end=True)}”" if heard.said else ""
    unsaid = f"not “{_quote(heard.unsaid)}”" if heard.unsaid else ""
    return " and ".join(filter(None, (had, unsaid)))


def _quote(text: str, *, end: bool = False) -> str:
    line = " ".join(text.split())
    if len(line) <= QUOTED:
        return line
    return "…" + line[1 - QUOTED :] if end else line[: QUOTED - 1] + "…"


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
