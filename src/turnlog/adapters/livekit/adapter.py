"""The adapter for LiveKit Agents: `attach` records an ``AgentSession`` (``docs/livekit.md``).

This module subscribes to the session's events; `turnlog.adapters.livekit.call` maps them to hooks. Every callback is
guarded and none waits for the store, so the framework is never affected.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any, get_args

from livekit import rtc  # type: ignore[import-not-found, unused-ignore]
from livekit.agents import llm, stt, tts  # type: ignore[import-not-found, unused-ignore]
from livekit.agents.voice.events import EventTypes  # type: ignore[import-not-found, unused-ignore]

from eventstore import Store
from eventstore.hooks.arguments import as_text
from turnlog.adapters.guard import Guard, Guarded
from turnlog.adapters.livekit.call import LiveKitCall, Speech
from turnlog.recorder import Recorder

log = logging.getLogger("turnlog")

_SOURCES = {"stt_error": "STT", "llm_error": "LLM", "tts_error": "TTS", "realtime_model_error": "REALTIME"}
_FALLBACKS = {"stt": stt.FallbackAdapter, "llm": llm.FallbackAdapter, "tts": tts.FallbackAdapter}


def attach(session: Any, store: Store, *, session_id: str | None = None, **recorder: Any) -> LiveKitAdapter:
    """Record an ``AgentSession`` in ``store``, from now until it closes. Call it before ``session.start()``.

    ``session_id`` names the call in the log: take it from the job or the room; None is a random one. ``recorder`` is
    passed to `turnlog.Recorder`: ``durability``, ``journal``, … Errors of its constructor (a closed store, an invalid
    session id) are raised; afterwards nothing is.
    """
    return LiveKitAdapter(session, Recorder(store, session_id, **recorder))


class LiveKitAdapter(Guarded):
    """Records one session. ``failed`` counts the events that could not be recorded, ``last_error`` has the reason."""

    def __init__(self, session: Any, recorder: Recorder) -> None:
        self.recorder = recorder
        self.guard = Guard(log, "a LiveKit event")
        self._session = session
        self._realtime = isinstance(session.llm, llm.RealtimeModel)
        interruption = session.options.interruption
        resumes = interruption["resume_false_interruption"] and not self._realtime
        self._call = LiveKitCall(
            recorder,
            realtime=self._realtime,
            pause_seconds=interruption["false_interruption_timeout"] if resumes else None,
        )
        self._listening: list[tuple[Any, str, Callable[..., None]]] = []
        self._output: Any = None
        self._providers: dict[str, tuple[str, str]] = {}
        self._finished = False
        self._closing = threading.Lock()
        self._stored: bool | None = None
        self.guard(self._record_setup)()
        for name in get_args(EventTypes):
            self._listen(session, name, self._event_handler(name))

    # subscriptions ---------------------------------------------------------------------------------------------

    def _listen(self, emitter: Any, name: str, call: Callable[[Any], Any]) -> None:
        callback = self._until_finished(call)
        # the base class's `on`: the session's own warns about metrics_collected, the event with the metrics
        rtc.EventEmitter.on(emitter, name, callback)
        self._listening.append((emitter, name, callback))

    def _until_finished(self, call: Callable[[Any], Any]) -> Callable[[Any], None]:
        guarded = self.guard(call)

        def callback(event: Any) -> None:
            if not self._finished:
                guarded(event)

        return callback

    def _event_handler(self, name: str) -> Callable[[Any], None]:
        handler = getattr(self, f"_{name}", None)

        def handle(event: Any) -> None:
            self._call.notice_interruptions()
            if handler is None or not handler(event):
                self.recorder.framework_event(name, _plain(event))

        return handle

    def _speech(self) -> Speech | None:
        handle = self._session.current_speech
        return None if handle is None else Speech(handle.id, handle.interrupted)

    # the session's events; a handler returns True if its hooks record the whole event -----------------------------

    def _user_state_changed(self, event: Any) -> None:
        self._call.user_state_changed(event)

    def _agent_state_changed(self, event: Any) -> None:
        self._follow_output()
        self._call.agent_state_changed(event, self._speech(), audible=self._output is not None)

    def _user_input_transcribed(self, event: Any) -> None:
        self._call.user_input_transcribed(event)

    def _conversation_item_added(self, event: Any) -> bool:
        item = event.item
        if item.type == "message" and item.role == "user":
            self._call.user_message(item)
        elif item.type == "message" and item.role == "assistant":
            self._call.agent_message(item)
        elif item.type == "agent_handoff":
            self._agent_handoff(item)
        plain = item.model_dump(mode="json", exclude={"content"})  # it may contain audio or images
        plain["text"] = getattr(item, "text_content", None)
        self.recorder.framework_event("conversation_item_added", {"item": plain, "created_at": event.created_at})
        return True

    def _agent_handoff(self, item: Any) -> None:
        agent = self._session.current_agent
        self.recorder.agent_active(item.new_agent_id)
        if item.old_agent_id is not None:
            self.recorder.set_a2a_handoff()
        self.recorder.set_system_instructions(str(agent.instructions))
        for component in ("stt", "llm", "tts", "vad"):
            self._component(component, getattr(agent, component, None))

    def _metrics_collected(self, event: Any) -> None:
        metrics = event.metrics
        component = metrics.type.removesuffix("_metrics")
        if component in _FALLBACKS and metrics.metadata is not None:
            self._provider_used(component, metrics.label, metrics.metadata.model_name or "")
        self._call.metrics(metrics)

    def _speech_created(self, event: Any) -> bool:
        handle = event.speech_handle
        self._call.speech_created(handle)
        handle.add_done_callback(self._until_finished(self._speech_done))
        self._follow_output()
        self.recorder.framework_event("speech_created", {**_plain(event), "speech_id": handle.id})
        return True

    def _speech_done(self, handle: Any) -> None:
        state = {"speech_id": handle.id, "interrupted": handle.interrupted, "scheduled": handle.scheduled}
        self.recorder.framework_event("speech_done", state)
        self._call.speech_done(handle)

    def _tool_execution_updated(self, event: Any) -> None:
        self._call.tool_execution_updated(event)

    def _function_tools_executed(self, event: Any) -> None:
        self._call.function_tools_executed(event)

    def _error(self, event: Any) -> bool:
        error = event.error
        source = _SOURCES.get(getattr(error, "type", ""), type(error).__name__)
        cause = getattr(error, "error", error)
        raw = {name: getattr(error, name, None) for name in ("label", "recoverable", "timestamp")}
        at = raw["timestamp"] or event.created_at
        self.recorder.happened(round(at * 1e9), raw).add_error(source, f"{type(cause).__name__}: {as_text(cause)}")
        return True

    def _session_usage_updated(self, event: Any) -> bool:
        return True  # the sum of the metrics; `_close` records the last one

    def _close(self, event: Any) -> bool:
        usage = [used.model_dump(mode="json") for used in self._session.usage.model_usage]
        self.recorder.framework_event("session_usage", {"model_usage": usage})
        self.recorder.framework_event("close", {"reason": event.reason, "error": as_text(event.error)})
        self.recorder.session_ended(event.reason.value)
        self._finish()
        threading.Thread(target=self.close, name="turnlog-livekit-close").start()  # may wait for the store
        return True

    # components ------------------------------------------------------------------------------------------------

    def _component(self, kind: str, component: Any) -> None:
        """Record a component's provider; for a fallback adapter, subscribe to its providers' availability."""
        label = getattr(component, "label", None) or getattr(component, "_label", None)
        if not isinstance(label, str):
            return
        kind = "realtime" if isinstance(component, llm.RealtimeModel) else kind
        self._providers[kind] = label, component.model
        self.recorder.set_provider_info(kind, label, component.model)
        if kind in _FALLBACKS and isinstance(component, _FALLBACKS[kind]):
            self._listen(component, f"{kind}_availability_changed", lambda event: self._available(kind, event))

    def _available(self, kind: str, event: Any) -> None:
        self._call.fallback(kind.upper(), getattr(event, kind).label, event.available)

    def _provider_used(self, kind: str, label: str, model: str) -> None:
        """Record the provider named in the metrics, if it has changed."""
        if self._providers.get(kind, ("", ""))[0] and self._providers[kind] != (label, model):
            self._providers[kind] = label, model
            self.recorder.update_provider_class(kind.upper(), label, model)

    def _follow_output(self) -> None:
        """Subscribe to the audio output, which has the exact playback times; it may be replaced during the call."""
        output = self._session.output.audio
        if output is not None and output is not self._output:
            self._listen(output, "playback_started", self._playback_started)
            self._listen(output, "playback_finished", self._playback_finished)
        self._output = output

    def _playback_started(self, event: Any) -> None:
        self._call.playback_started(event.created_at, self._speech())

    def _playback_finished(self, event: Any) -> None:
        self._call.playback_finished(event.interrupted, self._speech())

    # lifecycle -------------------------------------------------------------------------------------------------

    def _record_setup(self) -> None:
        recorder, session = self.recorder, self._session
        recorder.set_framework("livekit-agents", version("livekit-agents"))
        parts = {"stt": session.stt, "llm": session.llm, "tts": session.tts, "vad": session.vad}
        parts = {name: part for name, part in parts.items() if part is not None}
        names = ["realtime_model" if self._realtime and name == "llm" else name for name in parts]
        recorder.configure_pipeline(
            _mode(parts, self._realtime), _realtime_mode(parts) if self._realtime else None, names
        )
        for kind, part in parts.items():
            self._component(kind, part)
        options = session.options
        endpointing, interruption = options.endpointing, options.interruption
        wait = [endpointing.get("min_delay"), endpointing.get("max_delay")]
        if isinstance(session.turn_detection, str):
            recorder.set_provider_info("eou", session.turn_detection, "")
        else:
            self._component("eou", session.turn_detection)
        recorder.set_eou_config({"mode": as_text(session.turn_detection), "min_max_speech_wait_timeout": wait})
        recorder.set_interrupt_config(
            {
                "mode": as_text(session.interruption_detection),
                "interrupt_min_duration": interruption["min_duration"],
                "interrupt_min_words": interruption["min_words"],
                "false_interrupt_pause_duration": interruption["false_interruption_timeout"],
                "resume_on_false_interrupt": interruption["resume_false_interruption"],
            }
        )
        recorder.set_preemptive_generation_enabled(bool(options.preemptive_generation["enabled"]))
        recorder.set_traces_flow_manager(recorder.traces)
        recorder.traces.start_agent_joined_meeting({"agent_name": "livekit", "peerId": recorder.session_id})
        _run_hook(recorder.traces.start_agent_session({}))

    def _finish(self) -> None:
        """Unsubscribe and record the last hooks."""
        if self._finished:
            return
        for emitter, name, callback in self._listening:
            emitter.off(name, callback)
        self.recorder.finalize_session()
        self.recorder.traces.end_agent_session()
        self.recorder.traces.agent_meeting_end()
        self._finished = True

    def close(self, timeout: float = 10.0) -> bool:
        """Unsubscribe and close the recorder, waiting up to ``timeout`` seconds for the store.

        Happens in a thread when the session closes, too. True if everything is in the store.
        """
        self.guard(self._finish)()
        with self._closing:
            if self._stored is None:
                self._stored = self.recorder.close(timeout)
            return self._stored


def _plain(event: Any) -> dict[str, Any]:
    """An event as plain data; the recorder handles values that JSON cannot represent."""
    try:
        plain: dict[str, Any] = event.model_dump(mode="json")
    except Exception:  # noqa: BLE001 - some hold values that pydantic cannot serialize: keep them as text
        plain = {"text": as_text(event)}
    return plain


def _mode(parts: dict[str, Any], realtime: bool) -> str:
    if realtime:
        return "hybrid" if {"stt", "tts"} & parts.keys() else "realtime"
    have = [name for name in ("stt", "llm", "tts") if name in parts]
    return "full_cascading" if len(have) == 3 else f"{'_'.join(have)}_only"


def _realtime_mode(parts: dict[str, Any]) -> str:
    return "hybrid_stt" if "stt" in parts else "hybrid_tts" if "tts" in parts else "full_s2s"


def _run_hook(hook: Coroutine[Any, Any, None]) -> None:
    """Run an async hook, which awaits nothing."""
    with contextlib.suppress(StopIteration):
        hook.send(None)
