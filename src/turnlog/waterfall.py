"""A turn as a waterfall: what ran when, as plain data for the terminal and for others who draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from projections.model import Turn
from projections.response import wait_seconds
from projections.turns.turn import Turn as ReadTurn


class Bar(NamedTuple):
    """Something that ran. Times are seconds on the call's clock; ``end`` None: the log does not say when it ended."""

    label: str
    start: float
    end: float | None
    detail: str
    kind: str
    """``user``, ``agent``, ``wait`` (the caller waits for it), ``tool``, ``audio`` or ``error``."""


def turn_bars(turn: ReadTurn) -> list[Bar]:
    """The bars of a turn of the caller's reading, by start; seconds since the session's first event."""
    return sorted(_read_bars(turn), key=lambda bar: (bar.start, bar.label))


def _read_bars(turn: ReadTurn) -> Iterator[Bar]:
    if turn.user_started is not None:
        said = "words came" if turn.typed else "user speaks"
        yield Bar(said, turn.user_started, turn.user_stopped, _length(turn.user_started, turn.user_stopped), "user")
    for speech in turn.agent_speeches:
        if speech["start"] is not None:
            end = speech["end"] if speech["end_known"] else None
            yield Bar("agent speaks", speech["start"], end, _length(speech["start"], end), "agent")
    waits = (("STT", turn.stt), ("EOU", turn.eou), ("realtime", turn.realtime))
    for label, run in ((label, run) for label, runs in waits for run in runs):
        yield from _run(label, run, "wait")
    for run in turn.knowledge_base:
        yield from _run("knowledge base", run, "tool")
    for run in turn.eou:
        if run["wait_ms"] and run["end"] is not None:
            yield Bar("  waits for more", run["end"], run["end"] + run["wait_ms"] / 1000, _ms(run["wait_ms"]), "wait")
    for run in turn.llm:
        yield from _run("LLM first token", run, "wait", run["first_token"], run["first_token_ms"])
        if run["first_token"] is not None and run["end"] is not None:
            yield Bar("LLM goes on", run["first_token"], run["end"], f"{_ms(run['ms'])} in all", "tool")
    for run in turn.tts:
        yield from _run("TTS first byte", run, "wait", run["first_byte"], run["first_byte_ms"])
    for run in turn.tools:
        yield from _run(f"tool {run.get('name')}", run, "tool")
    for error in turn.errors:
        yield Bar(f"{error.get('source')} error", error["at"], error["at"], str(error.get("message")), "error")


def _run(
    label: str, run: dict[str, Any], kind: str, end: float | None = None, ms: float | None = None
) -> Iterator[Bar]:
    """To its first output, or, without one, to its end."""
    end, ms = (run["end"], run["ms"]) if end is None else (end, ms)
    status = "" if run["status"] in ("done", "unfinished") else run["status"]
    if run["start"] is not None:
        yield Bar(label, run["start"], end, "  ".join(filter(None, (_ms(ms), status))), kind)


def _length(start: float, end: float | None) -> str:
    return "" if end is None else _ms((end - start) * 1000)


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
