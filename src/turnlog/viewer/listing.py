"""The sessions of a log with their figures, filtered and sorted."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import quantiles
from typing import NamedTuple

from eventstore.errors import StoreUnavailable, TurnlogError
from eventstore.stores.base import Session, Store
from projections.boundary import replaying
from projections.caller import read
from projections.measures import TurnMeasures, measures_of
from projections.readings import framework_of
from turnlog.viewer.filters import Filter


class Listed(NamedTuple):
    """A session and its figures; they are None if it cannot be replayed."""

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
    responses: tuple[float, ...] = ()

    @property
    def readable(self) -> bool:
        return self.turns is not None


def find(store: Store, wanted: Filter) -> list[Listed]:
    """The sessions that match, most recently started first."""
    between = (
        session
        for session in store.sessions()
        if (wanted.since_ns is None or session.started_ns >= wanted.since_ns)
        and (wanted.until_ns is None or session.started_ns < wanted.until_ns)
    )
    return list(_matching(store, between, wanted))


def _matching(store: Store, sessions: Iterable[Session], wanted: Filter) -> Iterable[Listed]:
    for session in sessions:
        length = (session.ended_ns - session.started_ns) / 1e9
        plain = Listed(session.session_id, session.started_ns, length, session.events)
        try:
            with replaying(session.session_id):
                events = list(store.read(session.session_id))
                reading = read(events)
                turns = measures_of(reading)
        except StoreUnavailable:
            raise
        except TurnlogError:
            if wanted[2:] == Filter()[2:]:
                yield plain
            continue
        framework = " ".join(filter(None, framework_of(events)))
        row = _with_figures(plain, turns, framework)
        said = (words for turn in reading.turns for words in (turn.user_speech, turn.agent_speech) if words)
        text = wanted.text.casefold()
        if _holds(row, turns, wanted) and (not text or any(text in words.casefold() for words in said)):
            yield row


def _with_figures(plain: Listed, turns: list[TurnMeasures], framework: str) -> Listed:
    responses = tuple(turn.response_ms for turn in turns if turn.response_ms is not None)
    cuts = quantiles(responses, n=20, method="inclusive") if len(responses) > 1 else list(responses) * 19
    return plain._replace(
        turns=len(turns),
        p50=cuts[9] if cuts else None,
        p95=cuts[18] if cuts else None,
        interruptions=sum(turn.interrupted for turn in turns),
        errors=sum(turn.errors for turn in turns),
        unanswered=sum(turn.unanswered for turn in turns),
        framework=framework,
        version=next((turn.version for turn in turns if turn.version), ""),
        responses=responses,
    )


def _holds(row: Listed, turns: list[TurnMeasures], wanted: Filter) -> bool:
    counts = {"errors": row.errors, "interruptions": row.interruptions, "no-response": row.unanswered}
    if not all(counts[name] for name in wanted.having):
        return False
    labels = dict(wanted.labels)
    if labels.pop("framework", row.framework) != row.framework:
        return False
    if not labels and wanted.slower_ms is None and wanted.faster_ms is None:
        return True
    return any(_turn_holds(turn, wanted, labels) for turn in turns)


def _turn_holds(turn: TurnMeasures, wanted: Filter, labels: dict[str, str]) -> bool:
    response = turn.response_ms
    if wanted.slower_ms is not None and (response is None or response <= wanted.slower_ms):
        return False
    if wanted.faster_ms is not None and (response is None or response > wanted.faster_ms):
        return False
    return all(getattr(turn, name, "") == value for name, value in labels.items())
