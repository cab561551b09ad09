"""Maps Pipecat's frame types to handlers, and finds the services of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pipecat.frames import frames as f
from pipecat.pipeline.service_switcher import ServiceSwitcher
from pipecat.processors.aggregators.llm_response_universal import LLMAssistantAggregator
from pipecat.processors.frame_processor import FrameProcessor

from turnlog.adapters.pipecat.call import At, PipecatCall

Handler = Callable[[PipecatCall, Any, At, FrameProcessor], None]
IGNORED: tuple[type[f.Frame], ...] = (
    *(f.InputAudioRawFrame, f.OutputAudioRawFrame, f.InputImageRawFrame, f.OutputImageRawFrame, f.SpriteFrame),
    *(f.UserSpeakingFrame, f.BotSpeakingFrame, f.HeartbeatFrame),  # repeated periodically
    *(f.AggregatedTextFrame, f.LLMContextAssistantTimestampFrame, f.LLMThoughtTextFrame),
    *(f.OutputTransportMessageFrame, f.OutputTransportMessageUrgentFrame),
)
"""Frames not recorded: too frequent, or redundant. Other frames without a hook are recorded as framework events."""

HANDLERS: dict[type[f.Frame], Handler] = {
    f.VADUserStartedSpeakingFrame: PipecatCall.voice_started,
    f.VADUserStoppedSpeakingFrame: PipecatCall.voice_stopped,
    f.UserStartedSpeakingFrame: PipecatCall.user_turn_started,
    f.UserStoppedSpeakingFrame: PipecatCall.user_turn_stopped,
    f.InterimTranscriptionFrame: PipecatCall.interim_transcript,
    f.TranscriptionFrame: PipecatCall.transcript,
    f.LLMContextUserTurnFrame: PipecatCall.user_message,
    f.LLMContextFrame: PipecatCall.llm_requested,
    f.EagerEndOfTurnCancelFrame: PipecatCall.speculation_cancelled,
    f.LLMFullResponseStartFrame: PipecatCall.llm_started,
    f.LLMTextFrame: PipecatCall.llm_output,
    f.FunctionCallsStartedFrame: PipecatCall.llm_output,
    f.LLMFullResponseEndFrame: PipecatCall.llm_ended,
    f.TTSStartedFrame: PipecatCall.tts_started,
    f.TTSAudioRawFrame: PipecatCall.tts_audio,
    f.TTSTextFrame: PipecatCall.tts_text,
    f.TTSStoppedFrame: PipecatCall.tts_stopped,
    f.BotStartedSpeakingFrame: PipecatCall.agent_started,
    f.BotStoppedSpeakingFrame: PipecatCall.agent_stopped,
    f.LLMContextAssistantTurnFrame: PipecatCall.agent_message,
    f.InterruptionFrame: PipecatCall.interruption,
    f.FunctionCallInProgressFrame: PipecatCall.tool_started,
    f.FunctionCallResultFrame: PipecatCall.tool_result,
    f.FunctionCallCancelFrame: PipecatCall.tool_cancelled,
    f.MetricsFrame: PipecatCall.metrics,
    f.ErrorFrame: PipecatCall.error,
    f.EndFrame: PipecatCall.session_ended,
    f.CancelFrame: PipecatCall.session_ended,
}


def handler_of(kind: type) -> Handler | None:
    """The handler of the nearest base class; None if the frame is ignored. Unknown frames become framework events."""
    for base in kind.__mro__:
        if base in HANDLERS:
            return HANDLERS[base]
        if base in IGNORED:
            return None
    return PipecatCall.framework_event


def services(processor: FrameProcessor) -> Iterator[FrameProcessor]:
    """The processors of a pipeline; of a service switcher only the active service."""
    if isinstance(processor, ServiceSwitcher):
        yield processor.strategy.active_service
    elif processor.processors:
        for inner in processor.processors:
            yield from services(inner)
    else:
        yield processor


def has_transcript_aggregator(processors: list[FrameProcessor]) -> bool:
    """True if the pipeline has an aggregator that reports the agent's transcript."""
    return any(isinstance(processor, LLMAssistantAggregator) for processor in processors)


def model_of(service: FrameProcessor) -> str:
    model = getattr(getattr(service, "_settings", None), "model", None)
    return model if isinstance(model, str) else ""
