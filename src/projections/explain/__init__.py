"""Explanations of a value: the events it was made from, and those that would change it."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.event import Event
from projections.caller import RULES, Reading
from projections.explain.explanation import (
    AppliedDecision,
    EventReference,
    Explanation,
    SourceField,
    explain_call,
    explain_reading,
)
from projections.explain.paths import UnknownPath, parse
from projections.explain.stretch import value_of
from projections.explain.what_if import Outcome, WhatIf, what_if
from projections.readings import reading
from projections.reference.rules import Rules

__all__ = [
    "AppliedDecision",
    "EventReference",
    "Explanation",
    "Outcome",
    "SourceField",
    "UnknownPath",
    "WhatIf",
    "explain",
    "what_if",
]


def explain(events: Sequence[Event], path: str, rules: str | Rules = RULES) -> Explanation:
    """Explain the value at ``path`` of the session's JSON, like ``turns[2].e2e_latency`` or ``turn 3 e2e_latency``.

    Raises `UnknownPath`, and the errors of the reading.
    """
    where, r = parse(path), reading(events, rules)
    if isinstance(r, Reading):
        return explain_reading(r, where, events)
    return explain_call(r, where, value_of(r, where), events)
