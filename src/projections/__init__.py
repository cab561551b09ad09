"""What it means: pure functions from a session's events to turns, latencies, payloads, signals and spans."""

from projections.attribution import Attribution, attributed
from projections.caller import Reading, read  # first: packages of its are named as functions below are
from projections.explain import Explanation, explain
from projections.model import Session
from projections.reference.fold import begin, fold
from projections.reference.metrics import Turn, turn_dict
from projections.reference.replay import (
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
from projections.reference.rules import RULE_SETS, Rules, UnknownRules
from projections.reference.state import Span, State

__all__ = [
    "RULE_SETS",
    "Attribution",
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
    "attributed",
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
