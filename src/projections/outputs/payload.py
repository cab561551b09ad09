"""The analytics payload of a turn under the caller's reading: the reference's camelCase schema, with our numbers.

`exporters.analytics.schema` is its type. A component's latency is that of the run that led to the first audio; tokens
and characters are summed over all runs. Latencies are milliseconds, times seconds on the agent's monotonic clock. A
value from the agent of a type that the schema does not have is written as text, or as null instead of a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from projections.latency.response import Response, user_stopped
from projections.timeline import Activity, Timeline, elapsed_ms
from projections.timeline.registry import count
from projections.turns.exchange import Exchange

_PROVIDER = {c: (c + "ProviderClass", c + "ModelName") for c in ("realtime", "llm", "stt", "tts", "vad", "eou")}
_REALTIME = {
    "input_tokens": "realtimeInputTokens",
    "output_tokens": "realtimeOutputTokens",
    "total_tokens": "realtimeTotalTokens",
    "input_text_tokens": "realtimeInputTextTokens",
    "input_audio_tokens": "realtimeInputAudioTokens",
    "input_image_tokens": "realtimeInputImageTokens",
    "input_cached_tokens": "realtimeInputCachedTokens",
    "thoughts_tokens": "realtimeThoughtsTokens",
    "cached_text_tokens": "realtimeCachedTextTokens",
    "cached_audio_tokens": "realtimeCachedAudioTokens",
    "cached_image_tokens": "realtimeCachedImageTokens",
    "output_text_tokens": "realtimeOutputTextTokens",
    "output_audio_tokens": "realtimeOutputAudioTokens",
    "output_image_tokens": "realtimeOutputImageTokens",
}


def payload(t: Timeline, x: Exchange, response: Response | None, number: int, *, interrupted: bool) -> dict[str, Any]:
    """The turn's payload; ``number`` counts from 1, and turn 1 also has the session's fields."""
    speeches, stopped = x.speeches(), user_stopped(x)
    started = x.voices[0].start if x.voices else stopped
    agent_start, agent_end = (speeches[0].start, speeches[-1].end) if speeches else (None, None)
    data: dict[str, Any] = {
        "e2eLatency": None if response is None else response.ms,
        "interrupted": interrupted,
        "userSpeechStartTime": _seconds(started),
        "userSpeechEndTime": _seconds(stopped),
        "userSpeechDuration": elapsed_ms(started, stopped),
        "user_speech": x.words or None,
        "agentSpeechStartTime": _seconds(agent_start),
        "agentSpeechEndTime": _seconds(agent_end),
        "agentSpeechDuration": elapsed_ms(agent_start, agent_end),
        "agent_speech": x.answer or None,
        "functionToolsCalled": [str(tool.data["name"]) for tool in x.of("tool") if "mcp" not in tool.data],
    }
    if x.handed_off:
        data["handOffOccurred"] = True
    runs = x.by_kind
    first_audio = None if response is None else response.end
    _add_components(data, runs, first_audio, response)
    _add_providers(data, t, runs, first=number == 1)
    if number == 1:
        data["systemInstructions"] = _text(t.session.system_instruction) or ""
    data["timeline"] = _timeline(x, speeches)
    return data


def _text(value: Any) -> str | None:
    return value if value is None or type(value) is str else str(value)


def _number(value: Any) -> float | None:
    """The value if it is a finite number, else None."""
    return value if type(value) in (int, float) and abs(value) < 1e300 else None


def _list(value: Any) -> list[Any] | None:
    return value if value is None or isinstance(value, list) else [value]


def _seconds(now: int | None) -> float | None:
    return None if now is None else now / 1e9


def counted_run(runs: Sequence[Activity], first_audio: int | None) -> Activity:
    """The run whose latency counts: the last with a result by the first audio, else the last with a result."""
    if len(runs) == 1:
        return runs[0]
    done = [run for run in runs if (run.first if run.kind in ("llm", "tts") else run.end) is not None]
    if first_audio is not None:
        for run in reversed(done):
            if (run.first if run.kind in ("llm", "tts") else run.end or 0) <= first_audio:  # type: ignore[operator]
                return run
    return (done or runs)[-1]


def _add_components(
    data: dict[str, Any], runs: dict[str, list[Activity]], first_audio: int | None, response: Response | None
) -> None:
    if "stt" in runs:
        stt = counted_run(runs["stt"], first_audio)
        data["sttLatency"] = elapsed_ms(stt.data.get("finalising"), stt.end)
        data["sttPreflightLatency"] = elapsed_ms(stt.start, stt.data.get("preflight"))
        data["sttInterimLatency"] = elapsed_ms(stt.start, stt.first)
        data["sttConfidence"] = _number(stt.data.get("confidence"))
        data["sttDuration"] = _number(stt.data.get("duration"))
    if "eou" in runs:
        eou = counted_run(runs["eou"], first_audio)
        data["eouLatency"] = elapsed_ms(eou.start, eou.end)
        data["eouWaitMs"] = sum(p.ms for p in response.parts if p.name == "EOU wait") if response is not None else None
        data["eouProbability"] = _number(eou.data.get("probability"))
    if "llm" in runs:
        llm = counted_run(runs["llm"], first_audio)
        data["ttft"] = elapsed_ms(llm.data.get("failed_until", llm.start), llm.first)
        data["llmDuration"] = duration = elapsed_ms(llm.start, llm.end)
        tokens = [run.data["tokens"] for run in runs["llm"] if "tokens" in run.data]
        for key, name in (("input", "promptTokens"), ("output", "completionTokens"), ("total", "totalTokens"),
                          ("cached", "promptCachedTokens")):  # fmt: skip
            found = [one[key] for one in tokens if key in one]
            data[name] = sum(found) if found else None
        made = llm.data.get("tokens", {}).get("output")
        data["tokensPerSecond"] = round(made / (duration / 1000), 2) if made and duration else None
    if "knowledge_base" in runs:
        kb = runs["knowledge_base"][-1]
        scores = _list(kb.data.get("scores"))
        data["kbId"], data["kbDocuments"] = _text(kb.data.get("kb_id")), _list(kb.data.get("documents"))
        data["kbScores"] = None if scores is None else [n for n in map(_number, scores) if n is not None]
        data["kbRetrievalLatency"] = elapsed_ms(kb.start, kb.end)
        if kb.data.get("retrievals") is not None:
            data["kbRetrievals"] = _list(kb.data["retrievals"])
    if "tts" in runs:
        tts = counted_run(runs["tts"], first_audio)
        data["ttfb"] = elapsed_ms(tts.start, tts.first)
        data["ttsLatency"] = elapsed_ms(
            tts.start, first_audio if first_audio is not None and tts.first is not None else tts.first
        )
        data["ttsDuration"] = elapsed_ms(tts.start, tts.end)
        data["ttsCharacters"] = sum(run.data.get("characters", 0) for run in runs["tts"])
    if "realtime" in runs:
        data["ttfb"] = None if response is None else response.ms
        usage = [run.data.get("usage", {}) for run in runs["realtime"]]
        for key, name in _REALTIME.items():
            found = [count(one[key]) for one in usage if _number(one.get(key)) is not None]
            data[name] = sum(found) if found else None


def _add_providers(data: dict[str, Any], t: Timeline, runs: dict[str, list[Activity]], *, first: bool) -> None:
    """Add the providers of the turn's runs, or else those of the session."""
    for component in ("realtime", "llm", "stt", "tts", *(("vad", "eou") if first else ())):
        found = runs.get(component)
        provider = (found[-1].data.get("provider") if found else None) or t.session.provider_per_component.get(
            component
        )
        if provider is not None:
            class_field, model_field = _PROVIDER[component]
            data[class_field] = _text(provider["provider_class"]) or ""
            data[model_field] = _text(provider["model_name"])


def _timeline(x: Exchange, speeches: Sequence[Activity]) -> list[dict[str, Any]]:
    last_voice, last_speech = x.voices[-1] if x.voices else None, speeches[-1] if speeches else None
    return [
        {
            "eventType": "user_speech" if part.kind == "voice" else "agent_speech",
            "startTime": _seconds(part.start),
            "endTime": _seconds(part.end),
            "durationInMs": elapsed_ms(part.start, part.end),
            "text": x.words if part is last_voice else x.answer if part is last_speech else "",
        }
        for part in sorted((*x.voices, *speeches), key=lambda part: part.start or 0)
    ]
