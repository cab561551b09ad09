"""Names and attributes of spans.

Names are those of the framework's own trace where it has a corresponding span, so that a query finds both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from projections.latency.response import NAMES, Response
from projections.timeline import Activity, Timeline, elapsed_ms
from projections.turns.exchange import Exchange
from projections.turns.ledger import BargeIn
from projections.turns.question import words_of

Attributes = dict[str, Any]
Described = tuple[str, Attributes]


def with_values(**attributes: Any) -> Attributes:
    """The attributes that have a value: neither None nor empty text."""
    return _with_values(attributes)


def _with_values(attributes: Attributes) -> Attributes:
    values = attributes.values()
    if None not in values and "" not in values:
        return attributes
    return {name: value for name, value in attributes.items() if value is not None and value != ""}


def _not_none(attributes: Attributes) -> Attributes:
    return {name: value for name, value in attributes.items() if name and value is not None}


def describe(part: Activity, x: Exchange | None) -> Described:
    """Name and attributes of an activity's span; ``x`` is its exchange."""
    return _DESCRIBE[part.kind](part, x)


def _with_provider(part: Activity, name: str) -> Described:
    """The name with its provider, and the provider's attributes."""
    provider = part.data.get("provider")
    if provider is None:
        return name, {}
    label, model = provider["provider_class"], provider["model_name"]
    attributes: Attributes = {}
    if label:
        attributes["provider_class"] = label
    if model:
        attributes["model_name"] = model
    return (f"{label}: {name}" if label else name), attributes


def _voice(part: Activity, _x: Exchange | None) -> Described:
    return "User Input Speech", with_values(Transcript=words_of(part), duration_ms=elapsed_ms(part.start, part.end))


def _agent(part: Activity, x: Exchange | None) -> Described:
    text = x.answer if x is not None and x.speeches()[-1] is part else None
    attributes = with_values(
        Transcript=text, duration_ms=elapsed_ms(part.start, part.end), agent=part.data.get("agent")
    )
    attributes["end_known"] = part.end_reported
    if "cut" in part.data:
        attributes["interrupted"] = True
    return "Agent Output Speech", attributes


def _stt(part: Activity, _x: Exchange | None) -> Described:
    name, attributes = _with_provider(part, "Speech to Text Processing")
    data = part.data
    attributes |= _with_values(
        {
            "output": data.get("transcript"),
            "stt_confidence": data.get("confidence"),
            "audio_seconds": data.get("audio_seconds"),
            "latency.stt_ms": elapsed_ms(data.get("finalising"), part.end),
            "latency.stt_interim_ms": elapsed_ms(part.start, part.first),
            "latency.stt_preflight_ms": elapsed_ms(part.start, data.get("preflight")),
        }
    )
    return name, attributes | _tokens(part)


def _tokens(part: Activity) -> Attributes:
    tokens = part.data.get("tokens")
    if tokens is None:
        return {}
    attributes = {"input_tokens": tokens["input"], "output_tokens": tokens["output"], "total_tokens": tokens["total"]}
    return attributes | with_values(cached_input_tokens=tokens.get("cached"))


def _eou(part: Activity, x: Exchange | None) -> Described:
    name, attributes = _with_provider(part, "End-Of-Utterance Detection")
    words = x.words if x is not None else None
    probability, latency = part.data.get("probability"), elapsed_ms(part.start, part.end)
    return name, attributes | _with_values({"input": words, "eou_probability": probability, "latency.eou_ms": latency})


def _eou_wait(part: Activity, _x: Exchange | None) -> Described:
    return "EOU Wait", with_values(eou_wait_ms=elapsed_ms(part.start, part.end))


def _knowledge_base(part: Activity, x: Exchange | None) -> Described:
    names = ("kb_id", "documents", "scores")
    attributes = with_values(
        input=x.words if x is not None else None, retrieval_latency_ms=elapsed_ms(part.start, part.end)
    )
    attributes |= with_values(**{name: part.data.get(name) for name in names})
    if isinstance(attributes.get("documents"), list):
        attributes["document_count"] = len(attributes["documents"])
    return "Knowledge Base: Retrieval", attributes


def _llm(part: Activity, x: Exchange | None) -> Described:
    name, attributes = _with_provider(part, "LLM Processing")
    wrote = x is not None and part.status in ("done", "unfinished") and _last(x, "llm") is part
    attributes |= _with_values(
        {
            "input": part.data.get("input"),
            "output": x.answer if x is not None and wrote else None,
            "duration_ms": elapsed_ms(part.start, part.end),
            "latency.llm_ttft_ms": elapsed_ms(part.data.get("failed_until", part.start), part.first),
        }
    )
    return name, attributes | _tokens(part)


def _last(x: Exchange, kind: str) -> Activity | None:
    runs = x.of(kind)
    return runs[-1] if runs else None


