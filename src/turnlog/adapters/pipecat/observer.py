"""The adapter for Pipecat: an observer that records a call (``docs/pipecat.md``). Needs ``pipecat-ai``.

Pipecat uses three clocks: frames have a time of the pipeline's clock (ns since its start), voice detection has seconds
since the epoch, and transcripts have ISO 8601. Each event is recorded with its wall-clock time and the original value.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

from pipecat.frames import frames as f
from pipecat.observers.base_observer import BaseObserver, FrameProcessed, FramePushed
from pipecat.observers.turn_tracking_observer import TurnTrackingObserver
from pipecat.observers.user_bot_latency_observer import UserBotLatencyObserver
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import LLMService

from eventstore.stores.base import Store
from turnlog.adapters.guard import Guard, Guarded
from turnlog.adapters.pipecat.call import At, PipecatCall, component_of
from turnlog.adapters.pipecat.frames import Handler, handler_of, has_transcript_aggregator, model_of, services
from turnlog.recorder import Recorder

log = logging.getLogger("turnlog.pipecat")

CLOSE_SECONDS = 2.0
"""Time the end of a call may wait for the store; events not stored by then are in the journal."""
MAX_SKEW_NS = 200_000
"""Maximum time between two clock readings that count as simultaneous."""
EventCallback = Callable[..., None]


class _TurnTracker(TurnTrackingObserver):
    """Pipecat's turn tracking, with its events delivered synchronously instead of in tasks."""

    def __init__(self, callback: EventCallback) -> None:
        super().__init__()
        self._callback = callback

    async def _call_event_handler(self, event_name: str, *args: Any, **_kwargs: Any) -> None:
        self._callback(event_name, *args)


class _Latency(UserBotLatencyObserver):
    """Pipecat's latency measurement, based on the time at which frames were pushed instead of observed."""

    def __init__(self, now: Callable[[], float], callback: EventCallback) -> None:
        super().__init__(time_source=now)
        self._callback = callback

    async def _call_event_handler(self, event_name: str, *args: Any, **_kwargs: Any) -> None:
        self._callback(event_name, *args)


