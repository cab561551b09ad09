"""Span attributes under the names of two conventions, so that other tools understand them.

The conventions are OpenTelemetry's semantic conventions 1.41.0 (``gen_ai.*``; the last release before they moved to a
repository of their own) and OpenInference (``openinference.span.kind``, ``input.value``, ``llm.*``,
``retrieval.documents.*``, …), which Arize Phoenix reads. A value is exported under every name it has in either.

A span's own attributes are exported as ``turnlog.<name>``, typed: `TYPES` lists the numbers and booleans that the
reference writes as text. Values that do not parse are omitted, so that each attribute keeps one type. Details that a
span lacks come from its turn: ``turnlog.latency.*_ms`` (milliseconds), texts, documents, arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from projections.model import MAX_EVENTS
from projections.reference.metrics import Turn
from projections.reference.replay import Call, latency_of
from projections.reference.state import Span
from projections.spans import Span as ReadSpan

Value = str | bool | int | float
Attributes = dict[str, Value]

TYPES: Mapping[str, type[bool | int | float]] = {
    **dict.fromkeys(
        (
            "duration_ms", "audio_duration_ms", "retrieval_latency_ms", "llm_ttft", "start_time", "start_timestamp",
            "end_timestamp", "timestamp", "threshold", "min_silence_duration", "min_speech_duration", "eou_probability",
            "wait_for_additional_speech_duration", "eou_wait_ms", "pause_duration_config", "actual_duration",
            "false_interrupt_duration", "false_interrupt_pause_duration", "temporary_disable_sec",
        ),
        float,
    ),
    **dict.fromkeys(
        (
            "input_tokens", "output_tokens", "cached_input_tokens", "total_tokens", "characters", "document_count",
            "permanent_disable_after_attempts", "recovery_attempt", "total_a2a_turns", "a2a_turn_number",
        ),
        int,
    ),
    **dict.fromkeys(
        (
            "waited_for_additional_speech", "stt_preemptive_generation_enabled", "resumed_after_false_interrupt",
            "resume_on_false_interrupt", "preceded_by_false_interrupt", "looping",
        ),
        bool,
    ),
}  # fmt: skip
"""Types of the reference's non-text attributes. Times are seconds on the agent's monotonic clock."""

PROVIDERS = (
    ("AzureOpenAI", "azure.ai.openai", "azure"),
    ("Azure", "azure.ai.inference", "azure"),
    ("OpenAI", "openai", "openai"),
    ("Anthropic", "anthropic", "anthropic"),
    ("Google", "gcp.gemini", "google"),
    ("Gemini", "gcp.gemini", "google"),
    ("AWS", "aws.bedrock", "aws"),
    ("Nova", "aws.bedrock", "aws"),
    ("XAI", "x_ai", "xai"),
    ("Groq", "groq", "groq"),
    ("DeepSeek", "deepseek", "deepseek"),
    ("Mistral", "mistral_ai", "mistralai"),
    ("Cohere", "cohere", "cohere"),
)
"""Prefix of a provider's class, and its name in the two conventions. Other providers keep the name of their class."""


class TurnPart(NamedTuple):
    """A kind of span in the conventions."""

    kind: str = "CHAIN"
    """OpenInference span kind."""
    operation: str = ""
    """``gen_ai.operation.name``, if any."""
    names: Mapping[str, tuple[str, ...]] = {}
    """The conventions' names of the span's own attributes."""
    more: Callable[[Turn, Span], Attributes] | None = None
    """Attributes taken from its turn."""
    latencies: bool = False
    """True for the turn's own span, which has the turn's latencies."""


def attributes(call: Call) -> dict[int, Attributes]:
    """The attributes of the call's ended spans, by span number. They never change once the span has ended."""
    # a turn's spans end at the event that completes the turn
    turns = {at: (number, turn) for number, (at, turn) in enumerate(zip(call.payloads_at, call.turns, strict=False), 1)}
    if len(call.payloads_at) != len(call.turns):
        turns = {}  # some turn has no payload (`Call.raised`), so the events cannot be matched
    found = {}
    for span in call.spans:
        part = _part(span.name)
        found[span.id] = own = _own(call.session_name, part, span.attributes)
        number, turn = turns.get(span.at, (0, None))
        if turn is not None and part.more is not None:
            own |= part.more(turn, span) | (_latencies(turn, number) if part.latencies else {})
            own["turnlog.turn"] = number
    return found


