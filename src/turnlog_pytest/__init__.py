"""pytest: the turns of a recorded session, as a fixture.

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
    """A session as it is in the log."""

    session: str
    rules: str
    turns: list[TurnMeasures]
    """The turns: ``turns[0].response_ms``, ``.stt_ms``, ``.interrupted``, ``.unanswered``, …"""
    discarded: list[TurnMeasures]
    """Those that a framework's rules discard; empty under ``turnlog``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("turnlog")
    group.addoption(
        "--turnlog-db",
        metavar="URL",
        help="The event log that the fixture turnlog_session reads: sqlite:///calls.db, a path, or "
        "postgresql+psycopg://…; by default TURNLOG_DB of the environment.",
    )


@pytest.fixture(scope="session")
def turnlog_session(request: pytest.FixtureRequest) -> Callable[..., RecordedSession]:
    """A function: a session's id in the log gives its turns, as `projections.measures.measures` makes them.

    ``turnlog_session("s-1").turns[3].response_ms``; ``rules="…"`` replays under another rule set.
    Raises `UnknownSession`, naming the nearest, and `StoreError` if there is no log.
    """
    where: str | None = request.config.getoption("--turnlog-db") or os.environ.get("TURNLOG_DB")
    if where is None:
        raise pytest.UsageError("turnlog_session has no log to read: give --turnlog-db or set TURNLOG_DB")
    db = where

    def session(session_id: str, rules: str = "turnlog") -> RecordedSession:
        from projections.measures import measures
        from turnlog.sessions import open_existing, read

        store = open_existing(db)
        try:
            found = measures(read(store, session_id), rules)
        finally:
            store.close()
        turns = [turn for turn in found if turn.turn is not None]
        return RecordedSession(session_id, rules, turns, [turn for turn in found if turn.turn is None])

    return session
