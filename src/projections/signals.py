"""What leaves a call while it is going on: signals on the event bus, and messages to the playground."""

from __future__ import annotations

from typing import Any

import msgspec

from projections.state import Emit, PlaygroundMessage, State

_ATOMS = (str, int, float, bool, type(None))


def emit(s: State, name: str, data: dict[str, Any]) -> None:
    """Put a signal on the bus (reference: ``global_event_emitter``)."""
    if s.signals_wanted:
        s.emits.append(Emit(name, data, s.at))


def play(s: State, **metrics: Any) -> None:
    """Send values to the playground, if one is attached (reference: ``send_cascading_metrics``)."""
    if s.playground_attached and s.signals_wanted:
        s.playground.append(PlaygroundMessage({k: snapshot(v) for k, v in metrics.items()}, False, s.at))


def snapshot(value: Any) -> Any:
    """``value`` as it is now: what is sent must not change when the turn goes on."""
    return value if type(value) in _ATOMS else msgspec.to_builtins(value)
