"""Output during a call: signals on the event bus, and messages to the playground."""

from __future__ import annotations

from typing import Any

import msgspec

from projections.reference.metrics import Component, snapshot
from projections.reference.state import Emit, PlaygroundMessage, State


def emit(s: State, name: str, data: dict[str, Any]) -> None:
    """Emit a signal on the bus (reference: ``global_event_emitter``)."""
    if s.signals_wanted:
        s.emits.append(Emit(name, data, s.at))


def component_metric(s: State, component: str, metrics: Component) -> None:
    """Emit a component's metrics; for rules with ``component_signals``."""
    if s.signals_wanted:
        data = {"component": component, "metrics": msgspec.to_builtins(metrics)}
        s.emits.append(Emit("COMPONENT_METRIC", data, s.at))


def send_playground(s: State, name: str, value: Any) -> None:
    """Send a value to the playground, if one is attached (reference: ``send_cascading_metrics``)."""
    if s.signals_wanted and s.playground_attached:
        s.playground.append(PlaygroundMessage({name: snapshot(value)}, False, s.at))


def send_playground_values(s: State, **values: Any) -> None:
    """Send several values in one message."""
    if s.signals_wanted and s.playground_attached:
        s.playground.append(PlaygroundMessage({k: snapshot(v) for k, v in values.items()}, False, s.at))
