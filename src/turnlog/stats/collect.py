"""From the log to a table of turns: each chosen session is read, replayed and reduced to its numbers in turn."""

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
