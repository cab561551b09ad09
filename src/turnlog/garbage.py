"""The garbage collector, as a process that replays sets it."""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """Let the collector run seldom: events and rows are many, and rarely in cycles."""
    gc.set_threshold(100_000, 20, 20)
