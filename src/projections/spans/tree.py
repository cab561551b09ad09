"""Span tree of a session: the session contains the turns, and these contain their activities, each once.

A parent's extent is computed from its children. Activities without an end are closed and marked: in the last turn of a
call that was cut off at the last event, elsewhere at the last known time of their turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from operator import attrgetter

from projections.latency.missing import no_response
from projections.latency.response import Response, user_stopped
from projections.spans.attributes import (
    barge_in_attributes,
    describe,
    response_attributes,
    session_attributes,
    turn_attributes,
    with_values,
)
from projections.spans.span import ROOT, Span
from projections.timeline import Activity, Timeline
from projections.turns.assembly import Assembly
from projections.turns.exchange import Exchange
from projections.turns.ledger import BargeIn

SETTLED_NS = 15_000_000_000
"""Maximum delay after a turn of reports about it: late transcripts, usage, the end of a speech."""
_OUTLASTING = ("sound", "log")
"""Kinds that do not count in a turn's extent: a sound may last for the whole call, and a log line is a span event."""
_IN_ORDER = attrgetter("start_ns", "end_ns", "id")
CUT_OFF = "cut off: the log ends before the call does"
"""Status message of spans that are open at the end of such a log."""


def span_tree(
    a: Assembly, responses: list[Response | None], ledger: list[BargeIn], *, ongoing: bool = False
) -> list[Span]:
    """The session's spans: turn by turn, then those outside of turns, the root last.

    ``ongoing``: more events may come; then only turns that these can no longer change are returned, so that later
    ones are added at the end.
    """
    t, found = a.timeline, list[Span]()
    ongoing = ongoing and not (t.left or (t.ended and not t.joined))  # the trace ends after the session
    own: dict[int, list[BargeIn]] = {}
    for record in ledger:
        if record.exchange is not None:
            own.setdefault(id(record.exchange), []).append(record)
    decided = by_event(ledger)
    last = len(a.exchanges)
    for number, (x, response) in enumerate(zip(a.exchanges, responses, strict=True), 1):
        if ongoing and not settled(t, x, last=number == last):
            return found
        found += turn_spans(t, x, number, response, own.get(id(x), []), decided, last=number == last)
    if not ongoing:
        found += _session(a, found, decided)
    return found


def by_event(ledger: list[BargeIn]) -> dict[int, BargeIn]:
    """The records of interruptions and doubts, by the index of the event that decided each."""
    return {record.at: record for record in ledger if record.kind != "overlap"}


def turn_spans(
    t: Timeline,
    x: Exchange,
    number: int,
    response: Response | None,
    own: list[BargeIn],
    decided: dict[int, BargeIn],
    *,
    last: bool,
) -> list[Span]:
    """The spans of one turn: those of its activities and its response by start, then its own.

    ``own``: its records in the ledger; ``decided``: those of all turns (`by_event`); ``last``: it is the last turn.
    """
    return _TurnSpans(t, x, number, last=last).spans(response, own, decided)


def settled(t: Timeline, x: Exchange, *, last: bool) -> bool:
    """Whether later events can no longer change the turn: the call has ended, or the turn ended `SETTLED_NS` ago.

    An STT run that started before then may still transcribe a voice of the turn.
    """
    if t.ended:
        return True
    over = max(_times(x), default=x.opened) + SETTLED_NS
    finalising = t.stt is not None and t.stt.end is None and (t.stt.start or 0) < over
    return not last and t.last >= over and not finalising


def _times(x: Exchange) -> list[int]:
    """All known times of the exchange."""
    times = [user_stopped(x)]
    for part in (*x.voices, *x.parts):
        if part.kind not in _OUTLASTING:
            times += part.start, part.first, part.end
    return [time for time in times if time is not None]


def turn_id(x: Exchange) -> str:
    """A unique id, from the event that began the question, or else that opened the turn."""
    return f"turn:{x.voices[0].at}" if x.voices else f"turn:@{x.at}"


