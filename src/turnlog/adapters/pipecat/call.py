"""Maps Pipecat's frames to hooks: each method records one kind of frame, with the time at which it happened.

Nothing is interpreted here: projections decide which turn speech, a run or a transcript belongs to. State is kept only
for ids that a hook needs, and to recognise repeated frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pipecat.frames import frames as f
from pipecat.metrics.metrics import LLMUsageMetricsData, STTUsageMetricsData, TTSUsageMetricsData
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService

from eventstore.recording.backdating import BackdatedHooks
from eventstore.recording.recorder import Recorder
from turnlog.adapters.pipecat.values import frame_fields, json_of, realtime_tokens, tokens

SERVICES: dict[str, type[FrameProcessor]] = {"stt": STTService, "llm": LLMService, "tts": TTSService}

SAME_DETECTION_SECONDS = 0.1
"""Two detections of the same kind within this time are one: a voice detector takes longer between two of them."""


def component_of(processor: object) -> str | None:
    """``stt``, ``llm`` or ``tts``; None for other processors."""
    return next((name for name, base in SERVICES.items() if isinstance(processor, base)), None)


class At(NamedTuple):
    """When something happened: ``wall_ns`` since the epoch, and the framework's ``raw`` values."""

    wall_ns: int
    raw: dict[str, Any]

    def at_seconds(self, seconds: float, **raw: Any) -> At:
        """A different time (seconds since the epoch) reported by the same frame."""
        return At(round(seconds * 1e9), self.raw | raw)


@dataclass(slots=True)
class Run:
    """One use of a service, from its start frame on."""

    component: Literal["llm", "tts", "realtime"]
    id: str
    due: bool = True
    """True until its first output."""
    open: bool = True
    failed: bool = False
    counted: bool = False
    """True once its usage was reported."""
    interruptible: bool = True
    audio_seconds: float = 0.0


