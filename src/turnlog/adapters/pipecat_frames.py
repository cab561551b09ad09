"""What each frame of Pipecat's means for the call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pipecat.frames import frames as f
from pipecat.metrics.metrics import LLMTokenUsage, LLMUsageMetricsData, TTSUsageMetricsData
from pipecat.observers.base_observer import FramePushed
from pipecat.pipeline.service_switcher import ServiceSwitcher
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService

from turnlog.adapters.pipecat_turns import At, Turns

Handler = Callable[[Turns, FramePushed, At], None]
SERVICES: dict[str, type[FrameProcessor]] = {"stt": STTService, "llm": LLMService, "tts": TTSService}
PASSED_OVER: tuple[type[f.Frame], ...] = (
    *(f.InputAudioRawFrame, f.OutputAudioRawFrame, f.InputImageRawFrame, f.OutputImageRawFrame, f.SpriteFrame),
    *(f.UserSpeakingFrame, f.BotSpeakingFrame, f.HeartbeatFrame),  # they repeat, as long as somebody speaks
    *(f.AggregatedTextFrame, f.LLMContextFrame, f.LLMContextUserTurnFrame, f.LLMContextAssistantTimestampFrame),
    *(f.LLMThoughtTextFrame, f.OutputTransportMessageFrame, f.OutputTransportMessageUrgentFrame),
)
"""Too many, or said by another frame. All others that no hook is for are kept as framework events."""


def component_of(processor: object) -> str | None:
    """``stt``, ``llm`` or ``tts``, if it is one."""
    return next((name for name, base in SERVICES.items() if isinstance(processor, base)), None)


def services(processor: FrameProcessor) -> Iterator[FrameProcessor]:
    """The processors of a pipeline; of those that stand in for each other, the one that is active."""
    if isinstance(processor, ServiceSwitcher):
        yield processor.strategy.active_service
    elif processor.processors:
        for inner in processor.processors:
            yield from services(inner)
    else:
        yield processor


def model_of(service: FrameProcessor) -> str:
    model = getattr(getattr(service, "_settings", None), "model", None)
    return model if isinstance(model, str) else ""


def _voice_started(turns: Turns, data: FramePushed, at: At) -> None:
    """The detector says when it was sure; the voice began `start_secs` before."""
    frame: Any = data.frame
    raw = at.raw | {"vad_s": frame.timestamp, "start_secs": frame.start_secs}
    turns.voice_started(At(round((frame.timestamp - frame.start_secs) * 1e9), raw))


def _voice_stopped(turns: Turns, data: FramePushed, at: At) -> None:
    frame: Any = data.frame
    raw = at.raw | {"vad_s": frame.timestamp, "stop_secs": frame.stop_secs}
    turns.voice_stopped(At(round((frame.timestamp - frame.stop_secs) * 1e9), raw))


def _heard(frame: Any, at: At) -> At:
    return At(at.wall_ns, at.raw | {"iso": frame.timestamp})


def _metrics(turns: Turns, data: FramePushed, at: At) -> None:
    frame: Any = data.frame
    turns.note(at, "MetricsFrame", data=[{"kind": type(m).__name__, **m.model_dump()} for m in frame.data])
    for measured in frame.data:
        if isinstance(measured, LLMUsageMetricsData):
            turns.llm_usage(at, (_realtime_tokens if turns.realtime else _tokens)(measured.value))
        elif isinstance(measured, TTSUsageMetricsData):
            turns.tts_characters(at, measured.value)


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


def _error(turns: Turns, data: FramePushed, at: At) -> None:
    frame: Any = data.frame
    component = component_of(frame.processor or data.source)
    turns.failed(
        at, "REALTIME" if component == "llm" and turns.realtime else (component or "pipeline").upper(), frame.error
    )
    turns.note(at, type(frame).__name__, fatal=frame.fatal, category=str(frame.category), source=data.source.name)


def _llm_started(turns: Turns, data: FramePushed, at: At) -> None:
    _note(turns, data, at) if turns.realtime else turns.llm_started(at)


def _llm_ended(turns: Turns, data: FramePushed, at: At) -> None:
    _note(turns, data, at) if turns.realtime else turns.llm_ended(at)


def _llm_gave(turns: Turns, data: FramePushed, at: At) -> None:
    turns.llm_gave(at)


def _tts_started(turns: Turns, data: FramePushed, at: At) -> None:
    """Of a realtime model, it says only that the answer begins."""
    _note(turns, data, at) if isinstance(data.source, LLMService) else turns.tts_started(at)


def _tts_audio(turns: Turns, data: FramePushed, at: At) -> None:
    turns.tts_audio(at)


def _tts_text(turns: Turns, data: FramePushed, at: At) -> None:
    turns.agent_text(data.frame.text)  # type: ignore[attr-defined]


def _tool_result(turns: Turns, data: FramePushed, at: At) -> None:
    frame: Any = data.frame
    turns.tool_ended(at, frame.tool_call_id, frame.function_name, frame.arguments, frame.result)
    if frame.error:
        _note(turns, data, at)


def _tool_cancelled(turns: Turns, data: FramePushed, at: At) -> None:
    frame: Any = data.frame
    turns.tool_ended(at, frame.tool_call_id, frame.function_name, {}, {"cancelled": True})


def _note(turns: Turns, data: FramePushed, at: At) -> None:
    turns.note(at, type(data.frame).__name__, **_plain(data.frame))


def _plain(frame: f.Frame) -> dict[str, Any]:
    """The fields that are plain values; objects of the pipeline are none."""
    return {
        name: value
        for name, value in vars(frame).items()
        if not name.startswith("_") and name not in _OWN and isinstance(value, (str, int, float, bool, dict, list))
    }


_OWN = {"id", "name", "pts", "broadcast_sibling_id", "metadata", "interruptible"}
_HANDLERS: dict[type[f.Frame], Handler] = {
    f.VADUserStartedSpeakingFrame: _voice_started,
    f.VADUserStoppedSpeakingFrame: _voice_stopped,
    f.UserStartedSpeakingFrame: lambda turns, data, at: turns.user_turn_started(at),
    f.UserStoppedSpeakingFrame: lambda turns, data, at: turns.user_turn_stopped(at),
    f.InterimTranscriptionFrame: lambda turns, data, at: turns.interim(_heard(data.frame, at), data.frame.text),  # type: ignore[attr-defined]
    f.TranscriptionFrame: lambda turns, data, at: turns.transcript(_heard(data.frame, at), data.frame.text),  # type: ignore[attr-defined]
    f.LLMFullResponseStartFrame: _llm_started,
    f.LLMTextFrame: _llm_gave,
    f.FunctionCallsStartedFrame: _llm_gave,
    f.LLMFullResponseEndFrame: _llm_ended,
    f.TTSStartedFrame: _tts_started,
    f.TTSAudioRawFrame: _tts_audio,
    f.TTSTextFrame: _tts_text,
    f.BotStartedSpeakingFrame: lambda turns, data, at: turns.agent_started(at),
    f.BotStoppedSpeakingFrame: lambda turns, data, at: turns.agent_stopped(at),
    f.LLMContextAssistantTurnFrame: lambda turns, data, at: turns.agent_words(at, data.frame.text),  # type: ignore[attr-defined]
    f.FunctionCallInProgressFrame: lambda turns, data, at: turns.tool_started(at, data.frame.tool_call_id),  # type: ignore[attr-defined]
    f.FunctionCallResultFrame: _tool_result,
    f.FunctionCallCancelFrame: _tool_cancelled,
    f.MetricsFrame: _metrics,
    f.ErrorFrame: _error,
    f.ServiceUpdateSettingsFrame: lambda turns, data, at: turns.note(at, type(data.frame).__name__),  # may hold keys
}


def handler_of(kind: type) -> Handler | None:
    """That of the nearest class; a frame of a kind that nobody knows is noted, unless it is passed over."""
    for base in kind.__mro__:
        if base in _HANDLERS:
            return _HANDLERS[base]
        if base in PASSED_OVER:
            return None
    return _note
