"""Pipecat: an observer that records a call. Needs ``pipecat-ai``; what comes from what is told in ``docs/pipecat.md``.

Three clocks meet here. Frames are pushed at a time of the pipeline's clock (ns since it started), the voice detector
gives seconds since the epoch, transcripts ISO 8601. Each event is recorded as of the moment it happened, on the epoch,
and keeps the framework's own value.
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
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import LLMService

from eventstore.store import Store
from turnlog.adapters.pipecat_frames import Handler, component_of, handler_of, model_of, services
from turnlog.adapters.pipecat_turns import At, Turns
from turnlog.recorder import Recorder

log = logging.getLogger("turnlog.pipecat")

CLOSE_SECONDS = 2.0
"""How long the end of a call may wait for the store; what is not there by then is in the journal."""
SAME_NS = 200_000
"""Two clocks that are read within this time are read at once."""


class TurnlogObserver(BaseObserver):
    """Records one call of one pipeline; add it to the observers of its `PipelineWorker` (`PipelineTask`).

    It never raises into the pipeline: what it fails at is counted in ``failed``, the last error is in ``last_error``,
    and the first is logged. The recording is closed with the pipeline.
    """

    def __init__(
        self, store: Store, session_id: str | None = None, *, agent_name: str = "pipecat", **recorder: Any
    ) -> None:
        """``recorder`` goes to `turnlog.Recorder`: ``durability``, ``journal``, …"""
        super().__init__(observe_every_push=False)
        self.recorder = Recorder(store, session_id, **recorder)
        self.agent_name = agent_name
        self.failed = 0
        self.last_error: str | None = None
        self._turns = Turns(self.recorder, _perf_seconds)
        self._handlers: dict[type, Handler | None] = {}
        self._siblings: set[int] = set()
        self._clock: Callable[[], int] | None = None
        self._providers: dict[str, FrameProcessor] = {}
        self._started = self._ending = self._finished = False

    # what the pipeline calls -----------------------------------------------------------------------------------

    async def on_push_frame(self, data: FramePushed) -> None:
        try:
            kind = type(data.frame)
            if kind not in self._handlers:
                self._handlers[kind] = handler_of(kind)
            handler = self._handlers[kind]
            if kind is f.TTSAudioRawFrame and not self._turns.audio_due:
                handler = None
            if handler is None and not self._turns.waits:
                return
            at = self._moment(data)
            self._turns.pass_time(at.wall_ns)
            if handler is not None and not self._is_sibling(data.frame):
                if not self._started:  # with the StartFrame, unless it was added to a call that was going on
                    await self._begin(data, at)
                handler(self._turns, data, at)
                if kind is f.CancelFrame:
                    self._finish(at, cut_off=True)
                elif kind is f.EndFrame:
                    self._ending = True  # the pipeline still plays what it has
        except Exception as error:  # noqa: BLE001 - a guest does not break the host
            self._fail(error)

    async def on_process_frame(self, data: FrameProcessed) -> None:
        try:
            if type(data.frame) is f.ServiceSwitcherRequestMetadataFrame:
                self._switch(data.frame.service, self._moment(data))
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)

    async def cleanup(self) -> None:
        """The pipeline is torn down: close what is open, and the recording."""
        try:
            self._finish(At(time.time_ns(), {"from": "cleanup"}), cut_off=not self._ending)
            await asyncio.to_thread(self.recorder.close, CLOSE_SECONDS)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
        await super().cleanup()  # type: ignore[no-untyped-call]

    def _fail(self, error: Exception) -> None:
        self.failed += 1
        self.last_error = f"{type(error).__name__}: {error}"
        if self.failed == 1:
            log.error("a frame could not be recorded, and the call goes on: %s", self.last_error)

    # time, and what is seen twice ------------------------------------------------------------------------------

    def _moment(self, data: FramePushed | FrameProcessed) -> At:
        """By the age of the push: waiting in the observer's queue makes nothing late, nor does a clock that is set."""
        if self._clock is None:
            processor = data.source if isinstance(data, FramePushed) else data.processor
            self._clock = processor.get_clock().get_time
        for _ in range(3):
            before_ns, pipeline_ns, after_ns = time.time_ns(), self._clock(), time.time_ns()
            if after_ns - before_ns < SAME_NS:
                break  # else another thread had its turn between the readings
        return At(after_ns - (pipeline_ns - data.timestamp), {"pipeline_ns": data.timestamp})

    def _is_sibling(self, frame: f.Frame) -> bool:
        """Whether it is the second of two frames that are one event, sent both ways."""
        sibling = frame.broadcast_sibling_id
        if sibling is None:
            return False
        if sibling in self._siblings:
            self._siblings.discard(sibling)
            return True
        if len(self._siblings) > 1000:  # frames whose sibling went nowhere
            self._siblings.clear()
        self._siblings.add(frame.id)
        return False

    # the session -----------------------------------------------------------------------------------------------

    async def _begin(self, data: FramePushed, at: At) -> None:
        self._started = True
        recorder = self.recorder
        recorder.set_framework("pipecat-ai", metadata.version("pipecat-ai"))
        recorder.set_session_id(recorder.session_id)
        for service in services(data.destination):
            component = component_of(service)
            if component is not None and component not in self._providers:
                self._providers[component] = service
                recorder.set_provider_info(component, type(service).__name__, model_of(service))
        llm = self._providers.get("llm")
        self._turns.realtime = isinstance(llm, LLMService) and llm.service_metadata_frame().is_realtime_service
        pipeline, realtime = ("realtime", "full_s2s") if self._turns.realtime else ("full_cascading", None)
        recorder.configure_pipeline(pipeline, realtime, sorted(self._providers))
        recorder.set_eou_config({})  # Pipecat's are strategies, without settings that tell
        recorder.set_traces_flow_manager(self)
        recorder.traces.start_agent_joined_meeting({"agent_name": self.agent_name, "peerId": recorder.session_id})
        await recorder.traces.start_agent_session({})
        self._turns.begin(at)

    def _finish(self, at: At, *, cut_off: bool) -> None:
        if self._started and not self._finished:
            self._finished = True
            self._turns.finish(at, cut_off=cut_off)
            self.recorder.traces.end_agent_session()
            self.recorder.traces.agent_meeting_end()

    def _switch(self, service: FrameProcessor, at: At) -> None:
        """A switcher made another service the active one, upon an error or on demand."""
        component = component_of(service)
        old = self._providers.get(component) if component is not None else None
        if component is None or old is None or old is service:
            return
        self._providers[component] = service
        self._turns.switched(at, component, type(old).__name__, type(service).__name__, model_of(service))


def _perf_seconds(wall_ns: int) -> float:
    return (time.perf_counter_ns() - (time.time_ns() - wall_ns)) / 1e9
