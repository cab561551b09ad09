"""Building the table of turns: read, replay and measure the selected sessions, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from eventstore.errors import TurnlogError
from eventstore.stores.base import Session, Store
from projections.caller import RULES as TURNLOG
from projections.measures import measured
from projections.reference.rules import find_rules
from turnlog.stats.table import TurnTable
from turnlog.survey import Survey


class BadDate(TurnlogError):
    """The text is not a date."""


def date_ns(text: str) -> int:
    """Parse ``2026-03-01`` or ``2026-03-01T12:30+01:00`` to nanoseconds since the epoch; the default zone is UTC.

    Raises `BadDate`.
    """
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise BadDate(f"{text!r} is not a date; use 2026-03-01 or 2026-03-01T12:30+01:00") from None
    date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    since = date - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def started_between(sessions: Sequence[Session], since_ns: int | None, until_ns: int | None) -> list[Session]:
    """The sessions that began at ``since_ns`` or later and before ``until_ns``, the oldest first."""
    chosen = [
        s
        for s in sessions
        if (since_ns is None or s.started_ns >= since_ns) and (until_ns is None or s.started_ns < until_ns)
    ]
    return sorted(chosen, key=lambda s: (s.started_ns, s.session_id))


def collect(
    store: Store,
    sessions: Sequence[Session],
    rules: str = TURNLOG,
    by: str | None = None,
    on_read: Callable[[int], object] = lambda events: None,
    survey: Survey | None = None,
) -> TurnTable:
    """The table of the sessions' turns; ``on_read`` is called after each session with its number of events.

    Memory holds the table and one session. Sessions that cannot be replayed are omitted, and listed in the ``survey``.
    Raises `UnknownRules`.
    """
    chosen = rules if rules == TURNLOG else find_rules(rules)
    table = TurnTable(by, rules)
    survey = survey or Survey()
    events = {session.session_id: session.events for session in sessions}
    for name, _added in survey.each(events, lambda name: table.add(name, *measured(store.read(name), chosen))):
        on_read(events[name])
    return table