def span_attributes(session: str, span: ReadSpan) -> Attributes:
    """The attributes of a span of the caller's reading; such a span is complete by itself."""
    known, part = span.attributes, _part(span.name)
    objects = {"documents", "scores", "arguments", "result"}
    own = _own(session, part, {name: value for name, value in known.items() if name not in objects})
    if span.turn is not None:
        own["turnlog.turn"] = span.turn
    if span.kind == "turn":  # conversation views hide a turn without text
        own["input.value"] = _text(known.get("input")) or "(no question)"
        own["output.value"] = _text(known.get("output")) or f"({known.get('no_response') or 'no words'})"
    elif span.kind == "llm":
        ttft_ms = known.get("latency.llm_ttft_ms")
        own |= {} if ttft_ms is None else {"gen_ai.response.time_to_first_chunk": ttft_ms / 1000}
    elif span.kind == "tool":
        own |= _call(str(known.get("tool_name")), known.get("arguments"), known.get("result"))
    elif span.kind == "knowledge_base":
        own |= _documents(known.get("kb_id"), known.get("documents"), known.get("scores"))
    elif span.kind == "realtime":
        for name, names in _REALTIME.items():
            count = _typed(int, known.get(name.removeprefix("realtime_")))
            own |= dict.fromkeys(names, count) if count is not None else {}
    return own


def turns_as_roots(spans: Iterable[ReadSpan]) -> list[ReadSpan]:
    """The spans with each turn as a root; spans outside the turns become events of the last span, which is sent last.

    The session has no span of its own: backends would take a root as long as the call for its slowest response.
    """
    spans = list(spans)
    found = [replace(span, parent=None) if span.kind == "turn" else span for span in spans if span.turn is not None]
    rest = [span for span in spans if span.turn is None]
    if rest and found:
        last = found[-1]
        events = [
            *({"name": span.name, "attributes": {"duration_ms": (span.end_ns - span.start_ns) / 1e6, **span.attributes},
               "time_ns": span.start_ns} for span in rest),
            *(event for span in rest for event in span.events),
        ]  # fmt: skip
        found[-1] = replace(last, events=[*last.events, *events][-MAX_EVENTS:])
    return found


def span_event(name: str, values: Mapping[str, Any]) -> tuple[str, Attributes]:
    """A span's error event as an ``exception``; its time is ``turnlog.timestamp``, in monotonic seconds."""
    rest = {f"turnlog.{key}": _typed(TYPES.get(key), value) for key, value in values.items() if key != "message"}
    return "exception", {"exception.type": name, "exception.message": str(values.get("message")), **_not_none(rest)}


def _own(session: str, part: TurnPart, attributes: Mapping[str, Any]) -> Attributes:
    """The span's own attributes, under all their names."""
    own: Attributes = {"session.id": session, "openinference.span.kind": part.kind}
    if part.operation:
        own |= {"gen_ai.operation.name": part.operation, "gen_ai.conversation.id": session}
    for name, raw in attributes.items():
        value = _typed(TYPES.get(name) or _type(raw), raw)
        if value is not None:
            own[f"turnlog.{name}"] = value
            own |= dict.fromkeys(part.names.get(name, ()), value)
    if part.kind == "LLM" and "provider_class" in attributes:
        provider = str(attributes["provider_class"])
        known = (names[1:] for names in PROVIDERS if provider.startswith(names[0]))
        gen_ai, openinference = next(known, (provider, provider))
        own |= {"gen_ai.provider.name": gen_ai, "gen_ai.system": gen_ai, "llm.provider": openinference}
    return own


# attributes from the turn -------------------------------------------------------------------------------------------


def _latencies(turn: Turn, number: int) -> Attributes:
    latency = latency_of(turn, number)
    measured = {
        "e2e": latency.e2e, "stt": latency.stt, "eou": latency.eou, "eou_wait": latency.eou_wait,
        "llm_ttft": latency.ttft, "tts": latency.tts, "tts_first_byte": latency.ttfb, "realtime": latency.realtime,
    }  # fmt: skip
    return _not_none({f"turnlog.latency.{part}_ms": _typed(float, value) for part, value in measured.items()})


def _turn(turn: Turn, _span: Span) -> Attributes:
    return _not_none(_exchange(turn)) | {
        "turnlog.turn_id": turn.turn_id,
        "turnlog.interrupted": turn.is_interrupted,
    }


def _exchange(turn: Turn) -> dict[str, Value | None]:
    return {"input.value": _text(turn.user_speech), "output.value": _text(turn.agent_speech)}