def _tool(part: Activity, _x: Exchange | None) -> Described:
    data = part.data
    name = f"Invoked {'MCP ' if 'mcp' in data else ''}Tool: {data.get('name')}"
    attributes = with_values(tool_name=data.get("name"), arguments=data.get("params"), result=data.get("response"))
    return name, attributes | with_values(url=data.get("url"), **{"latency.tool_ms": elapsed_ms(part.start, part.end)})


def _tts(part: Activity, x: Exchange | None) -> Described:
    name, attributes = _with_provider(part, "Text to Speech Processing")
    spoken = x is not None and _last(x, "tts") is part
    attributes |= _with_values(
        {
            "input": x.answer if x is not None and spoken else None,
            "characters": part.data.get("characters"),
            "audio_seconds": part.data.get("audio_seconds"),
            "latency.tts_first_byte_ms": elapsed_ms(part.start, part.first),
        }
    )
    return name, attributes


def _realtime(part: Activity, x: Exchange | None) -> Described:
    name, attributes = _with_provider(part, "Realtime Processing")
    if x is not None:
        attributes |= with_values(input=x.words, output=x.answer)
    usage = part.data.get("usage", {})
    return name, attributes | _tokens(part) | {name: n for name, n in usage.items() if type(n) in (int, float)}


def _interruption(_part: Activity, _x: Exchange | None) -> Described:
    return "Turn Interrupted", {}


def _doubt(part: Activity, _x: Exchange | None) -> Described:
    outcome = "Escalated" if "escalated" in part.data else "Resumed" if part.end is not None else "Open"
    pause = part.data.get("pause_duration")
    return f"False Interruption ({outcome})", with_values(pause_duration_config=pause, paused=part.data.get("paused"))


def _fallback(part: Activity, _x: Exchange | None) -> Described:
    kind = "Recovery" if part.data.get("is_recovery") else "Fallback"
    return f"{kind}: {part.data.get('component_type')}", _not_none(part.data)


def _error(part: Activity, _x: Exchange | None) -> Described:
    return f"{part.data['source']} Error", with_values(source=part.data["source"], message=part.data["message"])


def _sound(part: Activity, _x: Exchange | None) -> Described:
    attributes = with_values(file_path=part.data.get("file"), looping=part.data.get("looping"))
    return ("Thinking Audio" if part.data["name"] == "thinking" else "Background Audio"), attributes


def _hold(_part: Activity, _x: Exchange | None) -> Described:
    return "Turn Held", {}


def _note(part: Activity, _x: Exchange | None) -> Described:
    attributes = part.data["attributes"]
    return part.data["name"], _not_none(attributes) if isinstance(attributes, dict) else {}


_DESCRIBE: dict[str, Callable[[Activity, Exchange | None], Described]] = {
    "voice": _voice,
    "agent": _agent,
    "stt": _stt,
    "eou": _eou,
    "eou_wait": _eou_wait,
    "knowledge_base": _knowledge_base,
    "llm": _llm,
    "tool": _tool,
    "tts": _tts,
    "realtime": _realtime,
    "interruption": _interruption,
    "doubt": _doubt,
    "fallback": _fallback,
    "error": _error,
    "sound": _sound,
    "hold": _hold,
    "note": _note,
}


def barge_in_attributes(record: BargeIn) -> Attributes:
    """Attributes from the ledger, for the span of an interruption or a doubt."""
    return with_values(
        barge_in=record.kind,
        yield_ms=record.yield_ms,
        decision_ms=record.decision_ms,
        overlap_ms=record.overlap_ms,
        agent_heard_ms=record.agent_heard_ms,
        silent_known=record.silent_known,
        words=record.words,
    )


_PART_KEYS = {name: f"latency.response.{name.lower().replace(' ', '_').replace('-', '_')}_ms" for name in NAMES}


def response_attributes(response: Response) -> Attributes:
    """The response and its parts, in milliseconds."""
    attributes: Attributes = {"latency.response_ms": response.ms}
    if response.time_to_answer_ms is not None:
        attributes["latency.time_to_answer_ms"] = response.time_to_answer_ms
    for part in response.parts:
        key = _PART_KEYS[part.name]
        attributes[key] = attributes.get(key, 0.0) + part.ms
    return attributes


def turn_attributes(
    x: Exchange, number: int, response: Response | None, missing: str | None, *, interrupted: bool
) -> Attributes:
    attributes = with_values(turn=number, input=x.words, output=x.answer, no_response=missing, interrupted=interrupted)
    for name, value in (("typed", x.typed), ("handed_off", x.handed_off)):
        if value:
            attributes[name] = value
    return attributes | (response_attributes(response) if response is not None else {})


def session_attributes(t: Timeline, turns: int) -> Attributes:
    own = with_values(
        turns=turns, framework=t.framework, framework_version=t.framework_version, end_reason=t.end_reason
    )
    return _not_none(t.meeting) | own
