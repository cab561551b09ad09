"""The waterfall of a turn: the components that ran, as bars to draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from projections.caller import Reading
from projections.reference.metrics import Turn
from projections.reference.timing import wait_seconds
from projections.spans import Span


class Bar(NamedTuple):
    """One bar of a waterfall.

    Times are in seconds: since the session's first event or, for a framework's turn, on the monotonic clock. ``end`` is
    None if the log does not record it.
    """

    label: str
    start: float
    end: float | None
    detail: str
    kind: str
    """``user``, ``agent``, ``wait`` (the caller waits for it), ``tool``, ``audio`` or ``error``."""
    cut: bool = False
    """Interrupted, cancelled, or without a recorded end."""


def turn_waterfall(r: Reading, number: int) -> list[Bar]:
    """The bars of a turn's spans in the caller's reading, by start. ``number`` counts from 1."""
    zero_ns = r.timeline.began + r.timeline.wall_shift
    found = [bar for span in r.spans_of(number) for bar in _span_bars(span, zero_ns)]
    return sorted(found, key=lambda bar: (bar.start, bar.label))


_KINDS = {
    "voice": ("user speaks", "user"),
    "agent": ("agent speaks", "agent"),
    "stt": ("STT", "wait"),
    "eou": ("EOU", "wait"),
    "eou_wait": ("endpointing delay", "wait"),
    "knowledge_base": ("knowledge base", "tool"),
    "realtime": ("realtime", "wait"),
    "sound": ("sound", "audio"),
    "hold": ("held", "wait"),
    "interruption": ("interrupted", "error"),
    "doubt": ("false interruption", "error"),
}
_FIRST = {
    "llm": ("LLM first token", "LLM (rest)", "first token"),
    "tts": ("TTS first byte", "TTS (rest)", "first byte"),
}


def _span_bars(span: Span, zero_ns: int) -> Iterator[Bar]:
    start, end = (span.start_ns - zero_ns) / 1e9, (span.end_ns - zero_ns) / 1e9
    attrs = span.attributes
    cut = any(name in attrs for name in ("interrupted", "unfinished", "run_status")) and span.kind != "turn"
    ms = _ms((end - start) * 1000)
    if span.kind in _FIRST:
        label, rest, event = _FIRST[span.kind]
        first = next((e["time_ns"] for e in span.events if e["name"] == event), None)
        if first is None:
            yield Bar(label, start, None if "unfinished" in attrs else end, attrs.get("run_status", ms), "wait", cut)
            return
        first_at = (first - zero_ns) / 1e9
        yield Bar(label, start, first_at, _ms((first_at - start) * 1000), "wait")
        if end > first_at:
            yield Bar(rest, first_at, end, attrs.get("run_status", f"{ms} in all"), "tool", cut)
    elif span.kind == "tool":
        yield Bar(f"tool {attrs.get('tool_name')}", start, None if "unfinished" in attrs else end, ms, "tool", cut)
    elif span.kind == "error":
        yield Bar(span.name, start, start, str(attrs.get("message")), "error")
    elif span.kind == "fallback":
        yield Bar(span.name, start, end, str(attrs.get("message") or ms), "error")
    elif span.kind in _KINDS:
        label, kind = _KINDS[span.kind]
        yield Bar(label, start, None if "unfinished" in attrs else end, ms, kind, cut)


def waterfall(turn: Turn) -> list[Bar]:
    """The bars of a turn in a framework's reading, by start."""
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
                yield Bar("endpointing delay", eou.eou_end_time, eou.eou_end_time + wait, _ms(wait * 1000), "wait")
    for kb in turn.kb_metrics:
        if kb.kb_start_time is not None:
            yield Bar("knowledge base", kb.kb_start_time, kb.kb_end_time, _ms(kb.kb_retrieval_latency), "tool")
    for llm in turn.llm_metrics:
        if llm.llm_start_time is not None:
            first = llm.llm_first_token_time
            yield Bar("LLM first token", llm.llm_start_time, first, _ms(llm.llm_ttft), "wait")
            if first is not None and llm.llm_end_time is not None:
                yield Bar("LLM (rest)", first, llm.llm_end_time, f"{_ms(llm.llm_duration)} in all", "tool")
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
