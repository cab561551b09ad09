"""turnlog: what happened in that call, and why did it take two seconds?

Record every hook call of a voice agent in a durable log, and replay the log into turns, latencies, analytics payloads
and spans.
"""

from typing import TYPE_CHECKING

from eventstore import lazy

if TYPE_CHECKING:
    from eventstore.errors import TurnlogError
    from eventstore.event import Event, canonical
    from eventstore.integrity.session import verify
    from eventstore.recording.recorder import Clock
    from eventstore.recording.recovery import recover
    from eventstore.stores.base import Session, Store
    from eventstore.stores.factory import open_store
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
if not TYPE_CHECKING:  # a type checker shall know the names above, and no others
    __getattr__ = lazy.names(
        __name__,
        {
            "RULE_SETS": "projections.reference.rules",
            "Call": "projections.reference.replay",
            "Clock": "eventstore.recording.recorder",
            "Event": "eventstore.event",
            "Reading": "projections.caller",
            "Recorder": "turnlog.recorder",
            "Session": "eventstore.stores.base",
            "Store": "eventstore.stores.base",
            "TurnlogError": "eventstore.errors",
            "analytics_payloads": "projections.reference.replay",
            "attach": "exporters.delivery.live",
            "canonical": "eventstore.event",
            "explain": "projections.explain",
            "forget": "turnlog.archive.forgetting",
            "interruptions": "projections.reference.replay",
            "latency": "projections.reference.replay",
            "open_store": "eventstore.stores.factory",
            "recover": "eventstore.recording.recovery",
            "replay": "projections.readings:reading",
            "signals": "projections.reference.replay",
            "span_tree": "projections.reference.replay",
            "turns": "projections.reference.replay",
            "verify": "eventstore.integrity.session",
        },
    )


def __dir__() -> list[str]:
    return __all__