def _llm(turn: Turn, span: Span) -> Attributes:
    entry = _entry(turn.llm_metrics, "llm_start_time", span)
    if entry is None:
        return {}
    ttft_ms = _typed(float, entry.llm_ttft)
    return _not_none(
        {
            "gen_ai.response.time_to_first_chunk": None if ttft_ms is None else float(ttft_ms) / 1000,
            "turnlog.latency.llm_ttft_ms": ttft_ms,
            "turnlog.tokens_per_second": _typed(float, entry.tokens_per_second),
        }
    )


_REALTIME = {
    "realtime_input_tokens": ("gen_ai.usage.input_tokens", "llm.token_count.prompt"),
    "realtime_output_tokens": ("gen_ai.usage.output_tokens", "llm.token_count.completion"),
    "realtime_total_tokens": ("llm.token_count.total",),
    "realtime_input_cached_tokens": (
        "gen_ai.usage.cache_read.input_tokens",
        "llm.token_count.prompt_details.cache_read",
    ),
    "realtime_input_audio_tokens": ("llm.token_count.prompt_details.audio",),
    "realtime_output_audio_tokens": ("llm.token_count.completion_details.audio",),
    "realtime_thoughts_tokens": (
        "gen_ai.usage.reasoning.output_tokens",
        "llm.token_count.completion_details.reasoning",
    ),
}


def _realtime(turn: Turn, _span: Span) -> Attributes:
    values = _exchange(turn)
    for entry in turn.realtime_metrics[-1:]:
        values["turnlog.latency.realtime_ms"] = _typed(float, entry.realtime_ttfb)
        for field, names in _REALTIME.items():
            values |= dict.fromkeys(names, _typed(int, getattr(entry, field)))
    return _not_none(values)


def _stt(turn: Turn, span: Span) -> Attributes:
    entry = _entry(turn.stt_metrics, "stt_start_time", span)
    if entry is None:
        return {}
    return _not_none(
        {
            "turnlog.latency.stt_ms": _typed(float, entry.stt_latency),
            "turnlog.latency.stt_interim_ms": _typed(float, entry.stt_interim_latency),
            "turnlog.latency.stt_preflight_ms": _typed(float, entry.stt_preflight_latency),
            "turnlog.stt_confidence": _typed(float, entry.stt_confidence),
        }
    )


def _eou(turn: Turn, span: Span) -> Attributes:
    entry = _entry(turn.eou_metrics, "eou_start_time", span)
    return _not_none({"turnlog.latency.eou_ms": _typed(float, entry.eou_latency)}) if entry is not None else {}


def _tts(turn: Turn, span: Span) -> Attributes:
    entry = _entry(turn.tts_metrics, "tts_start_time", span)
    if entry is None:
        return {}
    return _not_none(
        {
            "turnlog.latency.tts_ms": _typed(float, entry.tts_latency),
            "turnlog.latency.tts_first_byte_ms": _typed(float, entry.ttfb),
        }
    )


def _kb(turn: Turn, span: Span) -> Attributes:
    entry = _entry(turn.kb_metrics, "kb_start_time", span)
    if entry is None:
        return {}
    return _documents(entry.kb_id, entry.kb_documents, entry.kb_scores)


def _documents(kb_id: Any, documents: Any, scores: Any) -> Attributes:
    values: dict[str, Value | None] = {"gen_ai.data_source.id": _text(kb_id)}
    scores = scores if isinstance(scores, list) else []
    for number, document in enumerate(documents if isinstance(documents, list) else ()):
        name = f"retrieval.documents.{number}.document"
        values[f"{name}.content"] = _text(document)
        values[f"{name}.score"] = _typed(float, scores[number]) if number < len(scores) else None
    return _not_none(values)


def _tool(turn: Turn, span: Span) -> Attributes:
    name = span.name.removeprefix("Invoked Tool: ")
    called = [tool for tool in turn.function_tool_metrics if str(tool.tool_name) == name]
    # with realtime models, all tools of a turn have the time of its completion
    tool = _entry(called, "start_time", span) or (called[0] if len(called) == 1 else None)
    if tool is None:
        return _call(name, None, None)
    latency = {"turnlog.latency.tool_ms": _typed(float, tool.latency)}
    return _not_none(latency) | _call(name, tool.tool_params, tool.tool_response)


def _call(name: str, arguments: Any, result: Any) -> Attributes:
    values: Attributes = {"tool.name": name, "gen_ai.tool.name": name, "gen_ai.tool.type": "function"}
    for side, gen_ai, value in (
        ("input", "gen_ai.tool.call.arguments", arguments),
        ("output", "gen_ai.tool.call.result", result),
    ):
        if value not in (None, "", {}, []):
            is_text = isinstance(value, str)
            text = value if is_text else msgspec.json.encode(value).decode()
            values |= {f"{side}.value": text, gen_ai: text}
            values[f"{side}.mime_type"] = "text/plain" if is_text else "application/json"
    return values


