"""The analytics payload of a completed turn: flat, camelCase, as the reference posts it.

The last entry of each component counts. The fields depend on the turn's components; the first turn also has those of
the session.
"""

from __future__ import annotations

from typing import Any

from projections.model import SessionDetails
from projections.reference.metrics import Realtime, Stt, Turn, snapshot
from projections.reference.rules import Rules
from projections.reference.timing import answering

REALTIME_LLMS = frozenset({"GeminiRealtime", "OpenAIRealtime"})
"""Provider classes of speech-to-speech models that are configured as ``llm``."""


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


_REALTIME = [(field, _camel(field)) for field in Realtime.__struct_fields__ if field.endswith("_tokens")]
_PROVIDER = {c: (c + "ProviderClass", c + "ModelName") for c in ("realtime", "llm", "stt", "tts", "vad", "eou")}


def analytics_payload(
    turn: Turn, session: SessionDetails, rules: Rules, *, turns_opened: int, turns_completed: int
) -> dict[str, Any]:
    """The payload of a turn. ``turns_completed`` includes it; ``turns_opened`` also the discarded ones.

    Negative numbers are set to 0. Where the payload shares a list with the turn (the scores of the knowledge base),
    that changes the turn too, as in the reference.
    """
    data: dict[str, Any] = {
        "e2eLatency": turn.e2e_latency,
        "interrupted": turn.is_interrupted,
        "userSpeechStartTime": turn.user_speech_start_time,
        "userSpeechEndTime": turn.user_speech_end_time,
        "userSpeechDuration": turn.user_speech_duration,
        "user_speech": turn.user_speech,
        "agentSpeechStartTime": turn.agent_speech_start_time,
        "agentSpeechEndTime": turn.agent_speech_end_time,
        "agentSpeechDuration": turn.agent_speech_duration,
        "agent_speech": turn.agent_speech,
        "functionToolsCalled": turn.function_tools_called,
    }
    if turn.is_a2a_enabled:
        data["handOffOccurred"] = turn.handoff_occurred
    _add_components(data, turn, rules)
    first = turns_completed == 1
    _add_providers(data, session.provider_per_component, rules, first)
    if first:
        data["systemInstructions"] = session.system_instruction if turns_opened == 1 else ""
    data["timeline"] = [
        {
            "eventType": event.event_type,
            "startTime": event.start_time,
            "endTime": event.end_time,
            "durationInMs": event.duration_ms,
            "text": snapshot(event.text),
        }
        for event in turn.timeline_event_metrics
    ]
    _share(turn)
    _clamp(data)
    return data


def _add_components(data: dict[str, Any], turn: Turn, rules: Rules) -> None:
    stt, eou, llm, tts = answering(turn)
    if stt is not None:
        if rules.stt_measured_entry_sent:
            stt = _last_measured(turn.stt_metrics)
        data["sttLatency"] = stt.stt_latency
        data["sttPreflightLatency"] = stt.stt_preflight_latency
        data["sttInterimLatency"] = stt.stt_interim_latency
        data["sttConfidence"] = stt.stt_confidence
        data["sttDuration"] = stt.stt_duration
    if eou is not None:
        data["eouLatency"] = eou.eou_latency
        if rules.eou_wait_in_ms:
            data["eouWaitMs"] = eou.eou_wait_ms
            data["eouProbability"] = eou.eou_probability
    if llm is not None:
        data["ttft"] = llm.llm_ttft
        data["llmDuration"] = llm.llm_duration
        data["promptTokens"] = llm.prompt_tokens
        data["completionTokens"] = llm.completion_tokens
        data["totalTokens"] = llm.total_tokens
        data["promptCachedTokens"] = llm.prompt_cached_tokens
        data["tokensPerSecond"] = llm.tokens_per_second
    if turn.kb_metrics:
        kb = turn.kb_metrics[-1]
        data["kbId"] = kb.kb_id
        data["kbDocuments"] = kb.kb_documents
        data["kbScores"] = kb.kb_scores
        if rules.kb_retrievals:
            data["kbRetrievals"] = kb.kb_retrievals
        data["kbRetrievalLatency"] = kb.kb_retrieval_latency
    if tts is not None:
        data["ttsLatency"] = tts.tts_latency
        data["ttfb"] = tts.ttfb
        data["ttsDuration"] = tts.tts_duration
        data["ttsCharacters"] = tts.tts_characters
    if turn.realtime_metrics:
        realtime = turn.realtime_metrics[-1]
        data["ttfb"] = realtime.realtime_ttfb
        for field, name in _REALTIME:
            data[name] = getattr(realtime, field)


def _last_measured(entries: list[Stt]) -> Stt:
    """The last entry with a latency, or else the last."""
    return next((stt for stt in reversed(entries) if stt.stt_latency is not None), entries[-1])


def _add_providers(data: dict[str, Any], providers: dict[str, dict[str, Any]], rules: Rules, first: bool) -> None:
    if "realtime" in providers:
        _add_provider(data, "realtime", providers["realtime"])
    if "llm" in providers and ("realtime" not in providers or rules.llm_beside_realtime):
        kind = "realtime" if providers["llm"]["provider_class"] in REALTIME_LLMS else "llm"
        if kind == "llm" or "realtime" not in providers:
            _add_provider(data, kind, providers["llm"])
    for component in ("stt", "tts", "vad", "eou") if first else ("stt", "tts"):
        if component in providers:
            _add_provider(data, component, providers[component])


def _add_provider(data: dict[str, Any], component: str, provider: dict[str, Any]) -> None:
    class_field, model_field = _PROVIDER[component]
    data[class_field] = provider["provider_class"]
    data[model_field] = provider["model_name"]


def _share(turn: Turn) -> None:
    """Make the turn and its timeline share the speech object again after the state was read back from JSON.

    This matters for speech that is not text: `_clamp` then changes a list in both places, as in the reference.
    """
    for kind, text in (("user_speech", turn.user_speech), ("agent_speech", turn.agent_speech)):
        if type(text) is list or type(text) is dict:
            for event in reversed(turn.timeline_event_metrics):
                if event.event_type == kind and event.text == text:
                    event.text = text
                    break


def _clamp(values: Any) -> None:
    """Set all negative numbers in nested dicts and lists to 0, in place."""
    for key, value in values.items() if type(values) is dict else enumerate(values):
        if not value:  # None, 0 or empty
            continue
        kind = type(value)
        if kind is float or kind is int:
            if value < 0:
                values[key] = 0
        elif kind is dict or kind is list:
            _clamp(value)
