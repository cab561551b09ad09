"""The allow-list of arguments that stay readable in an encrypted log, and redaction of the rest.

Readable are numbers, times, booleans, states of a known set, and names of providers and models, each only in the
arguments listed here. All other text is hidden, and so is every name that user code chooses, such as that of an
attribute. A value of an unexpected kind is hidden too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from eventstore.hooks.arguments import ALTERED, HAPPENED, RAW, Args
from eventstore.hooks.secret_names import REDACTED
from eventstore.hooks.vocabulary import HOOKS

HIDDEN = "[sealed]"
Show = Callable[[Any], Any]
"""Maps a value to its readable part."""


def presence(value: Any) -> Any:
    """Redact everything except presence and length."""
    if isinstance(value, dict):
        return {}
    if isinstance(value, list):
        return [HIDDEN] * len(value)
    return HIDDEN if value not in (None, "") else value


def number(value: Any) -> Any:
    """Show a number, a boolean or None."""
    return value if value is None or isinstance(value, (bool, int, float)) else presence(value)


def list_of(show: Show) -> Show:
    """Show a list whose items ``show`` shows."""
    return lambda value: list(map(show, value)) if isinstance(value, list) else show(value)


def state(*known: str) -> Show:
    """Show a string of a closed set, in upper or lower case."""
    allowed = {*known, *(each.upper() for each in known), *(each.lower() for each in known), HIDDEN, REDACTED}
    return lambda value: value if isinstance(value, str) and value in allowed else presence(value)


def entries(**known: Show) -> Show:
    """Show a dict's entries of known names."""

    def show(value: Any) -> Any:
        if not isinstance(value, dict):
            return presence(value)
        return {name: known[name](item) for name, item in value.items() if name in known}

    return show


def numbers(*names: str) -> Show:
    return entries(**dict.fromkeys(names, number))


def _matching(pattern: str) -> Show:
    matches = re.compile(rf"(?:{pattern})|{re.escape(HIDDEN)}|{re.escape(REDACTED)}").fullmatch
    return lambda value: value if isinstance(value, str) and matches(value) else presence(value)


_NO_KEY = r"(?!(?i:sk|pk|rk|xox[a-z]|gh[a-z]|glpat|hf|key|token|bearer|eyJ\w*|AKIA\w*)[-_.])"
provider = _matching(
    rf"{_NO_KEY}(?=.{{1,64}}\Z)[A-Za-z_][A-Za-z_0-9]{{0,40}}(?:\.[A-Za-z_][A-Za-z_0-9]{{0,40}})*(?:#\d{{1,3}})?"
)
"""Class name, such as ``DeepgramSTT`` or ``livekit.plugins.openai.llm.LLM``."""
model = _matching(
    rf"{_NO_KEY}(?=.{{1,64}}\Z)(?=[A-Za-z])[A-Za-z0-9]{{1,24}}(?:[-._:/][A-Za-z0-9]{{1,24}})*(?:@\d{{1,8}})?"
)
"""Model name, such as ``gpt-4o-mini`` or ``accounts/fireworks/models/llama-v3p1-70b``."""
version = _matching(r"\d{1,3}\.\d{1,3}(?:\.\d{1,3})?(?:[-.]?(?:a|b|rc|post|dev)\d{1,8})?")
component = state("stt", "llm", "tts", "vad", "eou", "realtime", "turn_detector", "avatar", "denoise")
run_id = _matching(rf"{_NO_KEY}(?=[A-Za-z_.:#-]+\d)[A-Za-z][A-Za-z0-9_.:#-]{{1,63}}")
"""A framework's id of a run or tool call: starts with a letter, contains a digit, no spaces."""
tool_type = state("local", "http", "sse", "stdio")

_TIMES = {"start_time": number, "end_time": number}
_LOOPING = {"looping": number}
_ATTRIBUTES = {"attributes": numbers("start_time")}
_COUNTS = numbers(
    "prompt_tokens", "completion_tokens", "total_tokens", "prompt_cached_tokens", "input_tokens", "output_tokens",
    "input_text_tokens", "input_audio_tokens", "input_image_tokens", "output_text_tokens", "output_audio_tokens",
    "output_image_tokens", "cached_tokens", "cached_text_tokens", "cached_audio_tokens", "cached_image_tokens",
    "thoughts_tokens", "reasoning_tokens",
)  # fmt: skip
_FALLBACK = entries(
    component_type=component,
    original_provider_label=provider,
    new_provider_label=provider,
    **dict.fromkeys(
        [
            "temporary_disable_sec", "permanent_disable_after_attempts", "recovery_attempt", "start_time", "end_time",
            "duration_ms", "original_connection_start", "original_connection_end", "original_connection_duration_ms",
            "new_connection_start", "new_connection_end", "new_connection_duration_ms", "is_recovery",
        ],
        number,
    ),
)  # fmt: skip
_MODES = state(
    "full_cascading", "partial_cascading", "llm_only", "stt_only", "tts_only", "stt_llm_only", "llm_tts_only",
    "stt_tts_only", "realtime", "hybrid", "full_s2s", "hybrid_stt", "hybrid_tts", "llm_only_realtime",
)  # fmt: skip
_SPEAKING = state("speaking", "listening", "thinking", "initializing", "idle", "away")
_STATUS = state("done", "cancelled", "superseded", "failed")
_TRANSCRIPT_TYPE = {"type": state("interim", "final")}

