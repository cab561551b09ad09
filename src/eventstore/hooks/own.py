"""turnlog's own hooks, for facts that frameworks report and the reference has no hook for.

Under the ``videosdk-*`` rule sets they change no turn, payload, span or signal.
"""

from __future__ import annotations

from typing import Any, Literal, TypeGuard

from eventstore.hooks.arguments import scrub_args
from eventstore.hooks.declare import Record

_MAX_SECONDS = 2**63 / 1e9
"""Bound on seconds since the epoch, so that they fit into 64 bits as nanoseconds."""


def is_time(value: object) -> TypeGuard[float]:
    """Whether a log record may have been created at this time, in seconds since the epoch. Never raises.

    Only of these types: `isinstance` and comparisons may call code of the user's object.
    """
    return type(value) in (int, float) and -_MAX_SECONDS < value < _MAX_SECONDS  # type: ignore[operator]


class OwnHooks:
    _record: Record

    def log_record(
        self,
        level: str,
        logger: str,
        message: str,
        created: float | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> None:
        """A log record of the agent; ``created`` in seconds since the epoch, None (or not a time) means now.

        ``level`` and ``logger`` are names (``"WARNING"``, ``"my_agent.tools"``), ``message`` is the full text including
        a traceback. It may be the first event of a session.
        """
        time = created if is_time(created) else None
        args = {"level": level, "logger": logger, "message": message, "created": time, "attributes": attributes}
        self._record("log_record", args, scrub_args)

    def set_framework(self, name: str, version: str) -> None:
        """The framework this session runs in; an adapter's first event."""
        self._record("set_framework", {"name": name, "version": version})

    def framework_event(self, name: str, arguments: dict[str, Any]) -> None:
        """An event of the framework that has no hook of its own, kept for future rules."""
        self._record("framework_event", {"name": name, "arguments": arguments}, scrub_args)

    # runs: one invocation of a component -------------------------------------------------------------------------

    def name_run(self, component: Literal["stt", "llm", "tts", "realtime"], run_id: str) -> None:
        """The framework's id of the component's latest run."""
        self._record("name_run", {"component": component, "run_id": run_id})

    def name_usage(self, component: Literal["stt", "llm", "tts", "realtime"], run_id: str) -> None:
        """The run that caused the component's next usage report (``set_llm_usage``, ``add_tts_characters`` …).

        The run may have ended, or have been cancelled. A second report of a run whose usage is known repeats the first.
        """
        self._record("name_usage", {"component": component, "run_id": run_id})

    def run_ended(
        self,
        component: Literal["stt", "llm", "tts", "realtime"],
        status: Literal["done", "cancelled", "superseded", "failed"],
        run_id: str | None = None,
    ) -> None:
        """A run ended: its output is complete, or will not be continued. ``run_id`` None means the latest run.

        ``superseded``: replaced by a new run of the same component.
        """
        self._record("run_ended", {"component": component, "status": status, "run_id": run_id})

    def on_tts_complete(self, run_id: str | None = None) -> None:
        """The synthesis is complete; playback may continue for a while."""
        self._record("on_tts_complete", {"run_id": run_id})

    def add_audio_seconds(
        self, component: Literal["stt", "tts", "realtime"], seconds: float, run_id: str | None = None
    ) -> None:
        """Seconds of audio that a component received (STT) or generated (TTS), as providers bill them."""
        self._record("add_audio_seconds", {"component": component, "seconds": seconds, "run_id": run_id})

    # tools ------------------------------------------------------------------------------------------------------

    def tool_started(self, call_id: str, tool_name: str, tool_params: Any = None, run_id: str | None = None) -> None:
        """A tool call started; ``run_id`` is the LLM run that requested it."""
        args = {"call_id": call_id, "tool_name": tool_name, "tool_params": tool_params, "run_id": run_id}
        self._record("tool_started", args)

    def tool_progress(self, call_id: str, tool_response: Any = None) -> None:
        """A partial result of a tool call."""
        self._record("tool_progress", {"call_id": call_id, "tool_response": tool_response})

    def tool_ended(
        self, call_id: str, status: Literal["done", "cancelled", "failed"] = "done", tool_response: Any = None
    ) -> None:
        """A tool call ended. A call without this event is unfinished."""
        self._record("tool_ended", {"call_id": call_id, "status": status, "tool_response": tool_response})

    # the session ------------------------------------------------------------------------------------------------

    def session_ended(self, reason: str) -> None:
        """Why the session ended, in the framework's terms: ``participant_disconnected``, ``error``, ``completed`` …"""
        self._record("session_ended", {"reason": reason})

    def agent_active(self, name: str) -> None:
        """The agent that is active from now on: the first one, or the one after a hand-off."""
        self._record("agent_active", {"name": name})
