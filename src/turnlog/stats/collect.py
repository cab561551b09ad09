"""Building the table of turns: read, replay and measure the selected sessions, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eventstore.stores.base import Session, Store
from projections.caller import RULES as TURNLOG
from projections.measures import session_measures
from projections.reference.rules import find_rules
from turnlog.stats.table import TurnTable
from turnlog.survey import Survey


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
    for name, _added in survey.each(events, lambda name: table.add(name, *session_measures(store.read(name), chosen))):
        on_read(events[name])
    return table