class PipecatCall:
    """Records the hooks of one call."""

    def __init__(self, recorder: Recorder, perf_seconds: Callable[[int], float]) -> None:
        """``perf_seconds`` converts nanoseconds since the epoch to seconds of the recorder's monotonic clock."""
        self.recorder, self._perf_seconds = recorder, perf_seconds
        self.realtime = False
        self.speaking = False
        """True while the agent speaks."""
        self.has_transcript_aggregator = False
        """True if an aggregator reports the agent's transcript; else the synthesised text is recorded."""
        self._detects = False
        """True if there is a voice detector; without one, only Pipecat's user turns show when the user speaks."""
        self._voice = False
        self._detected = {True: 0.0, False: 0.0}
        """When the detector last reported the start (True) and the end of speech; seconds since the epoch."""
        self._silent: At | None = None
        """In the open user turn: when the user fell silent, and (``_final``) when the last final transcript came."""
        self._final: At | None = None
        self._llm: dict[str, Run] = {}
        """The latest run by LLM."""
        self._speculation: Run | None = None
        """A run on a transcript that may be incomplete: its frames are held back until the user turn ends."""
        self._tts: dict[str, Run] = {}
        """Open TTS runs by context."""
        self._contexts: set[str] = set()
        """Contexts that had a run; with a slow LLM, TTS stops and restarts within one."""
        self._last_tts: Run | None = None
        self._characters = 0
        """Characters reported before their TTS run."""
        self._spoken: list[str] = []
        self._tools: dict[str, tuple[At, bool]] = {}
        """Start of each running tool, and whether an interruption cancels it."""
        self._errors: dict[str, str] = {}
        """The last error of each component, which may be the reason for a switch."""

    def at(self, at: At) -> BackdatedHooks:
        return self.recorder.happened(at.wall_ns, at.raw)

    def framework_event(self, frame: f.Frame, at: At, _source: FrameProcessor) -> None:
        """Record a frame without a hook of its own."""
        self.at(at).framework_event(type(frame).__name__, frame_fields(frame))

    # the user --------------------------------------------------------------------------------------------------

    def voice_started(self, frame: f.VADUserStartedSpeakingFrame, at: At, _source: FrameProcessor) -> None:
        """The timestamp is that of the decision; speech began ``start_secs`` earlier."""
        if self._is_new_detection(True, frame.timestamp):
            self._voice = self._detects = True
            raw = {"vad_s": frame.timestamp, "start_secs": frame.start_secs}
            self.at(at.at_seconds(frame.timestamp - frame.start_secs, **raw)).on_user_speech_start()

    def voice_stopped(self, frame: f.VADUserStoppedSpeakingFrame, at: At, _source: FrameProcessor) -> None:
        if self._is_new_detection(False, frame.timestamp):
            raw = {"vad_s": frame.timestamp, "stop_secs": frame.stop_secs}
            self._speech_ended(at.at_seconds(frame.timestamp - frame.stop_secs, **raw))

    def _is_new_detection(self, voice: bool, seconds: float) -> bool:
        """False for a repeated detection: two frames report each one, up and down the pipeline, with slightly
        different times and without a common id.
        """
        if self._voice == voice or abs(seconds - self._detected[voice]) < SAME_DETECTION_SECONDS:
            return False
        self._detected[voice] = seconds
        return True

    def _speech_ended(self, at: At) -> None:
        self._voice, self._silent = False, at
        self.at(at).on_user_speech_end()

    def user_turn_started(self, frame: f.UserStartedSpeakingFrame, at: At, source: FrameProcessor) -> None:
        self.framework_event(frame, at, source)
        if not self._detects and not self._voice:
            self._voice = True
            self.at(at).on_user_speech_start()

    def user_turn_stopped(self, _frame: f.UserStoppedSpeakingFrame, at: At, _source: FrameProcessor) -> None:
        """Pipecat has ended the user turn; its wait began with the silence or the last final transcript."""
        if not self._detects and self._voice:
            self._speech_ended(at)
        since = [moment for moment in (self._silent, self._final) if moment is not None]
        if since:
            self.at(max(since, key=lambda moment: moment.wall_ns)).on_eou_start()
        self.at(at).on_eou_complete()
        self._silent = self._final = None

    def interim_transcript(self, frame: f.InterimTranscriptionFrame, at: At, _source: FrameProcessor) -> None:
        self.at(with_timestamp(frame, at)).emit_user_transcript_transport(frame.text, "interim")

    def transcript(self, frame: f.TranscriptionFrame, at: At, _source: FrameProcessor) -> None:
        """STT runs from the user's silence to the transcript; it has no duration while the user continues to speak."""
        at = with_timestamp(frame, at)
        if self._silent is not None and not self._voice and not self.realtime and self._silent.wall_ns < at.wall_ns:
            self.at(self._silent).on_stt_start()
        self.at(at).on_stt_complete(frame.text)
        self._final = at

    def user_message(self, frame: f.LLMContextUserTurnFrame, at: At, source: FrameProcessor) -> None:
        """The LLM's input; a realtime model gets audio, and its context is updated some time later."""
        if self.realtime:
            self.framework_event(frame, at, source)
        else:
            self.at(at).set_user_transcript(frame.text)

    # LLM -------------------------------------------------------------------------------------------------------

    def llm_requested(self, frame: f.LLMContextFrame, at: At, _source: FrameProcessor) -> None:
        """Start a speculative run; its response frames are held back or never come. Other runs start with them."""
        if frame.speculation:
            self._speculation = self._begin_llm(frame, at)

    def speculation_cancelled(self, frame: f.EagerEndOfTurnCancelFrame, at: At, source: FrameProcessor) -> None:
        if self._speculation is not None:
            self._end(self._speculation, "superseded", at)
            self._speculation = None
        self.framework_event(frame, at, source)

    def llm_started(self, frame: f.LLMFullResponseStartFrame, at: At, source: FrameProcessor) -> None:
        speculation, self._speculation = self._speculation, None
        self._llm[source.name] = speculation or self._begin_llm(frame, at)

    def _begin_llm(self, frame: f.Frame, at: At) -> Run:
        run = Run("realtime" if self.realtime else "llm", frame.name)
        hooks = self.at(at)
        if not self.realtime:
            hooks.on_llm_start()
        hooks.name_run(run.component, run.id)
        return run

    def llm_output(self, frame: f.Frame, at: At, source: FrameProcessor) -> None:
        """A token or a tool call; the first one is recorded."""
        run = self._llm.get(source.name)
        if run is not None and run.due and run.open and not self.realtime:
            self.at(at).on_llm_first_token()
        if run is not None:
            run.due = False

    def llm_ended(self, frame: f.LLMFullResponseEndFrame, at: At, source: FrameProcessor) -> None:
        """A cancelled response pushes this frame, too."""
        run = self._llm.get(source.name)
        if run is not None:
            self._end(run, "failed" if run.failed else "done", at)

    def _end(self, run: Run, status: Literal["done", "cancelled", "superseded", "failed"], at: At) -> None:
        if not run.open:
            return
        run.open = False
        hooks = self.at(at)
        if status != "done" or run.component == "realtime":
            hooks.run_ended(run.component, status, run.id)
        elif run.component == "tts":
            hooks.on_tts_complete(run.id)
        else:
            hooks.on_llm_complete()
        if run.audio_seconds:
            hooks.add_audio_seconds("tts", round(run.audio_seconds, 6), run.id)

    # TTS and agent speech --------------------------------------------------------------------------------------

    def tts_started(self, frame: f.TTSStartedFrame, at: At, source: FrameProcessor) -> None:
        """From a realtime model, the frame only marks the start of the response."""
        if isinstance(source, LLMService):
            self.framework_event(frame, at, source)
            return
        context = frame.context_id or frame.name
        again = f" {frame.name}" if context in self._contexts else ""
        self._contexts.add(context)
        run = Run("tts", context + again, interruptible=frame.interruptible)
        self._tts[context] = self._last_tts = run
        hooks = self.at(at)
        hooks.on_tts_start()
        hooks.name_run("tts", run.id)
        characters, self._characters = self._characters, 0
        if characters:
            self._count_characters(at, run, characters)

    def _count_characters(self, at: At, run: Run, characters: int) -> None:
        """A run has one report per sentence, none of them a repetition; so only the first names the run."""
        hooks = self.at(at)
        if not run.counted:
            hooks.name_usage("tts", run.id)
            run.counted = True
        hooks.add_tts_characters(characters)

    def tts_audio(self, frame: f.TTSAudioRawFrame, at: At, _source: FrameProcessor) -> None:
        run = self._tts.get(frame.context_id or "") or (self._last_tts if len(self._tts) == 1 else None)
        if run is None or not run.open:
            return
        run.audio_seconds += len(frame.audio) / (2 * frame.num_channels * frame.sample_rate)
        if run.due:
            run.due = False
            self.at(at).on_tts_first_byte()

    def tts_text(self, frame: f.TTSTextFrame, _at: At, _source: FrameProcessor) -> None:
        """The agent's text before it is spoken; used only if no aggregator reports the transcript."""
        if not self.has_transcript_aggregator:
            self._spoken.append(frame.text)

    def tts_stopped(self, frame: f.TTSStoppedFrame, at: At, source: FrameProcessor) -> None:
        if isinstance(source, LLMService):
            self.framework_event(frame, at, source)
        elif self._tts:
            context = frame.context_id if frame.context_id in self._tts else next(iter(self._tts))
            run = self._tts.pop(context)
            self._end(run, "failed" if run.failed else "done", at)
        spoken, self._spoken = self._spoken, []
        if spoken:
            self.at(at).set_agent_response(" ".join(spoken))

    def agent_started(self, _frame: f.Frame, at: At, _source: FrameProcessor) -> None:
        if not self.speaking:
            self.speaking = True
            self.at(at).on_agent_speech_start()

    def agent_stopped(self, _frame: f.Frame, at: At, _source: FrameProcessor) -> None:
        """The agent falls silent: interrupted, finished, or pausing."""
        if self.speaking:
            self.speaking = False
            self.at(at).on_agent_speech_end()

    def agent_message(self, frame: f.LLMContextAssistantTurnFrame, at: At, source: FrameProcessor) -> None:
        """The played part of the agent's response, from the context."""
        self.at(at).set_agent_response(frame.text) if frame.text else self.framework_event(frame, at, source)

    def interruption(self, frame: f.InterruptionFrame, at: At, source: FrameProcessor) -> None:
        """Pipecat sends it with each user turn; it is an interruption only if something interruptible is active."""
        found = [run for run in (*self._llm.values(), *self._tts.values()) if run.open and run.interruptible]
        for run in found:
            self._end(run, "failed" if run.failed else "cancelled", at)
        runs = [run for run in found if not run.failed]
        self._tts = {context: run for context, run in self._tts.items() if run.open}
        silenced = self.speaking and (self._last_tts is None or self._last_tts.interruptible)
        if runs or silenced or any(cancels for _since, cancels in self._tools.values()):
            self.at(at).on_interrupted()
        else:
            self.framework_event(frame, at, source)

    # usage, tools and failures ---------------------------------------------------------------------------------

    def metrics(self, frame: f.MetricsFrame, at: At, _source: FrameProcessor) -> None:
        kept = [{"kind": type(measured).__name__, **measured.model_dump()} for measured in frame.data]
        self.at(at).framework_event("MetricsFrame", {"data": kept})
        for measured in frame.data:
            if isinstance(measured, LLMUsageMetricsData):
                self._llm_usage(at, measured)
            elif isinstance(measured, TTSUsageMetricsData):
                self._tts_usage(at, measured.value)
            elif isinstance(measured, STTUsageMetricsData):
                self.at(at).add_audio_seconds("stt", measured.value.audio_seconds)

    def _llm_usage(self, at: At, measured: LLMUsageMetricsData) -> None:
        """Usage of the LLM's latest run, open or not; only the first report names the run, as later ones add up."""
        run, hooks = self._speculation or self._llm.get(measured.processor), self.at(at)
        if run is not None and not run.counted:
            run.counted = True
            hooks.name_usage(run.component, run.id)
        if self.realtime:
            hooks.set_realtime_usage(realtime_tokens(measured.value))
        else:
            hooks.set_llm_usage(tokens(measured.value))

    def _tts_usage(self, at: At, characters: int) -> None:
        """Usage often arrives just before its TTS run starts, as frames are queued."""
        run = self._last_tts
        if run is not None and run.open:
            self._count_characters(at, run, characters)
        else:
            self._characters += characters

    def tool_started(self, frame: f.FunctionCallInProgressFrame, at: At, source: FrameProcessor) -> None:
        self._tools[frame.tool_call_id] = at, frame.cancel_on_interruption
        run = self._llm.get(source.name)
        requested_by = None if run is None else run.id
        self.at(at).tool_started(frame.tool_call_id, frame.function_name, json_of(frame.arguments), requested_by)

    def tool_result(self, frame: f.FunctionCallResultFrame, at: At, source: FrameProcessor) -> None:
        if frame.properties is not None and not frame.properties.is_final:
            self.at(at).tool_progress(frame.tool_call_id, json_of(frame.result))
            return
        status: Literal["done", "failed"] = "failed" if frame.error else "done"
        self.at(at).tool_ended(frame.tool_call_id, status, json_of(frame.result))
        self._tool_call(frame.tool_call_id, frame.function_name, frame.arguments, frame.result, at)
        if frame.error:
            self.framework_event(frame, at, source)

    def tool_cancelled(self, frame: f.FunctionCallCancelFrame, at: At, _source: FrameProcessor) -> None:
        self.at(at).tool_ended(frame.tool_call_id, "cancelled")
        self._tool_call(frame.tool_call_id, frame.function_name, {}, {"cancelled": True}, at)

    def _tool_call(self, call_id: str, name: str, arguments: Any, result: Any, at: At) -> None:
        """Record the complete call with its times, as the reference's hook does."""
        start, _cancels = self._tools.pop(call_id, (at, False))
        self.at(at).add_function_tool_call(
            name,
            json_of(arguments),
            json_of(result) if isinstance(result, Mapping) else {"result": result},
            self._perf_seconds(start.wall_ns),
            self._perf_seconds(at.wall_ns),
        )

    def error(self, frame: f.ErrorFrame, at: At, source: FrameProcessor) -> None:
        failed = frame.processor or source
        component = component_of(failed)
        name = "REALTIME" if component == "llm" and self.realtime else (component or "pipeline").upper()
        runs = [self._llm.get(failed.name)] if component == "llm" else self._tts.values() if component == "tts" else ()
        for run in runs:
            if run is not None:
                run.failed = True
        self._errors[name] = frame.error
        self.at(at).add_error(name, frame.error)
        known = {"fatal": frame.fatal, "category": str(frame.category), "source": source.name}
        self.at(at).framework_event(type(frame).__name__, known)

    def provider_switched(self, at: At, component: str, old: str, new: str, model: str) -> None:
        """A component (``stt``, ``llm``, ``tts``) has switched to a different provider."""
        hooks, time = self.at(at), self._perf_seconds(at.wall_ns)
        hooks.on_fallback_event(
            {
                "component_type": component.upper(),
                "message": self._errors.pop(component.upper(), "switched on demand"),
                "start_time": time,
                "end_time": time,
                "original_provider_label": old,
                "new_provider_label": new,
            }
        )
        hooks.update_provider_class(component.upper(), new, model)

    def session_ended(self, frame: f.EndFrame | f.CancelFrame, at: At, _source: FrameProcessor) -> None:
        """The session ends; later frames show whether open runs are cut off or still play."""
        self.at(at).session_ended(type(frame).__name__ if frame.reason is None else str(frame.reason))


def with_timestamp(frame: Any, at: At) -> At:
    return At(at.wall_ns, at.raw | {"iso": frame.timestamp})
