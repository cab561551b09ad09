"""Starting and ending spans, with the times that the reference's telemetry gives them.

A start is the wall clock at the hook, minus how long ago the given monotonic time was; an end is the start plus the
monotonic difference (reference: ``VideoSDKTelemetry.trace`` and ``complete_span``). OpenTelemetry's limits are kept.
Under ``one_clock`` both are the session's monotonic clock, laid on the epoch once for all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, TypeGuard, TypeVar

from projections.model import is_number
from projections.reference.state import ClockError, Span, State

MAX_ATTRIBUTES = 127
"""OpenTelemetry keeps the last 128; the reference uses one up for an id of its own."""
MAX_EVENTS = 128
_OWN_ATTRIBUTE = "attiribute_id"
_INT64 = range(-(1 << 63), 1 << 63)

T = TypeVar("T")


def start_span(
    s: State, now: float, name: str, attributes: dict[str, Any] | None, parent: int | None, start_time: Any
) -> int | None:
    """Start a span and return its id; None if ``start_time`` (seconds; None is now) is not a time.

    Under ``spans_of_records``, what is not a time is now.
    """
    rules = s.rules
    if start_time is None or (rules.spans_of_records and not is_time(start_time)):
        start_time = now
    try:
        start_ns = epoch_ns(s, now, start_time)
    except (TypeError, ValueError, OverflowError):
        return None
    number = s.traces.started
    s.traces.started = number + 1
    if s.spans_wanted:
        values = typed(attributes) if rules.typed_attributes else _as_text(attributes)
        s.traces.open[number] = Span(number, parent, name, start_ns, values, start_time)
    return number


def is_time(value: Any) -> TypeGuard[float]:
    """Whether this is a time on a monotonic clock, in seconds; agents hand over some. No clock shows the year 2286."""
    if type(value) is float:  # nearly all are; several hundred a turn
        return 0 <= value < 1e10
    return is_number(value) and 0 <= value < 1e10


def epoch_ns(s: State, now: float, time: float) -> int:
    """A monotonic time, in seconds, as nanoseconds since the epoch. Raises what comes of a ``time`` that is none."""
    if s.rules.one_clock:
        return s.epoch_ns + round(time * 1e9)  # by a float, as text times an integer is a lot of text
    return s.wall_ns - int((now - time) * 1_000_000_000)


def _as_text(attributes: dict[str, Any] | None) -> dict[str, str]:
    if not attributes:
        return {}
    return _limited({key: str(value) for key, value in attributes.items() if key and key != _OWN_ATTRIBUTE})


def typed(attributes: dict[str, Any] | None) -> dict[str, Any]:
    """Values that OpenTelemetry has a type for as they are; others as text, None not at all."""
    if not attributes:
        return {}
    return _limited(
        {
            key: value if type(value) is str else _typed(value)
            for key, value in attributes.items()
            if value is not None and key and key != _OWN_ATTRIBUTE
        }
    )


def _limited(attributes: dict[str, T]) -> dict[str, T]:
    if len(attributes) > MAX_ATTRIBUTES:
        return dict(list(attributes.items())[-MAX_ATTRIBUTES:])
    return attributes


def _typed(value: Any) -> Any:
    if type(value) is float and value - value == 0:
        return value
    if isinstance(value, (list, tuple)) and len({type(item) for item in value}) <= 1 and all(map(_has_type, value)):
        return [*value]
    return value if _has_type(value) else str(value)


def _has_type(value: Any) -> bool:
    """Whether OTLP carries it: text, a truth value, an integer of 64 bits, or a finite number."""
    kind = type(value)
    return kind is str or kind is bool or (kind is int and value in _INT64) or (kind is float and is_number(value))


def end_span(s: State, now: float, number: int | None, end_time: Any, status: str = "OK", message: str = "") -> None:
    """End a span at ``end_time`` (seconds; None is now). Nothing if it has ended, or never started.

    A span whose ``end_time`` is not a time never ends; under ``spans_of_records``, it ends now. Under
    ``spans_contained``, none ends before it starts: that is a clock error.
    """
    span = s.traces.open.get(number) if number is not None else None
    if span is None:
        return
    span.status, span.status_message = status, message
    if end_time is None or (s.rules.spans_of_records and not is_time(end_time)):
        end_time = now
    try:
        if s.rules.one_clock:
            end_ns = epoch_ns(s, now, end_time)
        else:
            end_ns = span.start_ns + int((end_time - span.start_time) * 1_000_000_000)
    except (TypeError, ValueError, OverflowError):
        return
    if end_ns < span.start_ns and s.rules.spans_contained:
        turn = None if s.turn is None else len(s.turns) + 1
        s.clock_errors.append(ClockError(s.at, turn, f"span {span.name}", (end_ns - span.start_ns) / 1e6))
        end_ns = span.start_ns
    span.end_ns = end_ns
    span.at = s.at
    del s.traces.open[span.id]
    s.spans.append(span)


def point_span(
    s: State, now: float, name: str, attributes: dict[str, Any] | None, parent: int | None, time: Any
) -> None:
    """A span that ends where it starts."""
    end_span(s, now, start_span(s, now, name, attributes, parent, time), time)


def add_event(s: State, number: int, name: str, attributes: dict[str, Any], time_ns: int | None = None) -> None:
    """Tell of something during an open span; without a time of its own, it has that of the span's end."""
    span = s.traces.open.get(number)
    if span is not None:
        event = {"name": name, "attributes": attributes}
        span.events.append(event if time_ns is None else event | {"time_ns": time_ns})
        del span.events[:-MAX_EVENTS]


def identities(session_id: str, spans: Iterable[Span]) -> dict[int, tuple[str, str]]:
    """Trace and span ids in hex, by span number: derived, so that the same log always gives the same ids.

    A span's id comes from its session, its number, and the names on its path; a trace's from that of its root.
    """
    by_number = {span.id: span for span in spans}
    found: dict[int, tuple[str, str]] = {}
    for number, span in by_number.items():
        path, top = [span.name], span
        while top.parent is not None and top.parent in by_number:
            top = by_number[top.parent]
            path.append(top.name)
        root = top.id if top.parent is None else top.parent
        found[number] = (_digest(16, session_id, root), _digest(8, session_id, number, *reversed(path)))
    return found


def _digest(size: int, *parts: object) -> str:
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=size).hexdigest()
