"""What a turn's records are as spans: one part for each thing that took time.

A span whose start is unknown starts at the first thing known of it, one whose end is unknown ends at the last. Without
any time there is none. Agents hand over some of the values, so they may be anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from projections.model import is_number
from projections.reference.metrics import (
    Component,
    Eou,
    Fallback,
    FunctionTool,
    Interruption,
    Kb,
    Llm,
    McpTool,
    Stt,
    TimelineEvent,
    Tts,
    Turn,
    Vad,
)
from projections.reference.span import is_time
from projections.reference.state import State
from projections.reference.timing import wait_seconds

Attributes = dict[str, Any]


@dataclass(slots=True)
class Part:
    """A span to be. Times are seconds on the monotonic clock."""

    name: str
    start: float
    end: float
    attributes: Attributes
    source: str = ""
    """Whose errors may fall into it."""
    ended: bool = True
    """Whether its end was recorded; else `end` is the last thing known of it."""
    status: str = "OK"
    message: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)


def parts_of(s: State, turn: Turn) -> Iterator[Part]:
    """All but the errors, and what is reckoned from the turn's end."""
    for vad in turn.vad_metrics:
        yield from _vad(s, vad)
    if turn.interruption_metrics is not None:
        yield from _false_interruption(turn, turn.interruption_metrics)
    if turn.is_interrupted:
        yield from _interruption(s, turn, turn.interruption_metrics or Interruption())
    for fallback in turn.fallback_events:
        yield from _fallback(fallback)
    for stt in turn.stt_metrics:
        yield from _stt(s, turn, stt)
    for eou in turn.eou_metrics:
        yield from _eou(s, turn, eou)
    calls = [part for llm in turn.llm_metrics for part in _llm(s, turn, llm)]
    yield from calls
    yield from _tools(turn, calls)
    for tts in turn.tts_metrics:
        yield from _tts(s, turn, tts)
    for kb in turn.kb_metrics:
        yield from _kb(turn, kb)
    if turn.realtime_metrics:
        yield from _realtime(s, turn)


def _part(
    name: str,
    start: Any,
    end: Any,
    attributes: Attributes,
    *,
    between: Iterable[Any] = (),
    source: str = "",
    status: str = "OK",
) -> Iterator[Part]:
    """The span, if any of its times is known."""
    known = [time for time in (start, *between, end) if is_time(time)]
    if known:
        first, last = start if is_time(start) else min(known), end if is_time(end) else max(known)
        yield Part(name, first, last, attributes, source, ended=is_time(end), status=status)


def known(**attributes: Any) -> Attributes:
    """The attributes that have a value; a 0 is one."""
    return {name: value for name, value in attributes.items() if value not in (None, UNSET, "")}


def _provider(s: State, component: str, entry: Component) -> tuple[str, Attributes]:
    """What served the entry, or else serves its component now: as the beginning of a name, and as attributes."""
    now = s.session.provider_per_component.get(component, {})
    provider = entry.provider_class or now.get("provider_class")
    model = entry.model_name or now.get("model_name")
    attributes = known(provider_class=provider, model_name=model)
    return f"{provider}: " if provider else "", {name: str(value) for name, value in attributes.items()}


# components ----------------------------------------------------------------------------------------------------------


def _vad(s: State, vad: Vad) -> Iterator[Part]:
    provider, attributes = _provider(s, "vad", vad)
    attributes |= known(
        min_silence_duration=vad.vad_min_silence_duration,
        min_speech_duration=vad.vad_min_speech_duration,
        threshold=vad.vad_threshold,
    )
    start, end = vad.user_speech_start_time, vad.user_speech_end_time
    yield from _part(f"{provider}VAD Processing", start, end, attributes, source="VAD")


def _false_interruption(turn: Turn, found: Interruption) -> Iterator[Part]:
    resumed = found.resumed_after_false_interrupt
    escalated = turn.is_interrupted or not found.is_false_interrupt
    outcome = " (Resumed)" if resumed else " (Escalated)" if escalated else ""
    attributes = known(
        pause_duration_config=found.false_interrupt_pause_duration,
        false_interrupt_duration=found.false_interrupt_duration,
        false_interrupt_words=found.false_interrupt_words,
        resumed_after_false_interrupt=resumed,
    )
    start, end = found.false_interrupt_start_time, found.false_interrupt_end_time
    yield from _part(f"False Interruption{outcome}", start, end, attributes)


