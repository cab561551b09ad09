"""Pipecat: an observer that records a call. Needs ``pipecat-ai``; what comes from what is told in ``docs/pipecat.md``.

Three clocks meet here. Frames are pushed at a time of the pipeline's clock (ns since it started), the voice detector
gives seconds since the epoch, transcripts ISO 8601. Each event is recorded as of the moment it happened, on the epoch,
and keeps the framework's own value.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

from pipecat.frames import frames as f
from pipecat.metrics.metrics import LLMTokenUsage, LLMUsageMetricsData, TTSUsageMetricsData
from pipecat.observers.base_observer import BaseObserver, FrameProcessed, FramePushed
from pipecat.pipeline.service_switcher import ServiceSwitcher
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService

from eventstore.store import Store
from turnlog.adapters.pipecat_turns import At, Turns
from turnlog.recorder import Recorder

log = logging.getLogger("turnlog.pipecat")

CLOSE_SECONDS = 2.0
"""How long the end of a call may wait for the store; what is not there by then is in the journal."""
SERVICES: dict[str, type[FrameProcessor]] = {"stt": STTService, "llm": LLMService, "tts": TTSService}
PASSED_OVER: tuple[type[f.Frame], ...] = (
    *(f.InputAudioRawFrame, f.OutputAudioRawFrame, f.InputImageRawFrame, f.OutputImageRawFrame, f.SpriteFrame),
    *(f.UserSpeakingFrame, f.BotSpeakingFrame, f.HeartbeatFrame),  # they repeat, as long as somebody speaks
    *(f.AggregatedTextFrame, f.LLMContextFrame, f.LLMContextUserTurnFrame, f.LLMContextAssistantTimestampFrame),
    *(f.LLMThoughtTextFrame, f.OutputTransportMessageFrame, f.OutputTransportMessageUrgentFrame),
)
"""Too many, or said by another frame. All others that no hook is for are kept as framework events."""

Handler = Callable[["TurnlogObserver", FramePushed, At], None]


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
        self._siblings: set[int] = set()
        self._handlers: dict[type, Handler | None] = {}
        self._clock: Callable[[], int] | None = None
        self._providers: dict[str, FrameProcessor] = {}
        self._last_errors: dict[str, str] = {}
        self._started = self._ending = self._finished = False

    # what the pipeline calls -----------------------------------------------------------------------------------

    async def on_push_frame(self, data: FramePushed) -> None:
        try:
            kind = type(data.frame)
            if kind not in self._handlers:
                self._handlers[kind] = _handler_of(kind)
            handler = self._handlers[kind]
            if handler is None and not self._turns.waits:
                return
            at = self._moment(data)
            self._turns.pass_time(at.wall_ns)
            if handler is not None and not self._is_sibling(data.frame):
                if not self._started and handler is _start:
                    await self._begin(data, at)
                handler(self, data, at)
        except Exception as error:  # noqa: BLE001 - a guest does not break the host
            self._fail(error)

    async def on_process_frame(self, data: FrameProcessed) -> None:
        if type(data.frame) is f.ServiceSwitcherRequestMetadataFrame:
            try:
                self._switch(data.frame.service, self._moment(data))
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(error)

    async def cleanup(self) -> None:
        """The pipeline is torn down: close what is open, and the recording."""
        try:
            if not self._finished:
                self._finish(At(time.time_ns(), {"from": "cleanup"}), cut_off=not self._ending)
            await asyncio.to_thread(self.recorder.close, CLOSE_SECONDS)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
        await super().cleanup()

    def _fail(self, error: Exception) -> None:
        self.failed += 1
        self.last_error = f"{type(error).__name__}: {error}"
        if self.failed == 1:
            log.error("a frame could not be recorded, and the call goes on: %s", self.last_error)

    # time, and what is seen twice ------------------------------------------------------------------------------

    def _moment(self, data: FramePushed | FrameProcessed) -> At:
        """By the age of the push, so that what waited in the observer's queue is not late, nor a set clock felt."""
        if self._clock is None:
            processor = data.source if isinstance(data, FramePushed) else data.processor
            self._clock = processor.get_clock().get_time
        age_ns = self._clock() - data.timestamp
        return At(time.time_ns() - age_ns, {"pipeline_ns": data.timestamp})

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
        for service in _services(data.destination):
            for component, base in SERVICES.items():
                if isinstance(service, base) and component not in self._providers:
                    self._providers[component] = service
                    recorder.set_provider_info(component, type(service).__name__, _model(service))
        llm = self._providers.get("llm")
        self._turns.realtime = isinstance(llm, LLMService) and llm.service_metadata_frame().is_realtime_service
        mode = ("realtime", "full_s2s") if self._turns.realtime else ("full_cascading", None)
        recorder.configure_pipeline(*mode, sorted(self._providers))
        recorder.set_traces_flow_manager(self)
        recorder.traces.start_agent_joined_meeting({"agent_name": self.agent_name, "peerId": recorder.session_id})
        await recorder.traces.start_agent_session({})
        self._turns.begin(at)

    def _finish(self, at: At, *, cut_off: bool) -> None:
        self._finished = True
        if self._started:
            self._turns.finish(at, cut_off=cut_off)
            self.recorder.traces.end_agent_session()
            self.recorder.traces.agent_meeting_end()

    def _component(self, processor: object) -> str | None:
        return next((name for name, base in SERVICES.items() if isinstance(processor, base)), None)

    def _switch(self, service: FrameProcessor, at: At) -> None:
        """A switcher made another service the active one, upon an error or on demand."""
        component = self._component(service)
        old = self._providers.get(component) if component else None
        if component is None or old is None or old is service:
            return
        self._providers[component] = service
        reason = self._last_errors.pop(component, "switched on demand")
        self._turns.switched(at, component, type(old).__name__, type(service).__name__, _model(service), reason)


