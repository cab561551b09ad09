"""The caller's reading, rule set `turnlog`: the session as the people on the call experienced it.

Events become activities (`projections.timeline`), activities become exchanges (`projections.turns`), exchanges get
their latencies (`projections.latency`). All output that is not framework-specific is made from these.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from operator import attrgetter
from typing import Any

import msgspec

from eventstore.event import Event
from projections.latency.response import Response, measure_response
from projections.model import LogLine, SessionDetails
from projections.outputs.payload import payload
from projections.outputs.turn import Turn, barge_in_dict, turn_of
from projections.spans import Span, by_event, span_tree, turn_spans
from projections.timeline import Activity, Timeline, timeline
from projections.turns.assembly import Assembly, Unassigned, assemble
from projections.turns.exchange import Exchange
from projections.turns.ledger import BargeIn, ledger

RULES = "turnlog"
DELAY_ENDPOINTING = ("livekit-agents", "pipecat-ai")
"""Frameworks whose end-of-utterance decision consists mostly of the endpointing delay."""


class Reading:
    """The reading of one session. Each part is computed once, on first access.

    It has no framework signals: `emits` and `playground` are empty.
    """

    rules = RULES

    def __init__(self, t: Timeline, *, ongoing: bool = False) -> None:
        """``ongoing``: more events may come; `spans` then leaves out turns that these may still change."""
        self.timeline = t
        self.ongoing = ongoing
        self.emits: list[Any] = []
        self.playground: list[Any] = []
        self.framework_e2e: dict[int, float] = {}
        """By turn number, from 1: the framework's own latency in milliseconds (`projections.framework_figures`)."""

    @property
    def session(self) -> SessionDetails:
        return self.timeline.session

    @property
    def session_name(self) -> str:
        """The session's name in the log; `SessionDetails.session_id` is the framework's."""
        return self.timeline.session_id

    @property
    def events(self) -> int:
        """Number of events read."""
        return self.timeline.at + 1

    @cached_property
    def assembly(self) -> Assembly:
        return assemble(self.timeline)

    @property
    def exchanges(self) -> list[Exchange]:
        return self.assembly.exchanges

    @cached_property
    def responses(self) -> list[Response | None]:
        """The response of each exchange, or None."""
        return [self.response_of(x) for x in self.exchanges]

    def response_of(self, x: Exchange) -> Response | None:
        t = self.timeline
        return measure_response(
            x, realtime=t.realtime, eou="EOU wait" if t.framework in DELAY_ENDPOINTING else "EOU inference"
        )

    @cached_property
    def barge_ins(self) -> list[BargeIn]:
        """The barge-in ledger."""
        return ledger(self.assembly)

    @cached_property
    def _barge_ins_by_exchange(self) -> dict[int, list[BargeIn]]:
        """Ledger records by an exchange's ``id()``."""
        found: dict[int, list[BargeIn]] = {}
        for record in self.barge_ins:
            if record.exchange is not None:
                found.setdefault(id(record.exchange), []).append(record)
        return found

    def barge_ins_of(self, x: Exchange) -> list[BargeIn]:
        return self._barge_ins_by_exchange.get(id(x), [])

    @cached_property
    def turns(self) -> list[Turn]:
        return [self.turn(number) for number in range(1, len(self.exchanges) + 1)]

    def turn(self, number: int) -> Turn:
        """Compute one turn; ``number`` counts from 1."""
        x, response = self.exchanges[number - 1], self.responses[number - 1]
        turn = turn_of(self.timeline, x, number, response, self.barge_ins_of(x), last=number == len(self.exchanges))
        turn.framework_e2e = self.framework_e2e.get(number)
        return turn

    def set_framework_e2e(self, figures: dict[int, float]) -> None:
        """Set the framework's own latencies, in milliseconds by turn number, on the turns."""
        self.framework_e2e = figures
        for turn in self.__dict__.get("turns", ()):
            turn.framework_e2e = figures.get(turn.turn)

    @cached_property
    def payloads(self) -> list[dict[str, Any]]:
        """The analytics payloads, one per turn; `exporters.analytics.schema` is their schema."""
        return [
            payload(self.timeline, x, response, number, interrupted=is_interrupted(self.barge_ins_of(x)))
            for number, (x, response) in enumerate(zip(self.exchanges, self.responses, strict=True), 1)
        ]

    @cached_property
    def spans(self) -> list[Span]:
        """The spans: turn by turn, then those outside of turns, the root last; all are closed."""
        return span_tree(self.assembly, self.responses, self.barge_ins, ongoing=self.ongoing)

    @cached_property
    def _records_by_event(self) -> dict[int, BargeIn]:
        return by_event(self.barge_ins)

    def spans_of(self, number: int) -> list[Span]:
        """Compute the spans of one turn, with the sounds that began in it; ``number`` counts from 1."""
        x, response = self.exchanges[number - 1], self.responses[number - 1]
        last = number == len(self.exchanges)
        return turn_spans(self.timeline, x, number, response, self.barge_ins_of(x), self._records_by_event, last=last)

    @cached_property
    def logs(self) -> list[LogLine]:
        """The lines of the agent's log, in event order."""
        owners = self.assembly.owners
        numbers = {id(x): number for number, x in enumerate(self.exchanges, 1)}
        lines = [(line, owners.get(line.at)) for line in self.timeline.activities if line.kind == "log"]
        return [self._log_line(line, None if owner is None else numbers[id(owner)]) for line, owner in lines]

    def logs_of(self, number: int) -> list[LogLine]:
        """The log lines of one turn; ``number`` counts from 1."""
        lines = sorted(self.exchanges[number - 1].of("log"), key=attrgetter("at"))
        return [self._log_line(line, number) for line in lines]

    def _log_line(self, line: Activity, turn: int | None) -> LogLine:
        start, attributes = line.start or 0, line.data["attributes"]
        level, logger, message = (str(line.data[name]) for name in ("level", "logger", "message"))
        created = (start + self.timeline.wall_shift) / 1e9
        attributes = attributes if isinstance(attributes, dict) else {}
        return LogLine(level, logger, message, attributes, created, start / 1e9, turn, None, line.at)

    @cached_property
    def discarded(self) -> list[dict[str, Any]]:
        """Voices that belong to no question, with reasons."""
        return [
            unassigned_dict(self.timeline, left) for left in self.assembly.unassigned if left.activity.kind == "voice"
        ]

    @cached_property
    def outside(self) -> list[dict[str, Any]]:
        """Everything else that belongs to no turn, with reasons."""
        t = self.timeline
        unmatched = [record for record in self.barge_ins if record.exchange is None]
        return [
            *(unassigned_dict(t, left) for left in self.assembly.unassigned if left.activity.kind != "voice"),
            *({"kind": "event", "at": at, "reason": reason} for at, reason in t.ignored),
            *({**barge_in_dict(t, record), "kind": "barge-in", "barge_in": record.kind,
               "reason": "the agent was not speaking"} for record in unmatched),
        ]  # fmt: skip


