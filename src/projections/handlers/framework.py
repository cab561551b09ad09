"""What adapters record beside the hooks: kept in the log, and so far without a meaning."""

from __future__ import annotations

from projections.handlers.table import bare
from projections.state import State


@bare
def set_framework(_s: State, _now: float) -> None:
    """The rules are the same for all of them."""


@bare
def framework_event(_s: State, _now: float) -> None:
    """No hook of ours, so no part in any turn."""
