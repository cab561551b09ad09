"""From the log to a table of turns: each chosen session is read, replayed and reduced to its numbers in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from eventstore.errors import TurnlogError
from eventstore.stores.base import Session, Store
from projections.caller import RULES as TURNLOG
from projections.measures import session_measures
from projections.reference.rules import find_rules
from turnlog.stats.table import TurnTable
from turnlog.survey import Survey


class BadMoment(TurnlogError):
    """A moment that cannot be understood."""


def moment_ns(text: str) -> int:
    """``2026-03-01`` or ``2026-03-01T12:30+01:00`` in nanoseconds since the epoch; UTC unless it says otherwise.

    Raises `BadMoment`.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadMoment(f"{text!r} is not a moment; say 2026-03-01 or 2026-03-01T12:30+01:00") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def between(sessions: Sequence[Session], since_ns: int | None, until_ns: int | None) -> list[Session]:
    """The sessions that began at or after ``since_ns`` and before ``until_ns``, the oldest first."""
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
    read: Callable[[int], object] = lambda events: None,
    survey: Survey | None = None,
) -> TurnTable:
    """The turns of the sessions; ``read`` is called after each with how many events it had.

    Never more than one session is in memory beside the table. Sessions that cannot be replayed are left out, and in the
    ``survey``. Raises `UnknownRules`.
    """
    chosen = rules if rules == TURNLOG else find_rules(rules)
    table = TurnTable(by, rules)
    survey = survey or Survey()
    events = {session.session_id: session.events for session in sessions}
    for name, _added in survey.each(events, lambda name: table.add(name, *session_measures(store.read(name), chosen))):
        read(events[name])
    return table