def is_interrupted(records: list[BargeIn]) -> bool:
    """Whether the user interrupted the answer."""
    return any(record.kind in ("true", "escalated") for record in records)


def read(events: Iterable[Event], *, ongoing: bool = False) -> Reading:
    """The reading of a session's events in canonical order. Raises the same errors as `projections.timeline.extend`."""
    return Reading(timeline(events), ongoing=ongoing)


def reading_dict(r: Reading) -> dict[str, Any]:
    """The reading as ``turnlog replay SESSION --json`` prints it."""
    return {
        "session": session_dict(r.timeline),
        "rules": r.rules,
        "turns": [msgspec.to_builtins(turn) for turn in r.turns],
        "discarded": r.discarded,
        "outside": r.outside,
    }


def session_dict(t: Timeline) -> dict[str, Any]:
    """The session's details as JSON output has them."""
    session: dict[str, Any] = msgspec.to_builtins(t.session)
    session |= {"framework": t.framework or None, "framework_version": t.framework_version or None}
    session |= {"name": t.session_id, "events": t.at + 1, "end_reason": t.end_reason or None}
    return session | {"sealed_events": t.sealed}


def unassigned_dict(t: Timeline, left: Unassigned) -> dict[str, Any]:
    """An unassigned activity as JSON output has it."""
    found = left.activity
    start, end = ((None if v is None else (v - t.began) / 1e9) for v in (found.start, found.end))
    return {"kind": found.kind, "at": found.at, "start": start, "end": end, "reason": left.reason}
