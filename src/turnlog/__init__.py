"""turnlog: what happened in that call, and why did it take two seconds?

Record every hook call of a voice agent in a durable log, and replay the log into turns, latencies, analytics payloads
and spans.
"""

from eventstore import Clock, Event, Session, Store, TurnlogError, canonical, open_store, recover
from eventstore.integrity.session import verify
from exporters.delivery.live import attach
from projections.caller import Reading
from projections.explain import explain
from projections.readings import reading as replay
from projections.reference.replay import Call, analytics_payloads, interruptions, latency, signals, span_tree, turns
from projections.reference.rules import RULE_SETS
from turnlog.archive.forgetting import forget
from turnlog.recorder import Recorder

__all__ = [
    "RULE_SETS",
    "Call",
    "Clock",
    "Event",
    "Reading",
    "Recorder",
    "Session",
    "Store",
    "TurnlogError",
    "analytics_payloads",
    "attach",
    "canonical",
    "explain",
    "forget",
    "interruptions",
    "latency",
    "open_store",
    "recover",
    "replay",
    "signals",
    "span_tree",
    "turns",
    "verify",
]
