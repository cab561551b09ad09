"""The table of the turns of selected sessions, from the read models."""

from __future__ import annotations

from collections.abc import Callable

from eventstore.stores.base import Store
from turnlog.read_models import Plan, model_rows
from turnlog.stats.table import TurnTable, columns_of
from turnlog.survey import Survey


def collect(
    store: Store,
    planned: Plan,
    by: str | None = None,
    *,
    jobs: int = 1,
    on_replayed: Callable[[int], object] = lambda events: None,
    survey: Survey | None = None,
) -> TurnTable:
    """The table of the planned sessions' turns; `model_rows` has the other parameters."""
    rows = model_rows(store, planned, ("numbers", "labels"), jobs=jobs, on_replayed=on_replayed, survey=survey)
    return TurnTable(columns_of((session.session_id, row) for session, row in rows), by, planned.rules)
