"""The registry of handlers by hook. A handler has the name of its hook.

A handler is ``(state, now)``, with ``now`` in seconds on the monotonic clock, or ``(state, now, args)`` where it needs
the arguments: only then is the payload decoded. A handler raises where the reference raises into its caller.
"""

from __future__ import annotations

from collections.abc import Callable

from eventstore.hooks.arguments import Args
from eventstore.hooks.vocabulary import HOOKS, TRACES
from projections.reference.state import State

HandlerWithoutArgs = Callable[[State, float], None]
HandlerWithArgs = Callable[[State, float, Args], None]

HANDLERS: dict[str, tuple[Callable[..., None], bool, int]] = {}
"""By hook: the handler, whether it takes the arguments, and the version of the arguments that it reads."""


def without_args(handler: HandlerWithoutArgs) -> HandlerWithoutArgs:
    _add(handler.__name__, handler, takes_args=False)
    return handler


def with_args(handler: HandlerWithArgs) -> HandlerWithArgs:
    _add(handler.__name__, handler, takes_args=True)
    return handler


def traces_without_args(handler: HandlerWithoutArgs) -> HandlerWithoutArgs:
    _add(TRACES + handler.__name__, handler, takes_args=False)
    return handler


def traces_with_args(handler: HandlerWithArgs) -> HandlerWithArgs:
    _add(TRACES + handler.__name__, handler, takes_args=True)
    return handler


def _add(hook: str, handler: Callable[..., None], *, takes_args: bool) -> None:
    HANDLERS[hook] = handler, takes_args, HOOKS[hook].version


def _ignored(_s: State, _now: float) -> None:
    """Events that adapters record in addition to the framework's hooks have no meaning under its rules."""


for _hook in (
    "set_framework", "framework_event", "name_run", "name_usage", "run_ended", "on_tts_complete", "add_audio_seconds",
    "tool_started", "tool_progress", "tool_ended", "session_ended", "agent_active",
):  # fmt: skip
    _add(_hook, _ignored, takes_args=False)
