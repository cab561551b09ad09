"""Why did it take so long? A turn's response time by the wall, cut into what the caller was waiting for.

The response begins when the user stopped speaking and ends when the agent is heard. The pieces tile it: each begins
where the one before it ends. Where two components run at once, the caller waits for the one nearer to the user: an LLM
that was started early is no cause of delay while it is still being decided whether the user has finished. What no event
accounts for is a piece as well. (The reference only adds up latencies, which may overlap or leave gaps.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from projections.model import Session, is_number
from projections.reference.metrics import FunctionTool, McpTool, Turn
from projections.reference.timing import wait_seconds

UNACCOUNTED = "unaccounted"
NAMES = (
    "VAD hangover", "STT finalisation", "EOU inference", "EOU wait", "knowledge base", "tools", "LLM to first token",
    "text aggregation", "TTS to first byte", "playout", "realtime model", UNACCOUNTED,
)  # fmt: skip
"""From the user to the agent's voice."""


class Piece(NamedTuple):
    """Times are seconds on the recorder's monotonic clock."""

    name: str
    start: float
    end: float

    @property
    def ms(self) -> float:
        return (self.end - self.start) * 1000


class Response(NamedTuple):
    start: float
    """The user stopped speaking: by the VAD's word, less the silence that it waited for, where that is known."""
    end: float
    """The agent was first heard."""
    pieces: list[Piece]

    @property
    def ms(self) -> float:
        return (self.end - self.start) * 1000


def response(turn: Turn, session: Session) -> Response | None:
    """The turn's response; None if the user or the agent did not speak, or the agent began before the user ended.

    Where a realtime model serves the session and no LLM was called, the caller waits for the model whenever for nothing
    else, as nothing is known of what goes on in it.
    """
    stopped, heard = turn.user_speech_end_time, turn.agent_speech_start_time
    if stopped is None or heard is None or heard < stopped:
        return None
    start = stopped - _silence(turn)
    worked = [(name, max(start, begin), min(heard, end)) for name, begin, end in _worked(turn, start, stopped, heard)]
    if "realtime" in session.provider_per_component and not turn.llm_metrics:
        worked.append(("realtime model", start, heard))
    return Response(start, heard, list(_tiled(start, heard, [work for work in worked if work[1] < work[2]])))


def response_dict(found: Response | None) -> dict[str, Any] | None:
    """As JSON carries it."""
    if found is None:
        return None
    pieces = [piece._asdict() | {"ms": piece.ms} for piece in found.pieces]
    return {"start": found.start, "end": found.end, "ms": found.ms, "pieces": pieces}


def _tiled(start: float, end: float, worked: list[tuple[str, float, float]]) -> Iterator[Piece]:
    """At each moment the first of `NAMES` that was at work."""
    edges = sorted({start, end, *(edge for _name, *edges in worked for edge in edges)})
    piece: Piece | None = None
    for left, right in pairwise(edges):
        at_work = [name for name, begin, finish in worked if begin <= left and right <= finish]
        name = min(at_work, key=NAMES.index, default=UNACCOUNTED)
        if piece is not None and piece.name == name:
            piece = piece._replace(end=right)
            continue
        if piece is not None:
            yield piece
        piece = Piece(name, left, right)
    if piece is not None:
        yield piece


def _worked(turn: Turn, start: float, stopped: float, heard: float) -> Iterator[tuple[str, float, float]]:
    """What was at work, from when to when; what was never seen to end is not known to have been waited for."""
    first_token = _last(llm.llm_first_token_time for llm in turn.llm_metrics)
    spans: list[tuple[str, Any, Any]] = [("VAD hangover", start, stopped)]
    spans += [("STT finalisation", stt.stt_start_time, stt.stt_end_time) for stt in turn.stt_metrics]
    for eou in turn.eou_metrics:
        spans.append(("EOU inference", eou.eou_start_time, eou.eou_end_time))
        wait = wait_seconds(eou)
        if wait > 0 and eou.eou_end_time is not None:
            begun = [llm.llm_start_time for llm in turn.llm_metrics if llm.llm_start_time is not None]
            until = min([eou.eou_end_time + wait, *(time for time in begun if time >= eou.eou_end_time)])
            spans.append(("EOU wait", eou.eou_end_time, until))
    spans += [("knowledge base", kb.kb_start_time, kb.kb_end_time) for kb in turn.kb_metrics]
    spans += [("tools", tool.start_time, _done(tool, turn)) for tool in turn.function_tool_metrics]
    spans += [("tools", tool.start_time, _done(tool, turn)) for tool in turn.mcp_tool_metrics]
    spans += [("LLM to first token", llm.llm_start_time, llm.llm_first_token_time) for llm in turn.llm_metrics]
    for tts in turn.tts_metrics:
        spans.append(("text aggregation", first_token, tts.tts_start_time))
        spans.append(("TTS to first byte", tts.tts_start_time, tts.tts_first_byte_time))
        spans.append(("playout", tts.tts_first_byte_time, heard))
    for name, begin, end in spans:
        if is_number(begin) and is_number(end):
            yield name, begin, end


def _done(tool: FunctionTool | McpTool, turn: Turn) -> Any:
    """When the tool was done; where nobody told, when the LLM or the TTS went on after it began."""
    if tool.end_time is not None or not is_number(tool.start_time):
        return tool.end_time
    after = [llm.llm_start_time for llm in turn.llm_metrics] + [tts.tts_start_time for tts in turn.tts_metrics]
    return min((time for time in after if time is not None and time > tool.start_time), default=None)


def _silence(turn: Turn) -> float:
    """Seconds for which the VAD waited before it said that the user had stopped; 0 if nobody told."""
    silence = _last(vad.vad_min_silence_duration for vad in turn.vad_metrics)
    return silence if is_number(silence) and 0 < silence < 60 else 0.0


def _last(values: Iterable[Any]) -> Any:
    return next((value for value in reversed(list(values)) if value is not None), None)