READABLE: Mapping[str, Mapping[str, Show]] = {
    "configure_pipeline": {"pipeline_mode": _MODES, "realtime_mode": _MODES, "active_components": list_of(component)},
    "set_provider_info": {"component_type": component, "provider_class": provider, "model_name": model},
    "update_provider_class": {"component_type": component, "provider_class": provider, "model_name": model},
    "set_eou_config": {
        "config": entries(
            mode=state("default", "adaptive", "vad", "stt", "realtime_llm", "manual"),
            min_max_speech_wait_timeout=list_of(number),
        )
    },
    "set_interrupt_config": {
        "config": entries(
            mode=state("hybrid", "vad_only", "stt_only", "vad", "stt", "adaptive", "default"),
            **dict.fromkeys(
                [
                    "interrupt_min_duration",
                    "interrupt_min_words",
                    "false_interrupt_pause_duration",
                    "resume_on_false_interrupt",
                ],
                number,
            ),
        )
    },
    "add_participant_metrics": {"kind": state("agent", "user"), "sip_user": number, "join_time": number},
    "set_traces_flow_manager": {"attached": number},
    "set_playground_manager": {"attached": number},
    "schedule_turn_complete": {"timeout": number},
    "on_user_speech_start": {"local_vad": number},
    "on_user_speech_end": {"local_vad": number, "at": number},
    "set_vad_config": {"vad_config": numbers("threshold", "min_speech_duration", "min_silence_duration")},
    "on_stt_complete": {"duration": number, "confidence": number},
    "set_stt_usage": {"input_tokens": number, "output_tokens": number, "total_tokens": number},
    "set_preemptive_generation_enabled": {"enabled": number},
    "on_wait_for_additional_speech": {"duration": number, "eou_probability": number},
    "on_wait_for_additional_speech_complete": {"actual_duration": number},
    "set_llm_usage": {"usage": _COUNTS},
    "add_tts_characters": {"count": number},
    "on_false_interrupt_start": {"pause_duration": number},
    "on_false_interrupt_escalated": {"word_count": number},
    "add_function_tool_call": _TIMES,
    "add_mcp_tool_call": {"tool_type": tool_type, **_TIMES},
    "on_knowledge_base_complete": {"scores": list_of(number)},
    "set_agent_response": {"emit_transport": number},
    "emit_user_transcript_transport": {**_TRANSCRIPT_TYPE, "utterance_ts": number},
    "emit_agent_transcript_transport": _TRANSCRIPT_TYPE,
    "add_error": {"source": state("STT", "LLM", "TTS", "VAD", "EOU", "TURN-D", "REALTIME")},
    "on_fallback_event": {"event_data": _FALLBACK},
    "on_background_audio_start": _LOOPING,
    "on_thinking_audio_start": _LOOPING,
    "set_realtime_usage": {"usage": _COUNTS},
    "set_local_vad_user_speech": {"owns": number},
    "log_record": {
        "level": state("TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL", "NOTSET"),
        "created": number,
    },
    "set_framework": {"name": state("videosdk-agents", "livekit-agents", "pipecat-ai"), "version": version},
    "framework_event": {
        "name": state("user_state_changed", "agent_state_changed"),
        "arguments": entries(created_at=number, old_state=_SPEAKING, new_state=_SPEAKING),
    },
    "name_run": {"component": component, "run_id": run_id},
    "name_usage": {"component": component, "run_id": run_id},
    "run_ended": {"component": component, "status": _STATUS, "run_id": run_id},
    "on_tts_complete": {"run_id": run_id},
    "add_audio_seconds": {"component": component, "seconds": number, "run_id": run_id},
    "tool_started": {"call_id": run_id, "run_id": run_id},
    "tool_progress": {"call_id": run_id},
    "tool_ended": {"call_id": run_id, "status": _STATUS},
    "traces.start_agent_joined_meeting": _ATTRIBUTES,
    "traces.start_agent_session_config": _ATTRIBUTES,
    "traces.start_agent_session_closed": _ATTRIBUTES,
    "traces.start_agent_session": _ATTRIBUTES,
    "traces.create_a2a_trace": _ATTRIBUTES,
    "traces.create_components_change_trace": {"time_data": numbers("start_time", "end_time")},
    "traces.create_pipeline_change_trace": {"time_data": numbers("start_time", "end_time")},
    "traces.end_a2a_trace": {"index": number},
    "traces.create_thinking_audio_start_span": {"looping": number, "start_time": number},
    "traces.create_thinking_audio_stop_span": {"end_time": number},
    "traces.create_background_audio_start_span": {"looping": number, "start_time": number},
    "traces.create_background_audio_stop_span": {"looping": number, "end_time": number},
}
"""Keyed by hook and argument. Of all other arguments only presence and length stay readable."""


def without_content(hook: str, payload: str) -> bytes | None:
    """The readable part of the payload; None if it has no content to hide.

    For an unknown hook, or a payload that is not a JSON object, everything is hidden.
    """
    try:
        args: Args = orjson.loads(payload)
        readable = dict.fromkeys([*HOOKS[hook].arguments, RAW, ALTERED], presence) | {HAPPENED: number}
        readable |= READABLE.get(hook, {})
        shown = {name: readable[name](value) for name, value in args.items() if name in readable}
    except (KeyError, ValueError, AttributeError):
        return b"{}"
    visible = orjson.dumps(shown)
    # compare bytes: decoding would lose a duplicate name
    return None if visible == payload.encode() else visible
