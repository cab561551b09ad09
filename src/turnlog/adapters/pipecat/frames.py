"""Which frame of Pipecat's says what, and where in a pipeline its services are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pipecat.frames import frames as f
from pipecat.pipeline.service_switcher import ServiceSwitcher
from pipecat.processors.aggregators.llm_response_universal import LLMAssistantAggregator
from pipecat.processors.frame_processor import FrameProcessor

from turnlog.adapters.pipecat.call import At, Call

Handler = Callable[[Call, Any, At, FrameProcessor], None]
PASSED_OVER: tuple[type[f.Frame], ...] = (
    *(f.InputAudioRawFrame, f.OutputAudioRawFrame, f.InputImageRawFrame, f.OutputImageRawFrame, f.SpriteFrame),
    *(f.UserSpeakingFrame, f.BotSpeakingFrame, f.HeartbeatFrame),  # they repeat, as long as someone speaks
    *(f.AggregatedTextFrame, f.LLMContextAssistantTimestampFrame, f.LLMThoughtTextFrame),
    *(f.OutputTransportMessageFrame, f.OutputTransportMessageUrgentFrame),
)
"""Too many, or said by another frame. All others that no hook is for are kept as framework events."""

HANDLERS: dict[type[f.Frame], Handler] = {
    f.VADUserStartedSpeakingFrame: Call.voice_started,
    f.VADUserStoppedSpeakingFrame: Call.voice_stopped,
    f.UserStartedSpeakingFrame: Call.user_turn_started,
    f.UserStoppedSpeakingFrame: Call.user_turn_stopped,
    f.InterimTranscriptionFrame: Call.interim,
    f.TranscriptionFrame: Call.transcript,
    f.LLMContextUserTurnFrame: Call.user_message,
    f.LLMContextFrame: Call.llm_asked,
    f.EagerEndOfTurnCancelFrame: Call.guess_withdrawn,
    f.LLMFullResponseStartFrame: Call.llm_started,
    f.LLMTextFrame: Call.llm_gave,
    f.FunctionCallsStartedFrame: Call.llm_gave,
    f.LLMFullResponseEndFrame: Call.llm_ended,
    f.TTSStartedFrame: Call.tts_started,
    f.TTSAudioRawFrame: Call.tts_audio,
    f.TTSTextFrame: Call.tts_text,
    f.TTSStoppedFrame: Call.tts_stopped,
    f.BotStartedSpeakingFrame: Call.agent_started,
    f.BotStoppedSpeakingFrame: Call.agent_stopped,
    f.LLMContextAssistantTurnFrame: Call.agent_message,
    f.InterruptionFrame: Call.interrupted,
    f.FunctionCallInProgressFrame: Call.tool_started,
    f.FunctionCallResultFrame: Call.tool_result,
    f.FunctionCallCancelFrame: Call.tool_cancelled,
    f.MetricsFrame: Call.metrics,
    f.ErrorFrame: Call.error,
    f.EndFrame: Call.ended,
    f.CancelFrame: Call.ended,
}


def handler_of(kind: type) -> Handler | None:
    """That of the nearest class; a frame of an unknown kind is recorded, unless it is passed over."""
    for base in kind.__mro__:
        if base in HANDLERS:
            return HANDLERS[base]
        if base in PASSED_OVER:
            return None
    return Call.note


def services(processor: FrameProcessor) -> Iterator[FrameProcessor]:
    """The processors of a pipeline; of those that stand in for each other, the one that is active."""
    if isinstance(processor, ServiceSwitcher):
        yield processor.strategy.active_service
    elif processor.processors:
        for inner in processor.processors:
            yield from services(inner)
    else:
        yield processor


def keeps_words(processors: list[FrameProcessor]) -> bool:
    """Whether the pipeline has an aggregator that says what the agent has said."""
    return any(isinstance(processor, LLMAssistantAggregator) for processor in processors)


def model_of(service: FrameProcessor) -> str:
    model = getattr(getattr(service, "_settings", None), "model", None)
    return model if isinstance(model, str) else ""
