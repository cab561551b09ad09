"""A turn as a waterfall: what ran when, as plain data for the terminal and for others who draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from projections.model import Turn
from projections.response import wait_seconds


class Bar(NamedTuple):
    """Something that ran. Times are seconds on the monotonic clock; ``end`` None means nothing said when it ended."""

    label: str
    start: float
    end: float | None
    detail: str
    kind: str
    """``user``, ``agent``, ``wait`` (the caller waits for it), ``tool``, ``audio`` or ``error``."""


def waterfall(turn: Turn) -> list[Bar]:
    """The turn's bars, by start."""
    return sorted(_bars(turn), key=lambda bar: (bar.start, bar.label))


_TIMELINE = {
    "user_speech": ("user speaks", "user"),
    "agent_speech": ("agent speaks", "agent"),
    "thinking_audio": ("thinking sound", "audio"),
    "background_audio": ("background", "audio"),
}


def _bars(turn: Turn) -> Iterator[Bar]:
    for event in turn.timeline_event_metrics:
        if event.start_time is not None:
            label, kind = _TIMELINE[event.event_type]
            yield Bar(label, event.start_time, event.end_time, _ms(event.duration_ms), kind)
    for stt in turn.stt_metrics:
        if stt.stt_start_time is not None:
            yield Bar("STT", stt.stt_start_time, stt.stt_end_time, _ms(stt.stt_latency), "wait")
    for eou in turn.eou_metrics:
        if eou.eou_start_time is not None:
            yield Bar("EOU", eou.eou_start_time, eou.eou_end_time, _ms(eou.eou_latency), "wait")
            wait = wait_seconds(eou)
            if eou.eou_end_time is not None and wait > 0:
                yield Bar("  waits for more", eou.eou_end_time, eou.eou_end_time + wait, _ms(wait * 1000), "wait")
    for kb in turn.kb_metrics:
        if kb.kb_start_time is not None:
            yield Bar("knowledge base", kb.kb_start_time, kb.kb_end_time, _ms(kb.kb_retrieval_latency), "tool")
    for llm in turn.llm_metrics:
        if llm.llm_start_time is not None:
            first = llm.llm_first_token_time
            yield Bar("LLM first token", llm.llm_start_time, first, _ms(llm.llm_ttft), "wait")
            if first is not None and llm.llm_end_time is not None:
                yield Bar("LLM goes on", first, llm.llm_end_time, f"{_ms(llm.llm_duration)} in all", "tool")
    for tts in turn.tts_metrics:
        if tts.tts_start_time is not None:
            yield Bar("TTS first byte", tts.tts_start_time, tts.tts_first_byte_time, _ms(tts.ttfb), "wait")
    for tool in turn.function_tool_metrics:
        if isinstance(tool.start_time, (int, float)):
            end = tool.end_time if isinstance(tool.end_time, (int, float)) else None
            yield Bar(f"tool {tool.tool_name}", tool.start_time, end, _ms(tool.latency), "tool")
    for error in turn.errors:
        yield Bar(f"{error['source']} error", error["timestamp"], error["timestamp"], str(error["message"]), "error")


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} ms"
