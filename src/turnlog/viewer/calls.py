"""The calls of a log with their figures and turns, from the read models, and those of them that match a filter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from eventstore.stores.base import Session
from projections.measures import SessionRow
from projections.measures.row import labels_of
from turnlog.stats.table import Columns, TurnTable, columns_of
from turnlog.viewer.filters import HAVING, Filter

if TYPE_CHECKING:
    from turnlog.stats.table import Choice, Numbers

    Mask = np.ndarray[Any, np.dtype[np.bool_]]
    Groups = dict[str, Choice]
    """Turns by the name of their group."""


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
    all_groups: Callable[[str], Groups]
    """All turns of the table, by group."""

    def groups(self, by: str) -> list[tuple[str, Choice]]:
        """The turns that match, by group; one of `turnlog.stats.table.GROUPS`."""
        matches = np.zeros(len(self.table), np.bool_)
        matches[self.chosen] = True
        found = [(name, turns[matches[turns]]) for name, turns in self.all_groups(by).items()]
        return [(name, turns) for name, turns in found if len(turns)]


class Calls:
    """The calls of a log in columns, most recently started first."""

    def __init__(self, rows: Iterable[tuple[Session, SessionRow | None]]) -> None:
        """``rows``: each session with its row, None if it cannot be read."""
        ordered = sorted(rows, key=lambda pair: (-pair[0].started_ns, pair[0].session_id))
        read = [(session, row) for session, row in ordered if row is not None]
        columns = columns_of((session.session_id, row) for session, row in read)
        self._table = TurnTable(columns)
        self._columns = columns
        self._session: Choice = np.repeat(np.arange(len(read)), np.asarray(columns.turns, np.int64))
        """For each turn, the index of its session."""
        self._groups: dict[str, Groups] = {}
        """By what the turns are grouped by; made when first needed."""
        p50, p95 = _percentiles(self._session, columns.numbers["response_ms"], len(read))
        versions = _first_texts(columns, "version", self._session, len(read))
        self._calls = [_call(session, row, p50[n], p95[n], versions[n]) for n, (session, row) in enumerate(read)]
        self._unreadable = [_plain(session) for session, row in ordered if row is None]
        self._started_ns: Choice = np.array([call.started_ns for call in self._calls], np.int64)

    def matching(self, wanted: Filter, said: Callable[[list[str]], set[str]]) -> Matching:
        """The calls and turns that match; ``said``: those of the sessions in which the wanted text was said."""
        since, until = wanted.since_ns, wanted.until_ns
        of_calls = np.array([_has(call, wanted) for call in self._calls], np.bool_)
        of_calls &= _between(self._started_ns, since, until)
        of_turns = self._turns_that_match(wanted)
        if wanted.about_turns:
            of_calls &= np.bincount(self._session[of_turns], minlength=len(self._calls)) > 0
        calls = [self._calls[n] for n in np.flatnonzero(of_calls).tolist()]
        if wanted.text:
            found = said([call.session for call in calls])
            calls = [call for call in calls if call.session in found]
            of_calls &= np.array([call.session in found for call in self._calls], np.bool_)
        if wanted.is_open:
            started = np.array([call.started_ns for call in self._unreadable], np.int64)
            calls += [self._unreadable[n] for n in np.flatnonzero(_between(started, since, until)).tolist()]
        chosen: Choice = np.flatnonzero(of_turns & of_calls[self._session])
        return Matching(calls, self._table, chosen, self._started_ns[self._session], self._grouped)

    def _turns_that_match(self, wanted: Filter) -> Mask:
        values = self._table.column(wanted.measure)
        found = np.ones(len(values), np.bool_)
        if wanted.slower is not None:
            found &= values > wanted.slower
        if wanted.faster is not None:
            found &= values <= wanted.faster
        for name, value in wanted.labels:
            if name != "framework":
                inside = np.zeros(len(values), np.bool_)
                inside[self._grouped(name).get(value, [])] = True
                found &= inside
        return found

    def _grouped(self, by: str) -> Groups:
        if by not in self._groups:
            self._groups[by] = dict(TurnTable(self._columns, by).groups())
        return self._groups[by]


def _has(call: Call, wanted: Filter) -> bool:
    """Whether a session has what is wanted of it as a whole."""
    framework = dict(wanted.labels).get("framework", call.framework)
    return framework == call.framework and all(getattr(call, HAVING[name].field) for name in wanted.having)


def _between(moments: Choice, since: int | None, until: int | None) -> Mask:
    found = np.ones(len(moments), np.bool_)
    if since is not None:
        found &= moments >= since
    if until is not None:
        found &= moments < until
    return found


def _first_texts(columns: Columns, name: str, session: Choice, sessions: int) -> list[str]:
    """A text of each session's first turn; empty if it has none."""
    codes, labels = columns.texts[name], [*columns.labels, ""]
    first = np.full(sessions, -1, np.int64)
    present, at = np.unique(session, return_index=True)
    first[present] = codes[at]
    return [labels[code] for code in first.tolist()]


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
