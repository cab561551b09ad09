"""Renders a barge-in as a sentence and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from eventstore.event import Event
from projections.caller import Reading
from projections.outputs.turn import barge_in_dict
from projections.turns.ledger import BargeIn
from projections.turns.spoken_text import SpokenText, spoken_text

QUOTED = 40
"""Maximum length of a quotation, in characters, without --json."""


class Entry(NamedTuple):
    """A barge-in record with its text and position in the call."""

    record: BargeIn
    spoken: SpokenText
    turn: int | None
    """The number of the turn whose answer the user barged into."""
    into_call: float
    """Start, in seconds since the session's first event."""


def entries(r: Reading) -> list[Entry]:
    """The session's barge-ins, in event order."""
    numbers = {id(x): number for number, x in enumerate(r.exchanges, 1)}
    found = []
    for record, spoken in zip(r.barge_ins, spoken_text(r.assembly, r.barge_ins), strict=True):
        starts = [start for start in (record.user_start, record.agent_start) if start is not None]
        began = max(starts) if record.user_start is not None else record.stopped
        into_call = 0.0 if began is None else (began - r.timeline.began) / 1e9
        found.append(Entry(record, spoken, numbers.get(id(record.exchange)), into_call))
    return found


def entry_dict(r: Reading, events: Sequence[Event], entry: Entry) -> dict[str, Any]:
    """The entry as JSON; ``events`` are the events of ``r``. Times are as in `docs/json.md`."""
    event = events[entry.record.at]
    where = {"turn": entry.turn, "origin": event.origin, "seq": event.seq, "into_call": entry.into_call}
    return {**barge_in_dict(r.timeline, entry.record), **where, **entry.spoken._asdict()}


def sentence(entry: Entry) -> str:
    """The entry as the sentence that `turnlog replay` prints under its turn."""
    words = entry.record.words
    quoted = f" (“{shorten(words)}”)" if words else ""
    return (_continued_sentence if entry.record.kind in ("overlap", "false") else _cut_off_sentence)(entry) + quoted


def _continued_sentence(entry: Entry) -> str:
    record = entry.record
    if record.kind == "overlap":
        agent_first = (record.agent_start or 0) <= (record.user_start or 0)
        who = "the user spoke over the agent" if agent_first else "the agent spoke over the user"
        return who + _duration(" for", record.overlap_ms) + ", and it went on"
    if record.stopped is None:
        return f"noise{_after(record)}, and the agent went on"
    went_on = "" if record.resumed is None else f", and went on {(record.resumed - record.stopped) / 1e6:,.0f} ms later"
    return f"paused{_after(record)} for a false interruption{went_on}"


def _cut_off_sentence(entry: Entry) -> str:
    record = entry.record
    if record.agent_start is None:
        return "interrupted before it was heard"
    how = {"phantom": ", though no one spoke", "escalated": ", first taken for a false interruption"}
    at_least = "" if record.silent_known else " ≥"
    times = [_duration(f"yielded in{at_least}", record.yield_ms), _duration("overlap", record.overlap_ms)]
    facts = ", ".join(filter(None, [*times, _texts(entry.spoken)]))
    return f"cut off{_after(record)}{how.get(record.kind, '')}{': ' if facts else ''}{facts}"


def _after(record: BargeIn) -> str:
    return "" if record.agent_heard_ms is None else f" after {record.agent_heard_ms / 1000:.1f} s of speech"


def _duration(what: str, ms: float | None) -> str:
    return "" if ms is None else f"{what} {ms:,.0f} ms"


def _texts(spoken: SpokenText) -> str:
    """The end of the spoken text and the start of the unspoken: the agent was cut off between them."""
    about = "about " if spoken.estimated else ""
    said = f"had said {about}“{shorten(spoken.said, end=True)}”" if spoken.said else ""
    unsaid = f"not “{shorten(spoken.unsaid)}”" if spoken.unsaid else ""
    return " and ".join(filter(None, (said, unsaid)))


def shorten(text: str, *, end: bool = False) -> str:
    """The start of the text, or its ``end``, on one line of at most `QUOTED` characters."""
    line = " ".join(text.split())
    if len(line) <= QUOTED:
        return line
    return "…" + line[1 - QUOTED :] if end else line[: QUOTED - 1] + "…"