def _interruption(s: State, turn: Turn, found: Interruption) -> Iterator[Part]:
    """From the start of the speech that cut the agent off until it was silent; or else when it was told to be."""
    attributes = known(
        false_interrupt_pause_duration=found.false_interrupt_pause_duration,
        resume_on_false_interrupt=found.resume_on_false_interrupt,
        preceded_by_false_interrupt=found.false_interrupt_start_time is not None,
        interrupt_words=found.interrupt_words,
        interrupt_duration=found.interrupt_duration,
        interrupt_mode=found.interrupt_mode,
        interrupt_reason=found.interrupt_reason or None,
    )
    start, end = found.interrupt_start_time, found.interrupt_end_time
    yield from _part("Turn Interrupted", start, end, attributes, between=[s.interrupted_at])


def _fallback(fallback: Fallback) -> Iterator[Part]:
    attributes = known(
        temporary_disable_sec=fallback.temporary_disable_sec,
        permanent_disable_after_attempts=fallback.permanent_disable_after_attempts,
        recovery_attempt=fallback.recovery_attempt,
        message=fallback.message,
        duration_ms=fallback.duration_ms,
    )
    old, new, component = fallback.original_provider_label, fallback.new_provider_label, fallback.component_type
    start, end = fallback.start_time, fallback.end_time
    if fallback.is_recovery:
        attributes |= known(restored_provider=new, previous_provider=old)
        yield from _part(f"Recovery: {component}", start, end, attributes)
        return
    first = fallback.original_connection_start, fallback.original_connection_end
    second = fallback.new_connection_start, fallback.new_connection_end
    status = "OK" if new else "ERROR"
    for part in _part(f"Fallback: {component}", start, end, attributes, between=[*first, *second], status=status):
        part.parts += _connection(old, *first, part, "failed", "ERROR")
        part.parts += _connection(new, *second, part, "success", "OK")
        yield part


def _connection(label: Any, start: Any, end: Any, within: Part, outcome: str, status: str) -> Iterator[Part]:
    if label:
        attributes = {"provider": label, "status": outcome}
        at = within.start if not is_time(start) and not is_time(end) else start
        yield from _part(f"Connection: {label}", at, end, attributes, status=status)


def _stt(s: State, turn: Turn, stt: Stt) -> Iterator[Part]:
    provider, attributes = _provider(s, "stt", stt)
    attributes |= known(
        duration_ms=stt.stt_latency,
        start_timestamp=stt.stt_start_time,
        end_timestamp=stt.stt_end_time,
        output=stt.stt_transcript,
    )
    if provider == "DeepgramSTTV2: ":
        attributes |= known(stt_preemptive_generation_enabled=turn.preemtive_generation_enabled)
    between = (stt.stt_interim_end_time, stt.stt_preflight_end_time, stt.stt_last_interim_time)
    name = f"{provider}Speech to Text Processing"
    yield from _part(name, stt.stt_start_time, stt.stt_end_time, attributes, between=between, source="STT")


def _eou(s: State, turn: Turn, eou: Eou) -> Iterator[Part]:
    provider, attributes = _provider(s, "eou", eou)
    attributes |= known(
        input=turn.user_speech,
        duration_ms=eou.eou_latency,
        start_timestamp=eou.eou_start_time,
        end_timestamp=eou.eou_end_time,
        waited_for_additional_speech=eou.waited_for_additional_speech,
        eou_probability=_rounded(eou.eou_probability),
    )
    name = f"{provider}End-Of-Utterance Detection"
    yield from _part(name, eou.eou_start_time, eou.eou_end_time, attributes, source="EOU")


def _llm(s: State, turn: Turn, llm: Llm) -> Iterator[Part]:
    provider, attributes = _provider(s, "llm", llm)
    start, first, end = llm.llm_start_time, llm.llm_first_token_time, llm.llm_end_time
    attributes |= known(
        input=llm.llm_input,
        duration_ms=llm.llm_duration,
        start_timestamp=start,
        end_timestamp=end,
        output=turn.agent_speech if llm is turn.llm_metrics[-1] else None,
        input_tokens=llm.prompt_tokens,
        output_tokens=llm.completion_tokens,
        cached_input_tokens=llm.prompt_cached_tokens,
        total_tokens=llm.total_tokens,
    )
    for part in _part(f"{provider}LLM Processing", start, end, attributes, between=[first], source="LLM"):
        part.parts += _until_first("Time to First Token", start, first, known(llm_ttft=llm.llm_ttft))
        yield part


def _until_first(name: str, start: Any, first: Any, attributes: Attributes) -> Iterator[Part]:
    """None where the first is of an earlier run."""
    if is_time(start) and is_time(first) and start <= first:
        yield Part(name, start, first, attributes)


def _tools(turn: Turn, calls: list[Part]) -> Iterator[Part]:
    """Each under the LLM call that went on while it ran, or else beside them."""
    tools: list[FunctionTool | McpTool] = [*turn.function_tool_metrics, *turn.mcp_tool_metrics]
    for tool in tools:
        name = f"Invoked MCP Tool: {tool.type}" if isinstance(tool, McpTool) else f"Invoked Tool: {tool.tool_name}"
        for part in _part(name, tool.start_time, tool.end_time, known(duration_ms=tool.latency)):
            around = [call for call in calls if call.start <= part.start and part.end <= call.end]
            if around:
                around[-1].parts.append(part)
            else:
                yield part


