"""The framework's reading: the turns, payloads and spans that a release of videosdk-agents produces, bit for bit.

A fold over the hooks, with a switch for each change that a release made. Independent of the caller's reading.
"""

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
    latency_of,
    replay,
    signals,
    span_tree,
    turns,
)
from projections.reference.rules import RULE_SETS, SWITCHES, VIDEOSDK_1_0, Rules, UnknownRules, find_rules
from projections.reference.state import Span, State

__all__ = [
    "RULE_SETS",
    "SWITCHES",
    "VIDEOSDK_1_0",
    "Call",
    "Latency",
    "Rules",
    "Span",
    "State",
    "Turn",
    "UnknownRules",
    "analytics_payloads",
    "begin",
    "call_dict",
    "call_of",
    "find_rules",
    "fold",
    "interruptions",
    "latency",
    "latency_of",
    "replay",
    "signals",
    "span_tree",
    "turn_dict",
    "turns",
]