class _TurnSpans:
    """Shared state for the spans of one turn."""

    def __init__(self, t: Timeline, x: Exchange, number: int, *, last: bool) -> None:
        self.t, self.x, self.number, self.last = t, x, number, last
        self.id, self.shift = turn_id(x), t.wall_shift
        self.cut = last and not (t.ended or t.left)

    @cached_property
    def begin(self) -> int:
        """The first known time of the turn."""
        return min(_times(self.x), default=self.x.opened)

    @cached_property
    def until(self) -> int:
        """The last known time of the turn; the call's end if the call was hung up during the turn."""
        until = max(_times(self.x), default=self.x.opened)
        return max(until, self.t.last) if self.last and (self.cut or self.x.hung_up) else until

    def spans(self, response: Response | None, own: list[BargeIn], decided: dict[int, BargeIn]) -> list[Span]:
        x, shift = self.x, self.shift
        children = [_span(self, part, decided.get(part.at)) for part in (*x.voices, *x.parts) if part.kind != "log"]
        if own:
            cut = {part.at for part in x.of("interruption")}
            children += [
                _unreported_interruption(self, r)
                for r in own
                if r.kind == "true" and r.at not in cut and r.speech is not None and "cut" not in r.speech.data
            ]
        if response is not None:
            start, end = response.start + shift, response.end + shift
            children.append(
                Span(
                    id=f"response:{self.id}",
                    parent=self.id,
                    kind="response",
                    name="Response",
                    start_ns=start,
                    end_ns=end,
                    attributes=response_attributes(response),
                    status="OK",
                    turn=self.number,
                )
            )
        children.sort(key=_IN_ORDER)
        inside = [span for span in children if span.parent != ROOT]
        start = min([span.start_ns for span in inside]) if inside else self.begin + shift
        end = max([span.end_ns for span in inside]) if inside else self.until + shift
        missing = None if response is not None else no_response(x, last=self.last, ended=self.t.ended)
        interrupted = any(record.kind in ("true", "escalated") for record in own)
        turn = Span(
            id=self.id,
            parent=ROOT,
            kind="turn",
            name=f"Turn #{self.number}",
            start_ns=start,
            end_ns=end,
            attributes=turn_attributes(x, self.number, response, missing, interrupted=interrupted),
            turn=self.number,
            status="ERROR" if missing == "error" else "OK",
        )
        if self.cut and (missing == "still open" or any("unfinished" in span.attributes for span in inside)):
            turn.attributes["cut_off"], turn.status, turn.status_message = True, "ERROR", CUT_OFF
            turn.end_ns = max(end, self.t.last + shift)
        for line in x.of("log"):
            _add_line(turn, line, shift)
        return [*children, turn]


def _extent(turn: _TurnSpans, part: Activity) -> tuple[int, int, bool]:
    """Start and end of an activity on the session's clock, and whether the end is known."""
    start = part.start if part.start is not None else part.first if part.first is not None else part.end
    start = turn.begin if start is None else start
    if part.end is not None:
        return min(start, part.end), part.end, True
    if part.kind == "sound" or part is turn.t.speech or part is turn.t.voice:
        return start, max(start, turn.t.last), False
    if turn.x.voices and part is turn.x.voices[-1]:
        return start, max(start, user_stopped(turn.x) or start), False
    return start, max(start, turn.until), False


def _span(turn: _TurnSpans, part: Activity, record: BargeIn | None) -> Span:
    kind, at, shift = part.kind, part.at, turn.shift
    start, end, ended = _extent(turn, part)
    name, attributes = describe(part, turn.x)
    if record is not None and kind in ("interruption", "doubt"):
        attributes |= barge_in_attributes(record)
        if kind == "interruption":
            start, end = _yield_interval(record, start, end)
    inside = kind != "sound"
    span = Span(
        id=f"{kind}:{at}",
        parent=turn.id if inside else ROOT,
        kind=kind,
        name=name,
        start_ns=start + shift,
        end_ns=end + shift,
        attributes=attributes,
        status="OK",
        at=at,
        turn=turn.number if inside else None,
    )
    _set_status(span, part, shift, cut=turn.cut and not ended)
    if not ended:
        attributes["unfinished"] = True
    return span


