"""The activities of a framework's turn as plain timeline data: track, name, start and end.

Times are seconds on the recorder's monotonic clock, as in the turn. Entries without a recorded start are omitted; an
end that was not recorded is None.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeGuard

import msgspec

from projections.reference.metrics import Turn

TRACKS = (
    "session", "turns", "response", "interruptions", "user", "VAD", "STT", "EOU", "knowledge base", "LLM", "tools",
    "TTS", "realtime", "agent", "audio", "errors", "log",
)  # fmt: skip
"""Tracks from top to bottom: from the caller through the components to the agent's voice."""


class FrameworkActivity(NamedTuple):
    """An interval or an instant on a track."""

    track: str
    name: str
    start: float
    end: float | None
    """None for an instant, and where no end was recorded."""
    args: dict[str, Any]


_TIMELINE = {
    "user_speech": ("user", "user speaks"),
    "agent_speech": ("agent", "agent speaks"),
    "thinking_audio": ("audio", "thinking sound"),
    "background_audio": ("audio", "background sound"),
}


def activities_of(turn: Turn) -> Iterator[FrameworkActivity]:
    """Yield the turn's activities."""
    for track, name, start, end, entry in _entries(turn):
        if is_timestamp(start):
            # An end before the start comes from a different clock: treat it as unknown.
            yield FrameworkActivity(
                track, name, start, end if is_timestamp(end) and end >= start else None, _args(entry)
            )


def _entries(turn: Turn) -> Iterator[tuple[str, str, Any, Any, Any]]:
    """Yield track, name, start, end and the entry with the details."""
    for event in turn.timeline_event_metrics:
        yield *_TIMELINE[event.event_type], event.start_time, event.end_time, event
    for vad in turn.vad_metrics:
        yield "VAD", "VAD: speech", vad.user_speech_start_time, vad.user_speech_end_time, vad
    for stt in turn.stt_metrics:
        yield "STT", "STT", stt.stt_start_time, stt.stt_end_time, stt
        yield "STT", "STT: first words", stt.stt_interim_end_time, None, None
        yield "STT", "STT: preflight", stt.stt_preflight_end_time, None, None
    for eou in turn.eou_metrics:
        yield "EOU", "EOU", eou.eou_start_time, eou.eou_end_time, eou
    for kb in turn.kb_metrics:
        yield "knowledge base", "knowledge base", kb.kb_start_time, kb.kb_end_time, kb
    for llm in turn.llm_metrics:
        yield "LLM", "LLM", llm.llm_start_time, llm.llm_end_time, llm
        yield "LLM", "LLM: first token", llm.llm_first_token_time, None, None
    for tool in turn.function_tool_metrics:
        yield "tools", f"tool {tool.tool_name}", tool.start_time, tool.end_time, tool
    for mcp in turn.mcp_tool_metrics:
        yield "tools", f"MCP tool {mcp.tool_url or mcp.type}", mcp.start_time, mcp.end_time, mcp
    for tts in turn.tts_metrics:  # its end is the first byte: the last one is not recorded
        yield "TTS", "TTS: first byte", tts.tts_start_time, tts.tts_end_time, tts
    for realtime in turn.realtime_metrics[-1:]:  # has no times of its own: its latency spans these two
        end = turn.agent_speech_start_time if realtime.realtime_ttfb is not None else None
        yield "realtime", "realtime", turn.user_speech_end_time, end, realtime
    if turn.interruption_metrics is not None:
        false = turn.interruption_metrics
        yield (
            "interruptions", "false interruption",
            false.false_interrupt_start_time, false.false_interrupt_end_time, false,
        )  # fmt: skip
    for error in turn.errors:
        yield "errors", f"{error['source']} error", error["timestamp"], None, error
    for fallback in turn.fallback_events:
        name = f"{fallback.component_type} {'recovery' if fallback.is_recovery else 'fallback'}"
        yield "errors", name, fallback.start_time, None, fallback  # an instant, like an error


def extent(turn: Turn, interrupted_at: float | None = None) -> tuple[float, float] | None:
    """The first and the last time recorded in the turn, including its interruption; None if there is none."""
    times = [
        turn.user_speech_start_time, turn.user_speech_end_time, turn.agent_speech_start_time,
        turn.agent_speech_end_time, interrupted_at, *(fallback.end_time for fallback in turn.fallback_events),
    ]  # fmt: skip
    for _track, _name, start, end, _entry in _entries(turn):
        times += [start, end]
    found = [time for time in times if is_timestamp(time)]
    return (min(found), max(found)) if found else None


def is_timestamp(value: Any) -> TypeGuard[float]:
    """True for a finite number. Some times are supplied by the agent and therefore untrusted."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _args(entry: Any) -> dict[str, Any]:
    """The entry's non-empty fields."""
    plain = msgspec.to_builtins(entry)
    return {name: value for name, value in (plain or {}).items() if value not in (None, "", [], {})}
