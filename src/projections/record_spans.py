"""The spans of a completed turn, made of its records alone (switch ``spans_of_records``).

The tree, its names and attributes are those of `turn_spans`, less what is wrong in them: here each error is one span,
under the call it fell into; a missing value costs an attribute and no span; no time is that of the event at hand.
Nothing here changes the turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from projections.record_parts import Part, known, parts_of, parts_until
from projections.reference.metrics import Turn
from projections.reference.span import add_event, end_span, epoch_ns, is_time, start_span
from projections.reference.state import State


def trace_turn_records(s: State, now: float, turn: Turn) -> None:
    """Make the spans of a turn, if ever a span was opened that holds all turns. Who is attached does not matter."""
    main = s.traces.last_main_turn
    if main is None or not s.spans_wanted:
        return
    s.traces.turns += 1
    parts = list(parts_of(s, turn))
    outside = [_error(error) for error in turn.errors if not _fell_into(parts, error)]
    times = [*_times(turn), *(time for part in (*parts, *outside) for time in _extent(part))]
    if not times:
        return
    start, end = min(times), max(times)
    parts += [*parts_until(turn, end), *outside]
    _make(s, now, Part(f"Turn #{s.traces.turns}", start, end, {}, parts=parts), main)


def _make(s: State, now: float, part: Part, parent: int | None) -> None:
    span = start_span(s, now, part.name, part.attributes, parent, part.start)
    if span is None:
        return
    for event in part.events:
        add_event(s, span, "error", event, epoch_ns(s, now, event["timestamp"]))
    for child in part.parts:
        _make(s, now, child, span)
    end_span(s, now, span, part.end, part.status, part.message)


def _times(turn: Turn) -> Iterator[float]:
    """Those that belong to no component."""
    yield from filter(is_time, (turn.user_speech_start_time, turn.user_speech_end_time))
    yield from filter(is_time, (turn.agent_speech_start_time, turn.agent_speech_end_time))
    for event in turn.timeline_event_metrics:
        yield from filter(is_time, (event.start_time, event.end_time))


def _extent(part: Part) -> Iterator[float]:
    yield from (part.start, part.end)
    for child in part.parts:
        yield from _extent(child)


def trace_error(s: State, now: float, error: dict[str, Any]) -> None:
    """An error outside of any turn, in the session's span while there is one."""
    if s.traces.session_span is not None:
        _make(s, now, _error(error), s.traces.session_span)


# errors -------------------------------------------------------------------------------------------------------------

_SOURCES = {"TURN-D": "EOU", "REALTIME_MODEL": "REALTIME"}
"""Sources that are called otherwise than the component."""


def _source(error: dict[str, Any]) -> str:
    source = str(error["source"])
    return _SOURCES.get(source, source)


def _error(error: dict[str, Any]) -> Part:
    """A point in time."""
    source, message, time = _source(error), error["message"], error["timestamp_perf"]
    name = "Realtime Error" if source == "REALTIME" else f"{source} Error"
    attributes = known(message=message, source=str(error["source"]))
    return Part(name, time, time, attributes, status="ERROR", message=message)


def _fell_into(parts: list[Part], error: dict[str, Any]) -> bool:
    """Put the error into the last call of its component that was going on, if there is one.

    A call that was never seen to end may have ended with it.
    """
    source, time = _source(error), error["timestamp_perf"]
    begun = [part for part in parts if part.source == source and part.start <= time]
    going_on = [part for part in begun if time <= part.end or not part.ended]
    if not going_on:
        return False
    part = going_on[-1]
    if not part.ended:
        part.end = max(part.end, time)
    part.status, part.message = "ERROR", part.message or error["message"]
    part.events.append({"message": error["message"], "timestamp": time})
    part.parts.append(_error(error))
    return True
