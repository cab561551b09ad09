"""The reference's metrics schema (``metrics_schema``), field for field.

Times ``*_time`` are seconds on the recorder's monotonic clock, unless stated otherwise. Latencies and durations are
milliseconds, except those that a provider reports in its own unit. Values from the agent are typed ``Any``: a hook
records them unchanged, and a rule must not turn a 0 into a 0.0. A field that starts ``UNSET`` is not in every release's
schema: rule sets that have it set it (at least to None); under all others it is left out of the output.

``gc=False``: these hold values from JSON and each other, never a cycle, so the garbage collector can skip them.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from projections.model import SessionDetails


class Component(msgspec.Struct, gc=False):
    """Common fields of all components; the reference never fills them in."""

    id: str = ""
    provider_class: str = ""
    model_name: str = ""


class Vad(Component, gc=False):
    vad_config: dict[str, Any] | None = None
    user_speech_start_time: float | None = None
    user_speech_end_time: float | None = None
    vad_min_silence_duration: Any = None
    vad_min_speech_duration: Any = None
    vad_threshold: Any = None
    vad_end_of_speech_time: float | None = None


class Stt(Component, gc=False):
    stt_config: dict[str, Any] | None = None
    stt_confidence: Any = None
    stt_input_tokens: Any = None
    stt_output_tokens: Any = None
    stt_total_tokens: Any = None
    stt_latency: float | None = None
    stt_start_time: float | None = None
    stt_end_time: float | None = None
    stt_duration: Any = None
    stt_preflight_end_time: float | None = None
    stt_preflight_latency: float | None = None
    stt_interim_end_time: float | None = None
    stt_interim_latency: float | None = None
    stt_last_interim_time: Any = UNSET
    stt_interim_count: Any = UNSET
    stt_ttfw: float | None = None
    stt_preemptive_generation_occurred: bool = False
    stt_preemptive_generation_enabled: bool = False
    stt_transcript: Any = None
    stt_preflight_transcript: Any = None


class Eou(Component, gc=False):
    eou_latency: float | None = None
    eou_start_time: float | None = None
    eou_end_time: float | None = None
    eou_probability: Any = None
    min_speech_wait_timeout: float | None = None
    max_speech_wait_timeout: float | None = None
    eou_avg_delay: float | None = None
    waited_for_additional_speech: bool = False
    wait_for_additional_speech_duration: Any = UNSET
    """Seconds; replaced by ``eou_wait_ms`` with ``eou_wait_in_ms``."""
    eou_wait_ms: Any = UNSET


class Kb(Component, gc=False):
    kb_id: Any = None
    kb_documents: Any = None
    kb_scores: Any = None
    kb_retrieval_latency: float | None = None
    kb_start_time: float | None = None
    kb_end_time: float | None = None
    kb_retrievals: Any = UNSET
    kb_names: Any = UNSET


class Llm(Component, gc=False):
    llm_config: dict[str, Any] | None = None
    llm_input: Any = None
    llm_latency: float | None = None
    llm_start_time: float | None = None
    llm_end_time: float | None = None
    llm_duration: float | None = None
    llm_first_token_time: float | None = None
    llm_ttft: float | None = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None
    prompt_cached_tokens: Any = None
    tokens_per_second: Any = None


class Tts(Component, gc=False):
    tts_config: dict[str, Any] | None = None
    tts_latency: float | None = None
    tts_start_time: float | None = None
    tts_end_time: float | None = None
    tts_duration: float | None = None
    tts_characters: Any = 0
    tts_first_byte_time: float | None = None
    ttfb: float | None = None


class Realtime(Component, gc=False):
    realtime_config: dict[str, Any] | None = None
    realtime_ttfb: float | None = None
    realtime_input_tokens: Any = None
    realtime_total_tokens: Any = None
    realtime_output_tokens: Any = None
    realtime_input_text_tokens: Any = None
    realtime_input_audio_tokens: Any = None
    realtime_input_image_tokens: Any = None
    realtime_input_cached_tokens: Any = None
    realtime_thoughts_tokens: Any = None
    realtime_cached_text_tokens: Any = None
    realtime_cached_audio_tokens: Any = None
    realtime_cached_image_tokens: Any = None
    realtime_output_text_tokens: Any = None
    realtime_output_audio_tokens: Any = None
    realtime_output_image_tokens: Any = None


class Interruption(msgspec.Struct, gc=False):
    false_interrupt_pause_duration: Any = None
    resume_on_false_interrupt: bool | None = None
    interrupt_words: int | None = None
    interrupt_duration: float | None = None
    interrupt_reason: list[str] = []
    interrupt_start_time: float | None = None
    interrupt_end_time: float | None = None
    is_false_interrupt: bool = False
    false_interrupt_duration: float | None = None
    false_interrupt_words: Any = None
    false_interrupt_start_time: float | None = None
    false_interrupt_end_time: float | None = None
    resumed_after_false_interrupt: bool = False
    interrupt_mode: str | None = None
    interrupt_min_duration: float | None = None
    interrupt_min_words: int | None = None


class FunctionTool(msgspec.Struct, gc=False):
    tool_name: Any = ""
    tool_params: Any = {}
    tool_response: Any = {}
    start_time: Any = None
    end_time: Any = None
    latency: Any = None


class McpTool(msgspec.Struct, gc=False):
    type: Any = "local"
    tool_url: Any = None
    tool_params: Any = {}
    tool_response: Any = {}
    start_time: Any = None
    end_time: Any = None
    latency: Any = None


class Fallback(msgspec.Struct, gc=False):
    """A provider failed and a different one took over, or it recovered."""

    component_type: Any = ""
    temporary_disable_sec: Any = 0
    permanent_disable_after_attempts: Any = 0
    recovery_attempt: Any = 0
    message: Any = ""
    start_time: Any = None
    end_time: Any = None
    duration_ms: Any = None
    original_provider_label: Any = None
    original_connection_start: Any = None
    original_connection_end: Any = None
    original_connection_duration_ms: Any = None
    new_provider_label: Any = None
    new_connection_start: Any = None
    new_connection_end: Any = None
    new_connection_duration_ms: Any = None
    is_recovery: Any = False


class TimelineEvent(msgspec.Struct, gc=False):
    """An interval of ``user_speech``, ``agent_speech``, ``background_audio`` or ``thinking_audio``."""

    event_type: str = ""
    start_time: float | None = 0.0
    end_time: float | None = None
    duration_ms: float | None = None
    text: Any = ""


class Turn(msgspec.Struct, gc=False):
    """One exchange between user and agent.

    The reference's ``session_metrics`` is left out, as all turns of a call share one session: see `turn_dict`.
    """

    turn_id: str = ""
    is_interrupted: bool = False
    user_speech_start_time: float | None = None
    user_speech_end_time: float | None = None
    user_speech_duration: float | None = None
    user_speech: Any = None
    agent_speech_start_time: float | None = None
    agent_speech_end_time: float | None = None
    agent_speech_duration: float | None = None
    agent_speech: Any = None
    e2e_latency: float | None = None
    function_tools_called: list[Any] = []
    function_tool_timestamps: list[dict[str, Any]] = []
    is_a2a_enabled: bool = False
    handoff_occurred: bool = False
    errors: list[dict[str, Any]] = []
    timestamp: float = 0.0
    """When the turn was opened, in seconds since the epoch."""
    preemtive_generation_enabled: Any = False
    vad_metrics: list[Vad] = []
    stt_metrics: list[Stt] = []
    eou_metrics: list[Eou] = []
    kb_metrics: list[Kb] = []
    llm_metrics: list[Llm] = []
    tts_metrics: list[Tts] = []
    interruption_metrics: Interruption | None = None
    realtime_metrics: list[Realtime] = []
    timeline_event_metrics: list[TimelineEvent] = []
    fallback_events: list[Fallback] = []
    function_tool_metrics: list[FunctionTool] = []
    mcp_tool_metrics: list[McpTool] = []
    background_audio_file_path: str | None = None
    background_audio_looping: Any = None
    thinking_audio_file_path: str | None = None
    thinking_audio_looping: Any = None
    thinking_audio_override_thinking: bool | None = None


_ATOMS = frozenset({str, int, float, bool, type(None)})


def snapshot(value: Any) -> Any:
    """A copy of the value that does not change with the turn."""
    return value if type(value) in _ATOMS else msgspec.to_builtins(value)


def turn_dict(turn: Turn, session: SessionDetails | None) -> dict[str, Any]:
    """The turn in the shape of the reference's ``TurnMetrics``, as a deep copy.

    Before its completion is attempted (``session`` None), a turn has an empty session that starts with the turn.
    """
    fields: dict[str, Any] = msgspec.to_builtins(turn)
    fields["session_metrics"] = msgspec.to_builtins(session or SessionDetails(session_start_time=turn.timestamp))
    return fields
