"""The response time: from the end of the user's last word to the agent's first audio, in parts that add up to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter

import msgspec

from projections.timeline import Activity
from projections.turns.exchange import Exchange

UNACCOUNTED = "unaccounted"
NAMES = (
    "VAD hangover", "STT finalisation", "EOU inference", "EOU wait", "knowledge base", "tools", "LLM to first token",
    "LLM writing a tool call", "failed provider", "text aggregation", "TTS to first byte", "playout", "realtime model",
    UNACCOUNTED,
)  # fmt: skip
"""In pipeline order, from the user to the agent's audio. Of concurrent parts, the earlier one in this order counts."""
SLIVER_NS = 1_000_000
"""Minimum unaccounted gap; a shorter one is the program's way between two hooks, and is merged into its neighbour."""
_RANK = {name: rank for rank, name in enumerate(NAMES)}


class ResponsePart(msgspec.Struct, frozen=True, gc=False):
    """A part of the response time. Times are nanoseconds on the session's clock."""

    name: str
    start: int
    end: int
    activity: Activity | None = None

    @property
    def ms(self) -> float:
        return (self.end - self.start) / 1e6


class Response(msgspec.Struct, frozen=True, gc=False):
    """A response time with its parts. Times are nanoseconds on the session's clock."""

    start: int
    """End of the user's last word."""
    end: int
    """Start of the agent's first audio."""
    parts: list[ResponsePart]
    answer_start: int | None
    """Start of the speech after the tool results, where the agent spoke before them."""

    @property
    def ms(self) -> float:
        return (self.end - self.start) / 1e6

    @property
    def time_to_answer_ms(self) -> float | None:
        return None if self.answer_start is None else (self.answer_start - self.start) / 1e6


def user_stopped(x: Exchange) -> int | None:
    """The end of the question's last word; where that was not reported, when its text arrived. None: no question."""
    if not x.question:
        return None
    if x.voices:
        return x.voices[-1].end if x.voices[-1].end is not None else x.sent
    return x.arrived if x.arrived is not None else x.sent


def measure_response(x: Exchange, *, realtime: bool, eou: str = "EOU inference") -> Response | None:
    """The exchange's response; None without a question or without agent speech.

    ``eou`` is the part's name for the end-of-utterance decision, which in some frameworks is mostly a delay.
    """
    stopped, speeches = user_stopped(x), x.speeches()
    if stopped is None or not speeches or speeches[0].start is None:
        return None
    first_audio = speeches[0].start
    start = min(stopped, first_audio)
    parts = partition(start, first_audio, waits(x, start, first_audio, realtime=realtime, eou=eou))
    return Response(start, first_audio, parts, _answer_start(x, first_audio))


def _answer_start(x: Exchange, first_audio: int) -> int | None:
    results = [
        tool.end
        for tool in x.of("tool")
        if tool.end is not None and tool.end > first_audio and tool.status != "cancelled"
    ]
    if not results:
        return None
    return next((s.start for s in x.speeches() if s.start is not None and s.start >= min(results)), None)


def waits(x: Exchange, start: int, first_audio: int, *, realtime: bool, eou: str) -> Iterator[ResponsePart]:
    """The work that led to the agent's first audio, with overlaps.

    Work that ended after the first audio is left out, as the caller did not wait for it.
    """
    voice = x.voices[-1] if x.voices else None
    if voice is not None and voice.end is not None and voice.data.get("reported", 0) > voice.end:
        yield ResponsePart("VAD hangover", voice.end, voice.data["reported"], voice)
    for part in x.of("stt"):
        began = part.data.get("finalising", part.start)
        if began is not None and part.end is not None and part.end <= first_audio:
            yield ResponsePart("STT finalisation", max(began, start), part.end, part)
    for begin, end, part in _finished_before(x, "eou", first_audio):
        yield ResponsePart(eou, begin, end, part)
    for part in x.of("eou_wait"):
        if part.start is not None and part.end is not None:
            limit = first_audio if x.sent is None or x.sent < part.start else x.sent
            yield ResponsePart("EOU wait", part.start, min(part.end, limit), part)
    for begin, end, part in _finished_before(x, "knowledge_base", first_audio):
        yield ResponsePart("knowledge base", begin, end, part)
    for begin, end, part in _finished_before(x, "tool", first_audio):
        yield ResponsePart("tools", begin, end, part)
    for part in x.of("fallback"):
        if part.start is not None and part.end is not None and part.data.get("is_recovery") is not True:
            yield ResponsePart("failed provider", part.start, part.end, part)
    llms = [run for run in x.of("llm") if (run.start or run.first or first_audio) < first_audio]
    tts = _first_synthesis(x, first_audio)
    for run in llms:
        yield from _llm_waits(x, run, first_audio, tts)
    if tts is not None:
        requested, first = tts.start, tts.first
        if requested is not None:
            yield ResponsePart(
                "TTS to first byte", requested, first_audio if first is None or first > first_audio else first, tts
            )
        if first is not None and first <= first_audio:
            yield ResponsePart("playout", first, first_audio, tts)
    if realtime and not llms:
        yield ResponsePart("realtime model", start, first_audio)


