"""Errors and provider fallbacks."""

from __future__ import annotations

from typing import Any

from eventstore.hooks.arguments import Args
from projections.reference.handlers.turn import current_turn
from projections.reference.metrics import Fallback
from projections.reference.registry import with_args
from projections.reference.signals import send_playground
from projections.reference.state import State


def _add_error(errors: list[dict[str, Any]], source: Any, message: str, now: float) -> None:
    errors.append({"source": source, "message": message, "timestamp": now, "timestamp_perf": now})


@with_args
def add_error(s: State, now: float, args: Args) -> None:
    if s.turn is not None:
        _add_error(s.turn.errors, args["source"], str(args["message"]), now)
        send_playground(s, "errors", s.turn.errors)


@with_args
def set_realtime_model_error(s: State, now: float, args: Args) -> None:
    if s.turn is not None:
        _add_error(s.turn.errors, "REALTIME_MODEL", str(args["error"].get("message", "Unknown error")), now)


@with_args
def on_fallback_event(s: State, now: float, args: Args) -> None:
    turn = current_turn(s, now)
    data = args["event_data"]
    fields = {name: data.get(name, default) for name, default in _FIELDS.items()}
    turn.fallback_events.append(Fallback(**fields))


_FIELDS = {name: getattr(Fallback(), name) for name in Fallback.__struct_fields__}