# the table ----------------------------------------------------------------------------------------------------------

_IN, _OUT = ("input.value",), ("output.value",)
_CHAIN = TurnPart()
_SESSION = TurnPart("AGENT", names={"agent_name": ("gen_ai.agent.name", "agent.name")})
_MODEL = {"model_name": ("gen_ai.request.model", "llm.model_name")}
_LLM_NAMES = _MODEL | {
    "input": _IN,
    "output": _OUT,
    "input_tokens": ("gen_ai.usage.input_tokens", "llm.token_count.prompt"),
    "output_tokens": ("gen_ai.usage.output_tokens", "llm.token_count.completion"),
    "total_tokens": ("llm.token_count.total",),
    "cached_input_tokens": ("gen_ai.usage.cache_read.input_tokens", "llm.token_count.prompt_details.cache_read"),
}
_KB_NAMES = {"input": (*_IN, "gen_ai.retrieval.query.text")}

BY_PREFIX = {  # checked first, as the rest of these names is chosen by the agent
    "Agent Session Closed": _CHAIN,
    "Agent Session": _SESSION,
    "Turn #": TurnPart("AGENT", "invoke_agent", more=_turn, latencies=True),
    "Invoked Tool: ": TurnPart("TOOL", "execute_tool", more=_tool),
    "Invoked MCP Tool: ": TurnPart("TOOL", "execute_tool"),
    "A2A ": TurnPart("AGENT"),
    "Fallback: ": _CHAIN,
    "Recovery: ": _CHAIN,
    "Connection: ": _CHAIN,
}
BY_SUFFIX = {
    "Session Started": _SESSION,
    "User & Agent Turns": _SESSION,
    "LLM Processing": TurnPart("LLM", "chat", _LLM_NAMES, _llm),
    "Realtime Processing": TurnPart("LLM", "generate_content", _MODEL, _realtime),
    "Speech to Text Processing": TurnPart(names={"output": _OUT}, more=_stt),
    "End-Of-Utterance Detection": TurnPart(names={"input": _IN}, more=_eou),
    "Text to Speech Processing": TurnPart(names={"input": _IN}, more=_tts),
    "Knowledge Base: Retrieval": TurnPart("RETRIEVER", "retrieval", _KB_NAMES, _kb),
    "User Input Speech": TurnPart(names={"Transcript": _IN}),
    "Agent Output Speech": TurnPart(names={"Transcript": _OUT}),
    "Agent Say": TurnPart(names={"Agent Say Message": _OUT}),
    "Agent Reply": TurnPart(names={"Agent Reply Instructions": _IN}),
}
"""Span kinds by prefix or suffix of the span's name; all others are of kind CHAIN."""


def _part(name: str) -> TurnPart:
    by_prefix = (part for prefix, part in BY_PREFIX.items() if name.startswith(prefix))
    by_suffix = (part for suffix, part in BY_SUFFIX.items() if name.endswith(suffix))
    return next(by_prefix, None) or next(by_suffix, _CHAIN)


def _entry(entries: Iterable[Any], start_field: str, span: Span) -> Any:
    """The turn's entry that the span was made from: the one with the same start."""
    return next((entry for entry in entries if getattr(entry, start_field) == span.start_time), None)


def _not_none(values: Mapping[str, Value | None]) -> Attributes:
    return {name: value for name, value in values.items() if value is not None}


def _text(value: Any) -> str | None:
    """The value as text, None if empty. Some texts are supplied by the agent and may be of any type."""
    return None if value is None or value == "" else str(value)


def _type(value: Any) -> type[Value]:
    """The type of an attribute that is not text (switch ``typed_attributes``); lists are written as text."""
    return type(value) if isinstance(value, (bool, int, float)) else str


def _typed(kind: type[Value] | None, value: Any) -> Value | None:
    """The value as ``kind`` (None: as text); None if it does not parse, or does not fit into OTLP's type."""
    text = str(value)
    if kind is bool:
        return {"True": True, "False": False}.get(text)
    if kind is int:
        number = _typed(float, text)
        if number is None or not float(number).is_integer() or abs(number := int(float(number))) >= 1 << 63:
            return None
        return int(text) if text.lstrip("+-").isdecimal() else number
    if kind is float:
        try:
            found = float(text)
        except ValueError:
            return None
        return found if math.isfinite(found) else None
    return text
