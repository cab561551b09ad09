"""The hooks of ours: facts that frameworks know and the reference's hooks cannot say.

Under the ``videosdk-*`` rule sets none of them changes a turn, payload, span or signal.
"""

from __future__ import annotations

from typing import Any, Literal

from eventstore.hooks.arguments import scrub_args
from eventstore.hooks.declare import Record


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
        """A line of the agent's own log; ``created`` in seconds since the epoch, None is now.

        ``level`` and ``logger`` are names (``"WARNING"``, ``"my_agent.tools"``), ``message`` is the whole text, with
        the traceback if there is one. A session begins with its first event, and that may be one of these.
        """
        args = {"level": level, "logger": logger, "message": message, "created": created, "attributes": attributes}
        self._record("log_record", args, scrub_args)

    def set_framework(self, name: str, version: str) -> None:
        """Which framework this session runs in; an adapter says so first."""
        self._record("set_framework", {"name": name, "version": version})

    def framework_event(self, name: str, arguments: dict[str, Any]) -> None:
        """What a framework did that no hook is for, kept for rules to come."""
        self._record("framework_event", {"name": name, "arguments": arguments}, scrub_args)

    # runs: one use of a component, from its start to its end ----------------------------------------------------

    def name_run(self, component: Literal["stt", "llm", "tts", "realtime"], run_id: str) -> None:
        """The framework's own id of the component's run that started last."""
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
        """A run is over: its output is complete, or no more of it will come. ``run_id`` None is the latest run.

        ``superseded``: another run of the same component was started in its place.
        """
        self._record("run_ended", {"component": component, "status": status, "run_id": run_id})

    def on_tts_complete(self, run_id: str | None = None) -> None:
        """The synthesis is complete; it may be heard for a while yet."""
        self._record("on_tts_complete", {"run_id": run_id})

    def add_audio_seconds(
        self, component: Literal["stt", "tts", "realtime"], seconds: float, run_id: str | None = None
    ) -> None:
        """Seconds of audio that a component was sent (STT) or has made (TTS), as providers bill them."""
        self._record("add_audio_seconds", {"component": component, "seconds": seconds, "run_id": run_id})

    # tools ------------------------------------------------------------------------------------------------------

    def tool_started(self, call_id: str, tool_name: str, tool_params: Any = None, run_id: str | None = None) -> None:
        """A tool call begins; ``run_id`` is the LLM run that requested it."""
        args = {"call_id": call_id, "tool_name": tool_name, "tool_params": tool_params, "run_id": run_id}
        self._record("tool_started", args)

    def tool_progress(self, call_id: str, tool_response: Any = None) -> None:
        """A part of a tool's result; more will come."""
        self._record("tool_progress", {"call_id": call_id, "tool_response": tool_response})

    def tool_ended(
        self, call_id: str, status: Literal["done", "cancelled", "failed"] = "done", tool_response: Any = None
    ) -> None:
        """A tool call is over. A call that never ends is unfinished."""
        self._record("tool_ended", {"call_id": call_id, "status": status, "tool_response": tool_response})

    # the session ------------------------------------------------------------------------------------------------

    def session_ended(self, reason: str) -> None:
        """Why the session ended, in the framework's word: ``participant_disconnected``, ``error``, ``completed`` …"""
        self._record("session_ended", {"reason": reason})

    def agent_active(self, name: str) -> None:
        """The agent that speaks from now on: the first one, or the one that took over after a hand-off."""
        self._record("agent_active", {"name": name})
