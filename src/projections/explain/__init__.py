"""Explanations of a value: the events it was made from, and those that would change it."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.event import Event
from projections.caller import RULES
from projections.explain.explanation import (
    AppliedDecision,
    EventReference,
    Explanation,
    SourceField,
    explainer,
)
from projections.explain.paths import UnknownPath, parse
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
    "explainer",
    "what_if",
]


def explain(events: Sequence[Event], path: str, rules: str | Rules = RULES) -> Explanation:
    """Explain the value at ``path`` of the session's JSON, like ``turns[2].e2e_latency`` or ``turn 3 e2e_latency``.

    Raises `UnknownPath`, and the errors of the reading.
    """
    return explainer(reading(events, rules), events)(parse(path))