def _perf_seconds(wall_ns: int) -> float:
    return (time.perf_counter_ns() - (time.time_ns() - wall_ns)) / 1e9


def _services(processor: FrameProcessor) -> Iterator[FrameProcessor]:
    """The processors of a pipeline; of those that stand in for each other, the one that is active."""
    if isinstance(processor, ServiceSwitcher):
        yield processor.strategy.active_service
    elif processor.processors:
        for inner in processor.processors:
            yield from _services(inner)
    else:
        yield processor


def _model(service: FrameProcessor) -> str:
    model = getattr(getattr(service, "_settings", None), "model", None)
    return model if isinstance(model, str) else ""


# what each frame means -----------------------------------------------------------------------------------------


def _start(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    o._turns.note(at, "StartFrame", **_plain(data.frame))


def _stop(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    """The pipeline plays what it has, and ends."""
    o._ending = True
    o._turns.note(at, type(data.frame).__name__, **_plain(data.frame))


def _cancel(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    o._turns.note(at, "CancelFrame", **_plain(data.frame))
    o._finish(at, cut_off=True)


def _voice_started(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    """The detector says when it was sure; the voice began `start_secs` before."""
    frame: Any = data.frame
    raw = at.raw | {"vad_s": frame.timestamp, "start_secs": frame.start_secs}
    o._turns.voice_started(At(round((frame.timestamp - frame.start_secs) * 1e9), raw))


def _voice_stopped(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    frame: Any = data.frame
    raw = at.raw | {"vad_s": frame.timestamp, "stop_secs": frame.stop_secs}
    o._turns.voice_stopped(At(round((frame.timestamp - frame.stop_secs) * 1e9), raw))


def _heard(frame: Any, at: At) -> At:
    return At(at.wall_ns, at.raw | {"iso": frame.timestamp})


def _metrics(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    frame: Any = data.frame
    o._turns.note(at, "MetricsFrame", data=[{"kind": type(m).__name__, **m.model_dump()} for m in frame.data])
    for measured in frame.data:
        if isinstance(measured, LLMUsageMetricsData):
            o._turns.llm_usage(at, (_realtime_tokens if o._turns.realtime else _tokens)(measured.value))
        elif isinstance(measured, TTSUsageMetricsData):
            o._turns.tts_characters(at, measured.value)


def _tokens(usage: LLMTokenUsage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_cached_tokens": usage.cache_read_input_tokens,
    }


def _realtime_tokens(usage: LLMTokenUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "input_cached_tokens": usage.cache_read_input_tokens,
        "input_audio_tokens": usage.input_audio_tokens,
        "output_audio_tokens": usage.output_audio_tokens,
        "cached_audio_tokens": usage.cache_read_input_audio_tokens,
        "thoughts_tokens": usage.reasoning_tokens,
    }


def _error(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    frame: Any = data.frame
    component = o._component(frame.processor or data.source)
    if component is not None:
        o._last_errors[component] = frame.error
    source = "REALTIME" if component == "llm" and o._turns.realtime else (component or "pipeline").upper()
    o._turns.failed(at, source, frame.error)
    o._turns.note(at, type(frame).__name__, fatal=frame.fatal, category=str(frame.category), source=data.source.name)


def _llm_started(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    _note(o, data, at) if o._turns.realtime else o._turns.llm_started(at)


def _llm_ended(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    _note(o, data, at) if o._turns.realtime else o._turns.llm_ended(at)


def _llm_gave(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    o._turns.llm_gave(at)


def _tts_started(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    """Of a realtime model, it says only that the answer begins."""
    _note(o, data, at) if isinstance(data.source, LLMService) else o._turns.tts_started(at)


def _tts_audio(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    o._turns.tts_audio(at)


def _tts_text(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    o._turns.agent_text(data.frame.text)  # type: ignore[attr-defined]


def _tool_result(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    frame: Any = data.frame
    o._turns.tool_ended(at, frame.tool_call_id, frame.function_name, frame.arguments, frame.result)
    if frame.error:
        _note(o, data, at)


def _tool_cancelled(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    frame: Any = data.frame
    o._turns.tool_ended(at, frame.tool_call_id, frame.function_name, {}, {"cancelled": True})


def _note(o: TurnlogObserver, data: FramePushed, at: At) -> None:
    o._turns.note(at, type(data.frame).__name__, **_plain(data.frame))


def _plain(frame: f.Frame) -> dict[str, Any]:
    """The fields that are plain values; objects of the pipeline are none."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(frame):
        value = getattr(frame, field.name, None)
        if field.name not in _OWN and isinstance(value, (str, int, float, bool, dict, list)):
            found[field.name] = value
    return found


_OWN = {"id", "name", "pts", "broadcast_sibling_id", "metadata", "interruptible"}
_HANDLERS: dict[type[f.Frame], Handler] = {
    f.StartFrame: _start,
    f.EndFrame: _stop,
    f.StopFrame: _stop,
    f.CancelFrame: _cancel,
    f.VADUserStartedSpeakingFrame: _voice_started,
    f.VADUserStoppedSpeakingFrame: _voice_stopped,
    f.UserStartedSpeakingFrame: lambda o, data, at: o._turns.user_turn_started(at),
    f.UserStoppedSpeakingFrame: lambda o, data, at: o._turns.user_turn_stopped(at),
    f.InterimTranscriptionFrame: lambda o, data, at: o._turns.interim(_heard(data.frame, at), data.frame.text),  # type: ignore[attr-defined]
    f.TranscriptionFrame: lambda o, data, at: o._turns.transcript(_heard(data.frame, at), data.frame.text),  # type: ignore[attr-defined]
    f.LLMFullResponseStartFrame: _llm_started,
    f.LLMTextFrame: _llm_gave,
    f.FunctionCallsStartedFrame: _llm_gave,
    f.LLMFullResponseEndFrame: _llm_ended,
    f.TTSStartedFrame: _tts_started,
    f.TTSAudioRawFrame: _tts_audio,
    f.TTSTextFrame: _tts_text,
    f.BotStartedSpeakingFrame: lambda o, data, at: o._turns.agent_started(at),
    f.BotStoppedSpeakingFrame: lambda o, data, at: o._turns.agent_stopped(at),
    f.LLMContextAssistantTurnFrame: lambda o, data, at: o._turns.agent_words(at, data.frame.text),  # type: ignore[attr-defined]
    f.FunctionCallInProgressFrame: lambda o, data, at: o._turns.tool_started(at, data.frame.tool_call_id),  # type: ignore[attr-defined]
    f.FunctionCallResultFrame: _tool_result,
    f.FunctionCallCancelFrame: _tool_cancelled,
    f.MetricsFrame: _metrics,
    f.ErrorFrame: _error,
}


def _handler_of(kind: type) -> Handler | None:
    """That of the nearest class; a frame of a kind that nobody knows is noted, unless it is passed over."""
    for base in kind.__mro__:
        if base in _HANDLERS:
            return _HANDLERS[base]
        if base in PASSED_OVER:
            return None
    return _note