def _finished_before(x: Exchange, kind: str, first_audio: int) -> Iterator[tuple[int, int, Activity]]:
    """Start, end and activity of the parts of a kind that ended before the first audio."""
    for part in x.of(kind):
        begin, end = part.start, part.end
        if begin is not None and end is not None and end <= first_audio:
            yield begin, end, part


def _llm_waits(x: Exchange, run: Activity, first_audio: int, tts: Activity | None) -> Iterator[ResponsePart]:
    begin = run.data.get("failed_until", run.start)
    if begin is None:
        return
    if run.first is None or run.first > first_audio:
        if run.end is not None and run.end <= first_audio and (run.status == "failed" or "error" in run.data):
            yield ResponsePart("failed provider", begin, run.data.get("error", run.end), run)
        return
    if (
        run.status in ("cancelled", "superseded")
        and (run.end or first_audio) <= first_audio
        and not _synthesised_from(run, tts)
    ):
        return
    yield ResponsePart("LLM to first token", begin, run.first, run)
    called = any(_within(run.first, tool, first_audio) for tool in x.of("tool"))
    if called and run.end is not None and run.end <= first_audio and not _synthesised_from(run, tts):
        yield ResponsePart("LLM writing a tool call", run.first, run.end, run)
    elif tts is not None and tts.start is not None and run.first < tts.start:
        yield ResponsePart("text aggregation", run.first, tts.start, run)


def _within(start: int, tool: Activity, end: int) -> bool:
    """Whether the tool ran between these two times."""
    return tool.start is not None and tool.end is not None and start <= tool.start < end and tool.end <= end


def _synthesised_from(run: Activity, tts: Activity | None) -> bool:
    """Whether the synthesis of the first audio began during the LLM run, or right after it."""
    return tts is not None and tts.start is not None and run.end is not None and tts.start <= run.end


def _first_synthesis(x: Exchange, first_audio: int) -> Activity | None:
    """The synthesis of the first audio: the last run with audio before it, or else the last that started."""
    runs = [
        run for run in x.of("tts") if (run.start if run.start is not None else run.first or first_audio) <= first_audio
    ]
    producing = [run for run in runs if run.first is not None and run.first <= first_audio]
    found = producing or runs
    return found[-1] if found else None


def partition(start: int, end: int, work: Iterable[ResponsePart]) -> list[ResponsePart]:
    """Partition ``start`` to ``end`` into contiguous parts: at each time, the running one that is first in `NAMES`."""
    clipped = [
        (_RANK[part.name], max(start, part.start), min(end, part.end), part.activity)
        for part in work
        if part.start < end and part.end > start
    ]
    clipped.sort(key=itemgetter(0, 1))
    found: list[ResponsePart] = []
    left = start
    while left < end:
        right, name, activity = end, UNACCOUNTED, None
        for rank, begin, finish, running in clipped:
            if left < begin < right:
                right = begin
            elif begin <= left < finish:
                right, name, activity = min(right, finish), NAMES[rank], running
                break
        _add(found, ResponsePart(name, left, right, activity))
        left = right
    return found


def _add(found: list[ResponsePart], part: ResponsePart) -> None:
    """Append the part, merging slivers and continuations with their neighbour."""
    last = found[-1] if found else None
    sliver = part.name == UNACCOUNTED and part.end - part.start < SLIVER_NS
    if last is None:
        found.append(part)
    elif sliver or (last.name == part.name and last.activity is part.activity):
        found[-1] = ResponsePart(last.name, last.start, part.end, last.activity)
    elif last.name == UNACCOUNTED and last.end - last.start < SLIVER_NS:
        found[-1] = ResponsePart(part.name, last.start, part.end, part.activity)
    else:
        found.append(part)
