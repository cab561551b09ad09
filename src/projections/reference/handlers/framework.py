"""What adapters record beside the hooks: kept in the log, and so far without a meaning."""

from __future__ import annotations

from eventstore.hooks.vocabulary import HOOKS
from projections.reference.registry import HANDLERS, bare
from projections.reference.state import State


@bare
def set_framework(_s: State, _now: float) -> None:
    """The rules are the same for all of them."""


@bare
def framework_event(_s: State, _now: float) -> None:
    """No hook of ours, so no part in any turn."""


def _nothing(_s: State, _now: float) -> None:
    """A fact that the reference has no hook for, and no use."""


for _hook in (
    "name_run", "name_usage", "run_ended", "on_tts_complete", "add_audio_seconds",
    "tool_started", "tool_progress", "tool_ended", "session_ended", "agent_active",
):  # fmt: skip
    HANDLERS[_hook] = _nothing, None, HOOKS[_hook].version
