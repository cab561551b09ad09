"""The document of a call: everything that its page draws, as plain JSON data.

Times are seconds since the session's first event. All numbers are the engine's; the page formats and places them, and
computes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventstore.codec import clocks
from eventstore.event import Event
from exporters.files.framework_activities import TRACKS
from projections.caller import RULES as TURNLOG
from projections.caller import Reading
from projections.explain import AppliedDecision, Explanation, SourceField
from projections.explain.explanation import offsets_of
from projections.framework_figures import add_figures
from projections.readings import RELEASES, VIDEOSDK, framework_of, reading
from turnlog.viewer.call.framework_document import framework_document
from turnlog.viewer.call.reading_document import reading_document

Document = dict[str, Any]
LANES = [track for track in TRACKS if track not in ("turns", "session")]
"""The lanes of the axis, from top to bottom; turns are drawn as bands."""


def call_document(events: Sequence[Event], rules: str = TURNLOG) -> Document:
    """The session's document under a rule set. Raises `UnknownRules`, and the errors of the reading."""
    return state_document(events, rules) | {"events": event_rows(events)}


def state_document(events: Sequence[Event], rules: str = TURNLOG) -> Document:
    """The document without its list of events: the state of the call after them. Raises what `call_document` does."""
    found = reading(events, rules)
    if isinstance(found, Reading):
        add_figures(found, events)
        body = reading_document(found)
    else:
        body = framework_document(found, events)
    framework, version = framework_of(events)
    return {
        "name": events[0].session_id if events else "",
        "rules": found.rules,
        "rule_sets": [TURNLOG, *(RELEASES if framework in ("", VIDEOSDK) else ())],
        "framework": framework,
        "framework_version": version,
        "lanes": LANES,
        "began": clocks(events[0])[1] / 1e9 if events else None,
        **body,
    }


def event_rows(events: Sequence[Event]) -> list[list[Any]]:
    """A row for each event, in canonical order: seconds into the call, origin, seq, hook, arguments as JSON text."""
    offsets = offsets_of(events)
    began = clocks(events[0])[0] + offsets[events[0].origin] if events else 0
    return [
        [(clocks(event)[0] + offsets[event.origin] - began) / 1e9, event.origin, event.seq, event.hook, event.payload]
        for event in events
    ]


def explanation_data(found: Explanation) -> dict[str, Any]:
    """An explanation as JSON data; events are given by their index."""
    return {
        "path": found.path,
        "value": found.value,
        "note": found.note,
        "made_of": [_source(made, found.turn) for made in found.made_of],
        "decisions": [_decision(decision) for decision in _once(found.decisions)],
    }


def _source(made: SourceField, turn: int | None) -> dict[str, Any]:
    return {
        "what": " ".join(filter(None, (made.kind, made.id, made.field))).replace("_", " "),
        "turn": made.turn if made.turn != turn else None,
        "value": made.value,
        "time": made.time,
        "events": [event.at for event in made.events],
    }


def _decision(made: AppliedDecision) -> dict[str, Any]:
    return {"decision": made.decision, "why": made.why, "at": None if made.event is None else made.event.at}


def _once(decisions: Sequence[AppliedDecision]) -> list[AppliedDecision]:
    """The first application of each decision."""
    return list({made.decision: made for made in reversed(decisions)}.values())[::-1]
