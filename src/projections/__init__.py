"""What it means: pure functions from a session's events to turns, latencies, payloads, signals and spans."""

from projections.caller import Reading, read  # first: packages of its are named as functions below are
from projections.explain import Explanation, explain
from projections.fold import begin, fold
from projections.model import Session, Turn, turn_dict
from projections.replay import (
    Call,
    Latency,
    analytics_payloads,
    call_dict,
    call_of,
    interruptions,
    latency,
    replay,
    signals,
    span_tree,
    turns,
)
from projections.rules import RULE_SETS, Rules, UnknownRules
from projections.state import Span, State

__all__ = [
    "RULE_SETS",
    "Call",
    "Explanation",
    "Latency",
    "Reading",
    "Rules",
    "Session",
    "Span",
    "State",
    "Turn",
    "UnknownRules",
    "analytics_payloads",
    "begin",
    "call_dict",
    "call_of",
    "explain",
    "fold",
    "interruptions",
    "latency",
    "read",
    "replay",
    "signals",
    "span_tree",
    "turn_dict",
    "turns",
]