def _set_status(span: Span, part: Activity, shift: int, *, cut: bool) -> None:
    """Set the span's status, its first output, and its exception event if it is an error."""
    kind, status, first = part.kind, part.status, part.first
    if kind == "error":
        span.status, span.status_message = "ERROR", part.data["message"]
        attributes = {"exception.type": part.data["source"], "exception.message": part.data["message"]}
        span.add_event("exception", attributes, span.start_ns)
    elif status == "failed" or "error" in part.data:
        span.status = "ERROR"
    elif status in ("cancelled", "superseded") and kind in ("llm", "tts", "tool", "realtime", "stt"):
        span.attributes["run_status"] = status
    if first is not None and kind in _FIRST:
        first += shift
        span.events = [{"name": _FIRST[kind], "attributes": {}, "time_ns": first}]
        span.start_ns, span.end_ns = min(span.start_ns, first), max(span.end_ns, first)
    if cut:
        span.attributes["cut_off"], span.status, span.status_message = True, "ERROR", CUT_OFF


_FIRST = {"llm": "first token", "tts": "first byte", "stt": "first words"}


def _yield_interval(record: BargeIn, start: int, end: int) -> tuple[int, int]:
    """The yield as an interval: from the start of the overlap until the agent was silent."""
    if record.silent is None or record.user_start is None or record.agent_start is None:
        return start, end
    since = max(record.user_start, record.agent_start)
    return (since, record.silent) if since <= record.silent else (start, end)


def _unreported_interruption(turn: _TurnSpans, record: BargeIn) -> Span:
    """The span of an interruption without a hook: the agent fell silent during the user's voice."""
    silent = record.silent if record.silent is not None else turn.until
    start, end = _yield_interval(record, silent, silent)
    return Span(
        id=f"barge-in:{record.at}:{record.agent_start}",
        parent=turn.id,
        kind="interruption",
        name="Turn Interrupted",
        start_ns=start + turn.shift,
        end_ns=end + turn.shift,
        attributes=barge_in_attributes(record),
        status="OK",
        turn=turn.number,
    )


def _add_line(span: Span, line: Activity, shift: int) -> None:
    attributes = with_values(**{name: line.data.get(name) for name in ("level", "logger", "message")})
    span.add_event("log", attributes, (line.start or 0) + shift)


def _session(a: Assembly, turns: list[Span], decided: dict[int, BargeIn]) -> Iterator[Span]:
    """The spans outside of turns, by start, then the root."""
    t, shift, last = a.timeline, a.timeline.wall_shift, a.timeline.last
    cut = not (t.ended or t.left)
    root = Span(
        id=ROOT,
        parent=None,
        kind="session",
        name="Agent Session",
        start_ns=t.began + shift,
        end_ns=last + shift,
        attributes=session_attributes(t, len(a.exchanges)),
        status="OK",
    )
    found = []
    reasons = {id(left.activity): left.reason for left in a.unassigned}
    for part in (*(left.activity for left in a.unassigned), *t.notes):
        if part.kind == "log":
            _add_line(root, part, shift)
            continue
        start = next((time for time in (part.start, part.first, part.end) if time is not None), t.began)
        end = max(start, last) if part.end is None else part.end
        name, attributes = describe(part, None)
        span = Span(
            id=f"{part.kind}:{part.at}",
            parent=ROOT,
            kind=part.kind,
            name=name,
            start_ns=min(start, end) + shift,
            end_ns=end + shift,
            attributes=attributes,
            status="OK",
        )
        attributes |= with_values(reason=reasons.get(id(part)), unfinished=True if part.end is None else None)
        if part.kind in ("interruption", "doubt") and part.at in decided:
            attributes |= barge_in_attributes(decided[part.at])
        _set_status(span, part, shift, cut=cut and part.end is None)
        found.append(span)
    found.sort(key=_IN_ORDER)
    root.start_ns = min([root.start_ns, *(span.start_ns for span in (*turns, *found))])
    root.end_ns = max([root.end_ns, *(span.end_ns for span in (*turns, *found))])
    if cut:
        root.attributes["cut_off"], root.status, root.status_message = True, "ERROR", CUT_OFF
    return iter([*found, root])
