"""A barge-in as a sentence, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from eventstore.event import Event
from projections.caller import Reading
from projections.outputs.turn import barge_in_dict
from projections.turns.ledger import BargeIn
from projections.turns.spoken_text import SpokenText, spoken_text

QUOTED = 40
"""Characters of what was said that are shown, unless there is --json."""


class Entry(NamedTuple):
    """A record of the ledger as it is listed."""

    record: BargeIn
    said: SpokenText
    turn: int | None
    """The number of the turn whose answer it was said into."""
    into_call: float
    """When it began: seconds since the session's first event."""


def entries(r: Reading) -> list[Entry]:
    """The session's ledger, in the order of its events."""
    numbers = {id(x): number for number, x in enumerate(r.exchanges, 1)}
    found = []
    for record, heard in zip(r.barge_ins, spoken_text(r.assembly, r.barge_ins), strict=True):
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
    """The record as `turnlog replay` shows it under its turn."""
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
        return "interrupted before it was heard"
    how = {"phantom": ", though no one spoke", "escalated": ", first taken for a false interruption"}
    least = "" if record.silent_known else " ≥"
    times = [_took(f"yielded in{least}", record.yield_ms), _took("overlap", record.overlap_ms)]
    facts = ", ".join(filter(None, [*times, _texts(entry.said)]))
    return f"cut off{_after(record)}{how.get(record.kind, '')}{': ' if facts else ''}{facts}"


def _after(record: BargeIn) -> str:
    return "" if record.agent_heard_ms is None else f" after {record.agent_heard_ms / 1000:.1f} s of speech"


def _took(what: str, ms: float | None) -> str:
    return "" if ms is None else f"{what} {ms:,.0f} ms"


def _texts(heard: SpokenText) -> str:
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