def _tts(s: State, turn: Turn, tts: Tts) -> Iterator[Part]:
    provider, attributes = _provider(s, "tts", tts)
    start, first, end = tts.tts_start_time, tts.tts_first_byte_time, tts.tts_end_time
    last = tts is turn.tts_metrics[-1]
    attributes |= known(
        input=turn.agent_speech if last else None,
        duration_ms=tts.tts_duration,
        start_timestamp=start,
        end_timestamp=end,
        characters=tts.tts_characters,
        audio_duration_ms=turn.agent_speech_duration if last else None,
    )
    for part in _part(f"{provider}Text to Speech Processing", start, end, attributes, between=[first], source="TTS"):
        part.parts += _until_first("Time to First Byte", start, first, {})
        yield part


def _kb(turn: Turn, kb: Kb) -> Iterator[Part]:
    attributes = known(
        input=turn.user_speech,
        retrieval_latency_ms=kb.kb_retrieval_latency,
        start_timestamp=kb.kb_start_time,
        end_timestamp=kb.kb_end_time,
    )
    if isinstance(kb.kb_documents, list) and kb.kb_documents:
        count = len(kb.kb_documents)
        attributes["documents"] = ", ".join(map(str, kb.kb_documents)) if count <= 5 else f"{count} documents"
        attributes["document_count"] = count
    if isinstance(kb.kb_scores, list) and kb.kb_scores:
        attributes["scores"] = [round(float(score), 4) for score in kb.kb_scores[:5] if is_number(score)]
    yield from _part("Knowledge Base: Retrieval", kb.kb_start_time, kb.kb_end_time, attributes)


def _realtime(s: State, turn: Turn) -> Iterator[Part]:
    """From the end of the user's speech, if that was before the agent's, to the first word."""
    provider, attributes = _provider(s, "realtime", turn.realtime_metrics[-1])
    asked, heard = turn.user_speech_end_time, turn.agent_speech_start_time
    if is_time(asked) and is_time(heard) and heard < asked:
        asked = None
    for part in _part(f"{provider}Realtime Processing", asked, heard, attributes, source="REALTIME"):
        if turn.e2e_latency is not None:
            part.parts += _until_first("Time to First Word", part.start, heard, {"duration_ms": turn.e2e_latency})
        yield part


# until the turn's end -----------------------------------------------------------------------------------------------


def parts_until(turn: Turn, end: float) -> Iterator[Part]:
    """Waits and what was heard, which last until the turn's ``end`` at most."""
    for eou in turn.eou_metrics:
        yield from _eou_wait(turn, eou, end)
    for event in turn.timeline_event_metrics:
        yield from _timeline(turn, event, end)


def _eou_wait(turn: Turn, eou: Eou, turn_end: float) -> Iterator[Part]:
    """After the detection, so beside it; over at the latest when the LLM was asked, or the turn ended."""
    start, wait = eou.eou_end_time, wait_seconds(eou)
    if eou.waited_for_additional_speech and wait > 0 and is_time(start):
        asked = [llm.llm_start_time for llm in turn.llm_metrics if is_time(llm.llm_start_time)]
        end = min([start + wait, turn_end, *(time for time in asked if time >= start)])
        attributes = known(eou_wait_ms=_rounded(wait * 1000), eou_probability=_rounded(eou.eou_probability))
        yield Part("EOU Wait", start, end, attributes)


_SPEECH = {"user_speech": "User Input Speech", "agent_speech": "Agent Output Speech"}
_SOUNDS = {"thinking_audio": "Thinking Audio", "background_audio": "Background Audio"}


def _timeline(turn: Turn, event: TimelineEvent, turn_end: float) -> Iterator[Part]:
    """Speech and sounds; what had not ended went on at least until the last thing that is known of the turn."""
    kind = event.event_type
    attributes = known(duration_ms=event.duration_ms)
    if kind in _SPEECH:
        attributes |= known(Transcript=event.text)
    elif kind == "thinking_audio":
        attributes |= known(file_path=turn.thinking_audio_file_path, looping=turn.thinking_audio_looping)
    else:
        attributes |= known(file_path=turn.background_audio_file_path, looping=turn.background_audio_looping)
    if is_time(event.start_time):
        end = event.end_time if is_time(event.end_time) else turn_end
        yield Part((_SPEECH | _SOUNDS)[kind], event.start_time, end, attributes)


def _rounded(value: Any) -> Any:
    return round(value, 4) if is_number(value) else value
