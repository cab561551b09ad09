"""The hooks of the metrics collector: names, parameters and defaults as in the reference's ``MetricsCollector``.

The vocabulary is derived from this class, and the recorder inherits it. To add a hook, add a method here and a handler
in `projections`.
"""

from __future__ import annotations

from typing import Any

from eventstore.hooks.arguments import config_reader, message_as_text, pipeline_args, scrub_args
from eventstore.hooks.declare import Record, optional_since, payload_fields, without_defaults

eou_config_args = config_reader("mode", "min_max_speech_wait_timeout")
interrupt_config_args = config_reader(
    "mode",
    "interrupt_min_duration",
    "interrupt_min_words",
    "false_interrupt_pause_duration",
    "resume_on_false_interrupt",
)
_SPEECH_END = {"local_vad": False, "at": None}
_KB_COMPLETE = {"retrievals": None}
_AGENT_RESPONSE = {"emit_transport": True}


class CollectorHooks:
    """One method per hook. Times are in seconds of ``time.perf_counter()`` unless stated otherwise."""

    _record: Record

    # session ---------------------------------------------------------------------------------------------------

    def configure_pipeline(self, pipeline_mode: Any, realtime_mode: Any = None, active_components: Any = None) -> None:
        """The composition of the agent; modes and components may be enums or strings."""
        self._record(
            "configure_pipeline",
            {"pipeline_mode": pipeline_mode, "realtime_mode": realtime_mode, "active_components": active_components},
            pipeline_args,
        )

    def set_session_id(self, session_id: str) -> None:
        """The framework's session id. (The log's session id is set when the recorder is created.)"""
        self._record("set_session_id", {"session_id": session_id})

    def set_system_instructions(self, instructions: str) -> None:
        self._record("set_system_instructions", {"instructions": instructions}, scrub_args)

    def set_provider_info(self, component_type: str, provider_class: str, model_name: str) -> None:
        """Provider and model of a component: ``stt``, ``llm``, ``tts``, ``vad``, ``eou`` or ``realtime``."""
        self._record(
            "set_provider_info",
            {"component_type": component_type, "provider_class": provider_class, "model_name": model_name},
            scrub_args,
        )

    def update_provider_class(self, component_type: str, provider_class: str, model_name: str = "") -> None:
        """A fallback switched the provider; ``component_type`` in any case, as in ``"STT"``."""
        self._record(
            "update_provider_class",
            {"component_type": component_type, "provider_class": provider_class, "model_name": model_name},
            scrub_args,
        )

    @payload_fields(config=...)
    def set_eou_config(self, eou_config: Any) -> None:
        """The end-of-utterance settings: an object with attributes, or None."""
        self._record("set_eou_config", {"config": eou_config}, eou_config_args)

    @payload_fields(config=...)
    def set_interrupt_config(self, interrupt_config: Any) -> None:
        """The interruption settings: an object with attributes, or None."""
        self._record("set_interrupt_config", {"config": interrupt_config}, interrupt_config_args)

    def add_participant_metrics(
        self,
        participant_id: str,
        kind: str | None = None,
        sip_user: bool | None = None,
        join_time: float | None = None,
        meta: dict[str, Any] | None = None,
    ) -> None:
        """A participant joined: ``kind`` is ``agent`` or ``user``, ``join_time`` in seconds since the epoch."""
        self._record(
            "add_participant_metrics",
            {
                "participant_id": participant_id,
                "kind": kind,
                "sip_user": sip_user,
                "join_time": join_time,
                "meta": meta,
            },
        )

    @payload_fields(attached=...)
    def set_traces_flow_manager(self, manager: Any) -> None:
        """Turns are traced while a manager is attached; None detaches it."""
        self._record("set_traces_flow_manager", {"attached": manager is not None})

    @payload_fields(attached=...)
    def set_playground_manager(self, manager: Any) -> None:
        """Metrics go to the playground while a manager is attached; None detaches it."""
        self._record("set_playground_manager", {"attached": manager is not None})

    def finalize_session(self) -> None:
        """The session ends; an open turn is completed."""
        self._record("finalize_session")

    # turns -----------------------------------------------------------------------------------------------------

    def start_turn(self) -> None:
        """A new turn begins; an open turn is completed first."""
        self._record("start_turn")

    def complete_turn(self) -> None:
        self._record("complete_turn")

    def schedule_turn_complete(self, timeout: float = 1.0) -> None:
        """Complete the turn in ``timeout`` seconds; each call restarts the timer (realtime models)."""
        self._record("schedule_turn_complete", {"timeout": timeout})

    def finalize_realtime_turn(self) -> None:
        """The timer of `schedule_turn_complete` fired."""
        self._record("finalize_realtime_turn")

    # voice activity --------------------------------------------------------------------------------------------

    @optional_since(local_vad=False)
    def on_user_speech_start(self, local_vad: bool = False) -> None:
        """The user starts to speak; ``local_vad`` (1.0.27): detected by a VAD of the agent."""
        self._record("on_user_speech_start", None if local_vad is False else {"local_vad": local_vad})

    @optional_since(**_SPEECH_END)
    def on_user_speech_end(self, local_vad: bool = False, at: float | None = None) -> None:
        """The user stops speaking; ``at`` (1.0.27): end of speech, as a detector reports it only after some silence."""
        self._record("on_user_speech_end", without_defaults({"local_vad": local_vad, "at": at}, _SPEECH_END) or None)

    def set_vad_config(self, vad_config: dict[str, Any]) -> None:
        """``threshold``, ``min_speech_duration`` and ``min_silence_duration`` (seconds) of the detector."""
        self._record("set_vad_config", {"vad_config": vad_config})

    # speech to text --------------------------------------------------------------------------------------------

    def on_stt_start(self) -> None:
        self._record("on_stt_start")

    def on_stt_complete(self, transcript: str = "", duration: float = 0.0, confidence: float = 0.0) -> None:
        """The final transcript; ``duration`` as the provider reports it."""
        self._record("on_stt_complete", {"transcript": transcript, "duration": duration, "confidence": confidence})

    def on_stt_preflight_end(self, transcript: str = "") -> None:
        """An early transcript, good enough to start the LLM on."""
        self._record("on_stt_preflight_end", {"transcript": transcript})

    def on_stt_interim_end(self) -> None:
        self._record("on_stt_interim_end")

    def set_stt_usage(self, input_tokens: int = 0, output_tokens: int = 0, total_tokens: int = 0) -> None:
        self._record(
            "set_stt_usage",
            {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total_tokens},
        )

    def set_preemptive_generation_enabled(self, enabled: bool) -> None:
        """Whether the LLM may start on an early transcript, from the next turn on."""
        self._record("set_preemptive_generation_enabled", {"enabled": enabled})

    # end of utterance ------------------------------------------------------------------------------------------

    def on_eou_start(self) -> None:
        self._record("on_eou_start")

    def on_eou_complete(self) -> None:
        self._record("on_eou_complete")

    def on_wait_for_additional_speech(self, duration: float, eou_probability: float) -> None:
        """The user may continue: wait ``duration`` more seconds."""
        self._record("on_wait_for_additional_speech", {"duration": duration, "eou_probability": eou_probability})

    # language model --------------------------------------------------------------------------------------------

    def on_llm_start(self) -> None:
        self._record("on_llm_start")

    def on_llm_first_token(self) -> None:
        self._record("on_llm_first_token")

    def on_llm_complete(self) -> None:
        self._record("on_llm_complete")

    def set_llm_input(self, text: str) -> None:
        self._record("set_llm_input", {"text": text})

    def set_llm_usage(self, usage: dict[str, Any]) -> None:
        """``prompt_tokens``, ``completion_tokens``, ``total_tokens`` and ``prompt_cached_tokens``."""
        self._record("set_llm_usage", {"usage": usage})

    # text to speech --------------------------------------------------------------------------------------------

    def on_tts_start(self) -> None:
        self._record("on_tts_start")

    def on_tts_first_byte(self) -> None:
        self._record("on_tts_first_byte")

    def on_agent_speech_start(self) -> None:
        """The agent starts to speak."""
        self._record("on_agent_speech_start")

    def on_agent_speech_end(self) -> None:
        self._record("on_agent_speech_end")

    def add_tts_characters(self, count: int) -> None:
        self._record("add_tts_characters", {"count": count})

    # interruptions ---------------------------------------------------------------------------------------------

    def on_interrupted(self) -> None:
        """The user barged in."""
        self._record("on_interrupted")

    def on_false_interrupt_start(self, pause_duration: float | None = None) -> None:
        """The agent pauses for a possible barge-in; ``pause_duration`` in seconds, as configured."""
        self._record("on_false_interrupt_start", {"pause_duration": pause_duration})

    def on_false_interrupt_resume(self) -> None:
        self._record("on_false_interrupt_resume")

    def on_false_interrupt_escalated(self, word_count: int | None = None) -> None:
        """The pause turned out to be a real barge-in."""
        self._record("on_false_interrupt_escalated", {"word_count": word_count})

    # tools and knowledge ---------------------------------------------------------------------------------------

    def add_function_tool_call(
        self,
        tool_name: str,
        tool_params: dict[str, Any] | list[Any] | None = None,
        tool_response: dict[str, Any] | None = None,
        start_time: float | None = None,
        end_time: float | None = None,
    ) -> None:
        self._record(
            "add_function_tool_call",
            {
                "tool_name": tool_name,
                "tool_params": tool_params,
                "tool_response": tool_response,
                "start_time": start_time,
                "end_time": end_time,
            },
            scrub_args,
        )

    def add_mcp_tool_call(
        self,
        tool_type: str = "local",
        tool_url: str | None = None,
        tool_params: dict[str, Any] | list[Any] | None = None,
        tool_response: dict[str, Any] | None = None,
        start_time: float | None = None,
        end_time: float | None = None,
    ) -> None:
        """A call of an MCP server; ``tool_type`` is ``local`` or ``http``."""
        self._record(
            "add_mcp_tool_call",
            {
                "tool_type": tool_type,
                "tool_url": tool_url,
                "tool_params": tool_params,
                "tool_response": tool_response,
                "start_time": start_time,
                "end_time": end_time,
            },
            scrub_args,
        )

    def on_knowledge_base_start(self, kb_id: str | None = None) -> None:
        self._record("on_knowledge_base_start", {"kb_id": kb_id})

    @optional_since(**_KB_COMPLETE)
    def on_knowledge_base_complete(
        self, documents: list[str], scores: list[float], retrievals: list[dict[str, Any]] | None = None
    ) -> None:
        """The retrieved documents; ``retrievals`` since 1.0.30."""
        args = {"documents": documents, "scores": scores, "retrievals": retrievals}
        self._record("on_knowledge_base_complete", without_defaults(args, _KB_COMPLETE))

    # transcripts -----------------------------------------------------------------------------------------------

    def set_user_transcript(self, transcript: str) -> None:
        self._record("set_user_transcript", {"transcript": transcript})

    @optional_since(**_AGENT_RESPONSE)
    def set_agent_response(self, response: str, emit_transport: bool = True) -> None:
        """The whole response; ``emit_transport`` (1.0.11): whether it is sent to clients."""
        args = {"response": response, "emit_transport": emit_transport}
        self._record("set_agent_response", without_defaults(args, _AGENT_RESPONSE))

    # failures --------------------------------------------------------------------------------------------------

    def set_a2a_handoff(self) -> None:
        """The call was handed to another agent."""
        self._record("set_a2a_handoff")

    def add_error(self, source: str, message: str) -> None:
        """``source``: ``STT``, ``LLM``, ``TTS``, ``VAD``, ``TURN-D``, ``REALTIME``; ``message`` may be an exception."""
        self._record("add_error", {"source": source, "message": message}, message_as_text)

    def on_fallback_event(self, event_data: dict[str, Any]) -> None:
        """A provider failed or recovered; the keys are the fields of `projections.model.Fallback`."""
        self._record("on_fallback_event", {"event_data": event_data})

    # other audio ------------------------------------------------------------------------------------------------

    def on_background_audio_start(self, file_path: str | None = None, looping: bool = False) -> None:
        self._record("on_background_audio_start", {"file_path": file_path, "looping": looping}, scrub_args)

    def on_background_audio_stop(self) -> None:
        self._record("on_background_audio_stop")

    def on_thinking_audio_start(self, file_path: str | None = None, looping: bool = False) -> None:
        self._record("on_thinking_audio_start", {"file_path": file_path, "looping": looping}, scrub_args)

    def on_thinking_audio_stop(self) -> None:
        self._record("on_thinking_audio_stop")

    # speech-to-speech models -----------------------------------------------------------------------------------

    def set_realtime_usage(self, usage: dict[str, Any]) -> None:
        """Token counts, flat: ``input_tokens``, ``output_text_tokens``, ``cached_audio_tokens``, …"""
        self._record("set_realtime_usage", {"usage": usage})

    def set_realtime_model_error(self, error: dict[str, Any]) -> None:
        self._record("set_realtime_model_error", {"error": error})
