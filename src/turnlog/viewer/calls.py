"""The calls of a log with their figures and turns, from the read models, and those of them that match a filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eventstore.stores.base import Session
from projections.measures import SessionRow
from projections.measures.row import labels_of, speech_of
from turnlog.stats.table import Columns, TurnTable, columns_of
from turnlog.viewer.filters import Filter

if TYPE_CHECKING:
    from turnlog.stats.table import Choice, Numbers


class Call(NamedTuple):
    """A session of the list. Figures of a session that cannot be read are None."""

    session: str
    started_ns: int
    length: float
    """Seconds."""
    events: int
    turns: int | None = None
    p50: float | None = None
    p95: float | None = None
    """Response in milliseconds; None if no turn has one."""
    interruptions: int | None = None
    errors: int | None = None
    unanswered: int | None = None
    framework: str = ""
    version: str = ""

    @property
    def readable(self) -> bool:
        return self.turns is not None


class Matching(NamedTuple):
    """What matches a filter: the calls, and the turns that the filter is about."""

    calls: list[Call]
    table: TurnTable
    """All turns that were read; ``chosen`` are those that match, of calls that match."""
    chosen: Choice
    started_ns: Choice
    """For each turn of the table, the start of its session."""


class Calls:
    """The calls of a stretch of time, in columns."""

    def __init__(self, rows: Sequence[tuple[Session, SessionRow]], unreadable: Sequence[Session]) -> None:
        self._sessions, self._rows = [session for session, _row in rows], [row for _session, row in rows]
        self._unreadable = unreadable
        self._columns = columns_of((session.session_id, row) for session, row in rows)
        self._session: Choice = np.repeat(np.arange(len(rows)), np.asarray(self._columns.turns, np.int64))
        """For each turn, the index of its session."""
        self._response = self._columns.numbers["response_ms"]

    def matching(self, wanted: Filter) -> Matching:
        """The calls and turns that match ``wanted``, apart from its times."""
        of_turns = self._turns_that_match(wanted)
        of_calls = self._calls_that_match(wanted)
        if wanted.about_turns:
            of_calls &= np.bincount(self._session[of_turns], minlength=len(self._rows)) > 0
        p50, p95 = _percentiles(self._session, self._response, len(self._rows))
        versions = self._versions()
        calls = [
            _call(self._sessions[n], self._rows[n], p50[n], p95[n], versions[n])
            for n in np.flatnonzero(of_calls).tolist()
        ]
        if wanted.is_open:
            calls += [_plain(session) for session in self._unreadable]
        chosen: Choice = np.flatnonzero(of_turns & of_calls[self._session])
        started = np.array([session.started_ns for session in self._sessions], np.int64)[self._session]
        return Matching(calls, TurnTable(self._columns), chosen, started)

    def _calls_that_match(self, wanted: Filter) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        needed = [name.replace("-", "_") for name in wanted.having]
        text, framework = wanted.text.casefold(), dict(wanted.labels).get("framework")
        return np.array(
            [
                all(getattr(row, name) for name in needed)
                and (framework is None or labels_of(row)[0] == framework)
                and (not text or _was_said(row, text))
                for row in self._rows
            ],
            np.bool_,
        )

    def _turns_that_match(self, wanted: Filter) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        found = np.ones(len(self._session), np.bool_)
        if wanted.slower_ms is not None:
            found &= self._response > wanted.slower_ms
        if wanted.faster_ms is not None:
            found &= self._response <= wanted.faster_ms
        for name, value in wanted.labels:
            if name != "framework":
                found &= _in_group(self._columns, name, value)
        return found

    def _versions(self) -> list[str]:
        """The agent's version, by session."""
        found = [""] * len(self._rows)
        first = np.searchsorted(self._session, np.arange(len(self._rows)))
        codes = self._columns.texts["version"]
        for n, at in enumerate(first.tolist()):
            if at < len(codes) and self._session[at] == n and codes[at] >= 0:
                found[n] = self._columns.labels[codes[at]]
        return found


def _in_group(columns: Columns, by: str, value: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    table = TurnTable(columns, by)
    found = np.zeros(len(table), np.bool_)
    for name, turns in table.groups():
        if name == value:
            found[turns] = True
    return found


def _percentiles(session: Choice, values: Numbers, sessions: int) -> tuple[list[float | None], list[float | None]]:
    """The p50 and the p95 of each session's values, interpolated linearly; None where there are none."""
    known = ~np.isnan(values)
    owner, ordered = session[known], values[known]
    order = np.lexsort((ordered, owner))
    owner, ordered = owner[order], ordered[order]
    counts = np.bincount(owner, minlength=sessions)
    starts = np.cumsum(counts) - counts
    there = counts > 0
    found = []
    for share in (0.50, 0.95):
        at = share * (counts[there] - 1)
        below = np.floor(at).astype(np.int64)
        low, high = starts[there] + below, starts[there] + np.ceil(at).astype(np.int64)
        each = np.full(sessions, np.nan)
        each[there] = ordered[low] + (at - below) * (ordered[high] - ordered[low])
        found.append([None if value != value else value for value in each.tolist()])  # noqa: PLR0124 - NaN
    return found[0], found[1]


def _plain(session: Session) -> Call:
    length = (session.ended_ns - session.started_ns) / 1e9
    return Call(session.session_id, session.started_ns, length, session.events)


def _call(session: Session, row: SessionRow, p50: float | None, p95: float | None, version: str) -> Call:
    return _plain(session)._replace(
        turns=row.turns,
        p50=p50,
        p95=p95,
        interruptions=row.interruptions,
        errors=row.errors,
        unanswered=row.no_response,
        framework=labels_of(row)[0],
        version=version,
    )


def _was_said(row: SessionRow, text: str) -> bool:
    return any(text in words.casefold() for each in speech_of(row) for words in each if words)
