"""Starting and ending spans, with the times of the reference's telemetry.

A start is the wall clock at the hook minus the age of the given monotonic time; an end is the start plus the monotonic
difference (reference: ``VideoSDKTelemetry.trace`` and ``complete_span``). OpenTelemetry's limits apply.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from projections.model import MAX_EVENTS
from projections.reference.state import Span, State

MAX_ATTRIBUTES = 127
"""OpenTelemetry's limit of 128, minus one that the reference uses for an id of its own; the last ones are kept."""
_OWN_ATTRIBUTE = "attiribute_id"


def start_span(
    s: State, now: float, name: str, attributes: dict[str, Any] | None, parent: int | None, start_time: Any
) -> int | None:
    """Start a span and return its id; None if ``start_time`` (seconds; None is now) is not a time."""
    if start_time is None:
        start_time = now
    try:
        start_ns = s.wall_ns - int((now - start_time) * 1_000_000_000)
    except (TypeError, ValueError, OverflowError):
        return None
    number = s.traces.started
    s.traces.started = number + 1
    if s.spans_wanted:
        s.traces.open[number] = Span(number, parent, name, start_ns, _as_text(attributes), start_time)
    return number


def _as_text(attributes: dict[str, Any] | None) -> dict[str, str]:
    if not attributes:
        return {}
    found = {key: str(value) for key, value in attributes.items() if key and key != _OWN_ATTRIBUTE}
    if len(found) > MAX_ATTRIBUTES:
        return dict(list(found.items())[-MAX_ATTRIBUTES:])
    return found


def end_span(s: State, now: float, number: int | None, end_time: Any, status: str = "OK") -> None:
    """End a span at ``end_time`` (seconds; None is now). No effect if it has ended, or never started.

    A span whose ``end_time`` is not a time never ends.
    """
    span = s.traces.open.get(number) if number is not None else None
    if span is None:
        return
    span.status, span.status_message = status, ""
    if end_time is None:
        end_time = now
    try:
        span.end_ns = span.start_ns + int((end_time - span.start_time) * 1_000_000_000)
    except (TypeError, ValueError, OverflowError):
        return
    span.at = s.at
    del s.traces.open[span.id]
    s.spans.append(span)


def point_span(
    s: State, now: float, name: str, attributes: dict[str, Any] | None, parent: int | None, time: Any
) -> None:
    """A span that ends where it starts."""
    end_span(s, now, start_span(s, now, name, attributes, parent, time), time)


def add_event(s: State, number: int, name: str, attributes: dict[str, Any]) -> None:
    """Add an event to an open span."""
    span = s.traces.open.get(number)
    if span is not None:
        span.events.append({"name": name, "attributes": attributes})
        del span.events[:-MAX_EVENTS]


def identities(session_id: str, spans: Iterable[Span]) -> dict[int, tuple[str, str]]:
    """Trace and span ids in hex, by span number; derived, so that the same log always gives the same ids.

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
