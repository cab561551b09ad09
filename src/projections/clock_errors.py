"""Durations that cannot be: none is kept, all are reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from projections.reference.metrics import Turn

_DURATIONS = {
    "stt_metrics": ("stt_latency", "stt_interim_latency", "stt_preflight_latency"),
    "eou_metrics": ("eou_latency", "eou_wait_ms"),
    "kb_metrics": ("kb_retrieval_latency",),
    "llm_metrics": ("llm_ttft", "llm_duration"),
    "tts_metrics": ("tts_latency", "ttfb"),
    "realtime_metrics": ("realtime_ttfb",),
    "timeline_event_metrics": ("duration_ms",),
    "function_tool_metrics": ("latency",),
    "mcp_tool_metrics": ("latency",),
}
_OWN = ("user_speech_duration", "agent_speech_duration", "e2e_latency")
_INTERRUPTION = ("interrupt_duration", "false_interrupt_duration")


def take_negatives(turn: Turn) -> list[tuple[str, float]]:
    """Set the turn's negative durations to None, and return them with their paths (switch ``negatives_reported``)."""
    found = []
    for entry, field, path in _durations(turn):
        value = getattr(entry, field)
        if (type(value) is float or type(value) is int) and value < 0:
            setattr(entry, field, None)
            found.append((path, value))
    return found


def _durations(turn: Turn) -> Iterator[tuple[Any, str, str]]:
    for field in _OWN:
        yield turn, field, field
    for entries, fields in _DURATIONS.items():
        for n, entry in enumerate(getattr(turn, entries)):
            for field in fields:
                yield entry, field, f"{entries}[{n}].{field}"
    if turn.interruption_metrics is not None:
        for field in _INTERRUPTION:
            yield turn.interruption_metrics, field, f"interruption_metrics.{field}"