class TurnlogObserver(Guarded, BaseObserver):
    """Records one call of one pipeline; add it to the observers of its `PipelineWorker` (`PipelineTask`).

    It never raises into the pipeline: failures are counted in ``failed``, the last one is in ``last_error``, and the
    first is logged. The recording is closed with the pipeline.
    """

    def __init__(
        self, store: Store, session_id: str | None = None, *, agent_name: str | None = None, **recorder: Any
    ) -> None:
        """``session_id`` names the call in the log: take it from the room, the call or the job; None is a random one.

        ``recorder`` is passed to `turnlog.Recorder`: ``durability``, ``journal``, …
        """
        super().__init__(observe_every_push=False)
        self.guard = Guard(log, "a Pipecat frame")
        self.recorder = Recorder(store, session_id, **recorder)
        self.agent_name = agent_name
        self._call = PipecatCall(self.recorder, _perf_seconds)
        self._handlers: dict[type, Handler | None] = {}
        self._siblings: set[int] = set()
        self._clock: Callable[[], int] | None = None
        self._providers: dict[str, FrameProcessor] = {}
        self._at: At | None = None
        """Time of the current frame."""
        self._turn_tracker = _TurnTracker(self._turn_event)
        self._user_turn: tuple[FramePushed, At] | None = None
        """The start of a user turn that `_turn_tracker` has not received yet."""
        self._latency = _Latency(lambda: self._now().wall_ns / 1e9, self._latency_event)
        self._started = self._finished = False

    # called by the pipeline ------------------------------------------------------------------------------------

    async def on_push_frame(self, data: FramePushed) -> None:
        with self.guard:
            kind = type(data.frame)
            if kind not in self._handlers:
                self._handlers[kind] = handler_of(kind)
            handler = self._handlers[kind]
            if handler is not None:
                self._at = self._time_of(data)
                if not self._started:  # the StartFrame, unless the observer was added during the call
                    await self._record_setup(data)
                if kind is not f.TTSAudioRawFrame:
                    await self._latency.on_push_frame(data)
                if not self._is_sibling(data.frame):
                    await self._record(handler, data, self._at)
        self._at = None

    async def on_process_frame(self, data: FrameProcessed) -> None:
        if type(data.frame) is f.ServiceSwitcherRequestMetadataFrame:
            with self.guard:
                self._switch(data.frame.service, self._time_of(data))

    async def cleanup(self) -> None:
        """Close the recording when the pipeline is torn down."""
        with self.guard:
            await self._turn_tracker.cleanup()
            await self._finish()
            await asyncio.to_thread(self.recorder.close, CLOSE_SECONDS)
        await super().cleanup()  # type: ignore[no-untyped-call]

    # times and duplicates --------------------------------------------------------------------------------------

    def _time_of(self, data: FramePushed | FrameProcessed) -> At:
        """The wall-clock time of a push, from its age: neither the observer's queue nor a clock step distorts it."""
        if self._clock is None:
            processor = data.source if isinstance(data, FramePushed) else data.processor
            self._clock = processor.get_clock().get_time
        for _ in range(3):
            before_ns, pipeline_ns, after_ns = time.time_ns(), self._clock(), time.time_ns()
            if after_ns - before_ns < MAX_SKEW_NS:
                break  # else another thread ran between the readings
        return At(after_ns - (pipeline_ns - data.timestamp), {"pipeline_ns": data.timestamp})

    def _now(self) -> At:
        return self._at or At(time.time_ns(), {})

    def _is_sibling(self, frame: f.Frame) -> bool:
        """True for the second of two frames that report one event, up and down the pipeline."""
        sibling = frame.broadcast_sibling_id
        if sibling is None:
            return False
        if sibling in self._siblings:
            self._siblings.discard(sibling)
            return True
        if len(self._siblings) > 1000:  # frames whose sibling never arrived
            self._siblings.clear()
        self._siblings.add(frame.id)
        return False

    # frames and the framework's own observers ------------------------------------------------------------------

    async def _record(self, handler: Handler, data: FramePushed, at: At) -> None:
        """Record a frame. A turn's start is marked one frame late: an interruption there belongs to the turn before."""
        kind = type(data.frame)
        if kind is not f.InterruptionFrame:
            await self._mark_turn()
        handler(self._call, data.frame, at, data.source)
        if kind is f.InterruptionFrame:
            await self._mark_turn()
        elif kind is f.UserStartedSpeakingFrame:
            self._user_turn = data, at
        elif kind not in (f.EndFrame, f.CancelFrame):  # the pipeline may still play audio after these
            await self._turn_tracker.on_push_frame(data)

    async def _mark_turn(self) -> None:
        if self._user_turn is not None:
            (data, at), self._user_turn = self._user_turn, None
            current, self._at = self._at, at
            await self._turn_tracker.on_push_frame(data)
            self._at = current

    def _turn_event(self, name: str, *args: Any) -> None:
        with self.guard:
            at = self._now()
            hooks = self._call.at(at)
            hooks.framework_event(name, dict(zip(("turn", "seconds", "interrupted"), args, strict=False)))
            if name == "on_turn_started":
                hooks.start_turn()
            elif name == "on_turn_ended":
                hooks.finalize_realtime_turn() if self._call.realtime else hooks.complete_turn()

    def _latency_event(self, name: str, *args: Any) -> None:
        if name == "on_latency_measured":
            self._call.at(self._now()).framework_event("user_bot_latency", {"seconds": args[0]})

    # the session -----------------------------------------------------------------------------------------------

    async def _record_setup(self, data: FramePushed) -> None:
        self._started = True
        recorder = self.recorder
        recorder.set_framework("pipecat-ai", metadata.version("pipecat-ai"))
        recorder.set_session_id(recorder.session_id)
        processors = list(services(data.destination))
        for service in processors:
            component = component_of(service)
            if component is not None and component not in self._providers:
                self._providers[component] = service
                recorder.set_provider_info(component, type(service).__name__, model_of(service))
        llm = self._providers.get("llm")
        realtime = isinstance(llm, LLMService) and llm.service_metadata_frame().is_realtime_service
        self._call.realtime, self._call.has_transcript_aggregator = realtime, has_transcript_aggregator(processors)
        mode, realtime_mode = ("realtime", "full_s2s") if realtime else ("full_cascading", None)
        recorder.configure_pipeline(mode, realtime_mode, sorted(self._providers))
        recorder.set_eou_config({})  # Pipecat's turn strategies have no settings to record
        if self.agent_name is not None:
            recorder.agent_active(self.agent_name)
        recorder.set_traces_flow_manager(self)
        attributes = {"agent_name": self.agent_name or "pipecat", "peerId": recorder.session_id}
        recorder.traces.start_agent_joined_meeting(attributes)
        await recorder.traces.start_agent_session({})

    async def _finish(self) -> None:
        if self._started and not self._finished:
            self._finished = True
            await self._mark_turn()
            self.recorder.finalize_session()
            self.recorder.traces.end_agent_session()
            self.recorder.traces.agent_meeting_end()

    def _switch(self, service: FrameProcessor, at: At) -> None:
        """Record that a switcher activated a different service, after an error or on demand."""
        component = component_of(service)
        old = self._providers.get(component) if component is not None else None
        if component is None or old is None or old is service:
            return
        self._providers[component] = service
        self._call.provider_switched(at, component, type(old).__name__, type(service).__name__, model_of(service))


def _perf_seconds(wall_ns: int) -> float:
    return (time.perf_counter_ns() - (time.time_ns() - wall_ns)) / 1e9
