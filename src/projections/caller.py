"""The caller's reading, rule set `turnlog`: what the people on the call experienced.

Events become activities (`projections.timeline`), activities become exchanges (`projections.turns`), exchanges get
their numbers (`projections.latency`). Everything that people look at is made from these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from eventstore.event import Event
from projections.latency.response import Response
from projections.timeline import Timeline, timeline
from projections.turns.assembly import Assembly, assemble
from projections.turns.exchange import Exchange
from projections.turns.ledger import BargeIn, ledger
from projections.turns.turn import Turn, barge_in_dict, turns_of


class Reading(msgspec.Struct):
    """One session, read."""

    timeline: Timeline
    assembly: Assembly
    ledger: list[BargeIn]
    exchanges: list[Exchange]
    turns: list[Turn]
    responses: list[Response | None]

    rules: str = "turnlog"


def read(events: Iterable[Event]) -> Reading:
    """The session whose events these are, in canonical order. Raises what `projections.timeline.extend` does."""
    return reading_of(timeline(events))


def reading_of(t: Timeline) -> Reading:
    """The reading of a timeline, which may go on afterwards."""
    a = assemble(t)
    records = ledger(a)
    found = turns_of(a, records)
    return Reading(t, a, records, [x for x, _turn, _r in found], [turn for _x, turn, _r in found], [r for _x, _t, r in found])


def reading_dict(r: Reading) -> dict[str, Any]:
    """The contract of ``turnlog replay SESSION --json``."""
    t = r.timeline
    session = msgspec.to_builtins(t.session)
    session |= {"framework": t.framework or None, "framework_version": t.framework_version or None}
    session |= {"name": t.session_id, "events": t.at + 1, "end_reason": t.end_reason or None}
    homeless = [record for record in r.ledger if record.exchange is None]
    return {
        "session": session,
        "rules": r.rules,
        "turns": [msgspec.to_builtins(turn) for turn in r.turns],
        "discarded": [_left(t, left) for left in r.assembly.left if left.activity.kind == "voice"],
        "outside": [
            *(_left(t, left) for left in r.assembly.left if left.activity.kind != "voice"),
            *({"kind": "event", "at": at, "reason": reason} for at, reason in t.ignored),
            *({**barge_in_dict(t, record), "kind": "barge-in", "barge_in": record.kind,
               "reason": "the agent was not heard"} for record in homeless),
        ],
    }  # fmt: skip


def _left(t: Timeline, left: Any) -> dict[str, Any]:
    found = left.activity
    start, end = ((None if v is None else (v - t.began) / 1e9) for v in (found.start, found.end))
    return {"kind": found.kind, "at": found.at, "start": start, "end": end, "reason": left.reason}
