"""The hooks of the traces manager: names, parameters and defaults as in the reference's ``TracesFlowManager``.

In the log their names have the prefix ``traces.``, as in ``recorder.traces``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from eventstore.hooks.arguments import scrub_args, span_attributes
from eventstore.hooks.declare import Record, payload_fields

Attributes = dict[str, Any]


class A2ASpan(NamedTuple):
    """Handle returned by `TracesHooks.create_a2a_trace`, for `TracesHooks.end_a2a_trace`."""

    number: int


class TracesHooks:
    """One method per hook. ``attributes`` may have a ``start_time`` (seconds, ``time.perf_counter()``)."""

    _record: Record
    _a2a_created: int = 0

    @payload_fields()
    def set_session_metrics(self, session_metrics: Any) -> None:
        """Passes the collector's session; the log has it already, so the payload is empty."""
        self._record("traces.set_session_metrics")

    def set_session_id(self, session_id: str) -> None:
        self._record("traces.set_session_id", {"session_id": session_id})

    def start_agent_joined_meeting(self, attributes: Attributes) -> None:
        """Opens the root span; ``agent_name`` and ``peerId`` name it."""
        self._record("traces.start_agent_joined_meeting", {"attributes": attributes}, span_attributes)

    async def start_agent_session_config(self, attributes: Attributes) -> None:
        self._record("traces.start_agent_session_config", {"attributes": attributes}, span_attributes)

    def end_agent_session_config(self) -> None:
        self._record("traces.end_agent_session_config")

    async def start_agent_session_closed(self, attributes: Attributes) -> None:
        self._record("traces.start_agent_session_closed", {"attributes": attributes}, span_attributes)

    def end_agent_session_closed(self) -> None:
        self._record("traces.end_agent_session_closed")

    async def start_agent_session(self, attributes: Attributes) -> None:
        """Opens the session's span and, in it, the one that holds the turns."""
        self._record("traces.start_agent_session", {"attributes": attributes}, span_attributes)

    def start_main_turn(self) -> None:
        self._record("traces.start_main_turn")

    def end_main_turn(self) -> None:
        self._record("traces.end_main_turn")

    def agent_say_called(self, message: str) -> None:
        self._record("traces.agent_say_called", {"message": message})

    def agent_reply_called(self, instructions: str) -> None:
        self._record("traces.agent_reply_called", {"instructions": instructions})

    def create_components_change_trace(
        self,
        components_change_status: dict[str, Any],
        components_change_data: dict[str, Any],
        time_data: dict[str, Any],
    ) -> None:
        """Components were swapped in mid-call; ``time_data`` has ``start_time`` and ``end_time``, in seconds."""
        self._record(
            "traces.create_components_change_trace",
            {
                "components_change_status": components_change_status,
                "components_change_data": components_change_data,
                "time_data": time_data,
            },
            span_attributes,
        )

    def create_pipeline_change_trace(
        self,
        time_data: dict[str, Any],
        original_pipeline_config: dict[str, Any],
        new_pipeline_config: dict[str, Any],
    ) -> None:
        self._record(
            "traces.create_pipeline_change_trace",
            {
                "time_data": time_data,
                "original_pipeline_config": original_pipeline_config,
                "new_pipeline_config": new_pipeline_config,
            },
            span_attributes,
        )

    def create_a2a_trace(self, name: str, attributes: Attributes) -> A2ASpan:
        """A message to another agent; pass the returned handle to `end_a2a_trace`."""
        span = A2ASpan(self._a2a_created)
        self._a2a_created += 1
        self._record("traces.create_a2a_trace", {"name": name, "attributes": attributes}, span_attributes)
        return span

    @payload_fields(index=..., message="")
    def end_a2a_trace(self, span: A2ASpan | None, message: str = "") -> None:
        index = span.number if type(span) is A2ASpan else self._a2a_created
        self._record("traces.end_a2a_trace", {"index": index, "message": message})

    def end_a2a_communication(self) -> None:
        self._record("traces.end_a2a_communication")

    def create_thinking_audio_start_span(
        self, file_path: str | None = None, looping: bool = False, start_time: float | None = None
    ) -> None:
        self._record(
            "traces.create_thinking_audio_start_span",
            {"file_path": file_path, "looping": looping, "start_time": start_time},
            scrub_args,
        )

    def create_thinking_audio_stop_span(self, end_time: float | None = None) -> None:
        self._record("traces.create_thinking_audio_stop_span", {"end_time": end_time})

    def create_background_audio_start_span(
        self, file_path: str | None = None, looping: bool = False, start_time: float | None = None
    ) -> None:
        self._record(
            "traces.create_background_audio_start_span",
            {"file_path": file_path, "looping": looping, "start_time": start_time},
            scrub_args,
        )

    def create_background_audio_stop_span(
        self, file_path: str | None = None, looping: bool = False, end_time: float | None = None
    ) -> None:
        self._record(
            "traces.create_background_audio_stop_span",
            {"file_path": file_path, "looping": looping, "end_time": end_time},
            scrub_args,
        )

    def end_agent_session(self) -> None:
        self._record("traces.end_agent_session")

    def agent_meeting_end(self) -> None:
        """Closes all open spans, the root span last."""
        self._record("traces.agent_meeting_end")
