"""A pytest plugin with a fixture for the turns of a recorded session.

pytest imports this package at every start, so it is separate from `turnlog`; what it needs is imported when a test uses
the fixture.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from projections.measures import TurnMeasures


class RecordedSession(NamedTuple):
    """A session of the log with its turns."""

    session: str
    rules: str
    turns: list[TurnMeasures]
    """The completed turns: ``turns[0].response_ms``, ``.stt_ms``, ``.interrupted``, ``.unanswered``, …"""
    discarded: list[TurnMeasures]
    """The turns that a framework's rules discard; empty under ``turnlog``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("turnlog")
    group.addoption(
        "--turnlog-db",
        metavar="URL",
        help="Event log for the fixture turnlog_session: sqlite:///calls.db, a path, or postgresql+psycopg://… "
        "(default: $TURNLOG_DB).",
    )


@pytest.fixture(scope="session")
def turnlog_session(request: pytest.FixtureRequest) -> Callable[..., RecordedSession]:
    """Return a function that loads a session by its id, with the turns of `projections.measures.measures`.

    ``turnlog_session("s-1").turns[3].response_ms``; ``rules="…"`` selects a different rule set. The function raises
    `UnknownSession`, naming the nearest id, and `StoreError` if there is no log.
    """
    where: str | None = request.config.getoption("--turnlog-db") or os.environ.get("TURNLOG_DB")
    if where is None:
        raise pytest.UsageError("turnlog_session needs an event log: pass --turnlog-db or set TURNLOG_DB")
    db = where

    def session(session_id: str, rules: str = "turnlog") -> RecordedSession:
        from projections.measures import measures
        from turnlog.sessions import open_existing, read_session

        store = open_existing(db)
        try:
            found = measures(read_session(store, session_id), rules)
        finally:
            store.close()
        turns = [turn for turn in found if turn.turn is not None]
        return RecordedSession(session_id, rules, turns, [turn for turn in found if turn.turn is None])

    return session
