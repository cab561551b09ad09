"""A session at a glance: what the list of sessions shows and filters by."""

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
    """What a replay adds to a `Session`."""

    turns: int
    response_p95_ms: float | None
    """Of the turns with a response, linear between the two nearest; None if there is none."""
    slowest_ms: float | None
    errors: int
    interruptions: int
    """Turns whose answer the user cut off."""
    no_response: int
    """Questions without an answer."""
    framework: str
    """Name and version, as recorded; empty if neither was."""


class Wanted(NamedTuple):
    """Which sessions to list."""

    slower_than_ms: float | None = None
    having: tuple[str, ...] = ()
    """Of ``errors``, ``interruptions`` and ``no-response``: all that a session must have."""
    grep: str | None = None
    """Text that the user or the agent must have said, in any case."""

    def holds(self, found: Overview, reading: Reading) -> bool:
        """Whether the session is one of them."""
        if self.slower_than_ms is not None and (found.slowest_ms or 0.0) <= self.slower_than_ms:
            return False
        if any(not getattr(found, name.replace("-", "_")) for name in self.having):
            return False
        return self.grep is None or _was_said(reading, self.grep.casefold())


def overview(store: Store, session: Session, wanted: Wanted) -> Overview | None:
    """The session's overview; None if it is not wanted. Raises what a replay does."""
    with replaying(session.session_id):
        events = list(store.read(session.session_id))
        reading = read(events)
        found = _of(reading, " ".join(filter(None, framework_of(events))))
        return found if wanted.holds(found, reading) else None


def overview_if_readable(store: Store, session: Session) -> Overview | None:
    """The session's overview; None if it cannot be replayed. Raises `StoreUnavailable`."""
    try:
        return overview(store, session, Wanted())
    except StoreUnavailable:
        raise
    except TurnlogError:
        return None


def _of(reading: Reading, framework: str) -> Overview:
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
    said = (words for turn in reading.turns for words in (turn.user_speech, turn.agent_speech))
    return any(text in words.casefold() for words in said if words)
