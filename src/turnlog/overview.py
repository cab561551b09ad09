"""Session overviews: the figures that the list of sessions shows and filters by."""

from __future__ import annotations

from statistics import quantiles
from typing import NamedTuple

from eventstore.errors import StoreUnavailable, TurnlogError
from eventstore.stores.base import Session, Store
from projections.boundary import replaying
from projections.caller import Reading, read
from projections.measures import measures_of
from projections.readings import framework_of


class Overview(NamedTuple):
    """The figures that a replay adds to a `Session`."""

    turns: int
    response_p95_ms: float | None
    """Over the turns with a response, interpolated linearly; None if there are none."""
    slowest_ms: float | None
    errors: int
    interruptions: int
    """Number of turns whose answer the user interrupted."""
    no_response: int
    """Number of questions without an answer."""
    framework: str
    """Name and version, as recorded; empty if not recorded."""


class Wanted(NamedTuple):
    """A filter for sessions."""

    slower_than_ms: float | None = None
    having: tuple[str, ...] = ()
    """Conditions that a session must all meet, out of ``errors``, ``interruptions`` and ``no-response``."""
    grep: str | None = None
    """Text that the user or the agent must have said; case is ignored."""

    def holds(self, found: Overview, reading: Reading) -> bool:
        """Whether the session matches."""
        if self.slower_than_ms is not None and (found.slowest_ms or 0.0) <= self.slower_than_ms:
            return False
        if any(not getattr(found, name.replace("-", "_")) for name in self.having):
            return False
        return self.grep is None or _was_said(reading, self.grep.casefold())


def overview(store: Store, session: Session, wanted: Wanted) -> Overview | None:
    """The session's overview, or None if the filter rejects it. Raises the errors of a replay."""
    with replaying(session.session_id):
        events = list(store.read(session.session_id))
        reading = read(events)
        found = _summarize(reading, " ".join(filter(None, framework_of(events))))
        return found if wanted.holds(found, reading) else None


def overview_if_readable(store: Store, session: Session) -> Overview | None:
    """The session's overview, or None if it cannot be replayed. Raises `StoreUnavailable`."""
    try:
        return overview(store, session, Wanted())
    except StoreUnavailable:
        raise
    except TurnlogError:
        return None


def _summarize(reading: Reading, framework: str) -> Overview:
    turns = measures_of(reading)
    responses = [turn.response_ms for turn in turns if turn.response_ms is not None]
    return Overview(
        turns=len(turns),
        response_p95_ms=_p95(responses),
        slowest_ms=max(responses, default=None),
        errors=sum(turn.errors for turn in turns)
        + sum(left.activity.kind == "error" for left in reading.assembly.unassigned),
        interruptions=sum(bool(turn.interrupted) for turn in turns),
        no_response=sum(bool(turn.unanswered) for turn in turns),
        framework=framework,
    )


def _p95(values: list[float]) -> float | None:
    return quantiles(values, n=20, method="inclusive")[18] if len(values) > 1 else next(iter(values), None)


def _was_said(reading: Reading, text: str) -> bool:
    transcripts = (words for turn in reading.turns for words in (turn.user_speech, turn.agent_speech))
    return any(text in words.casefold() for words in transcripts if words)
