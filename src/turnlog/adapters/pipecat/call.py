"""A Pipecat call in hooks: each method records what one kind of frame says, as of the moment it happened.

Nothing is put together here: which turn a voice, a run or a word belongs to is for projections to say. What is kept
between frames is what a hook has to name, and what distinguishes a repeated frame from a new one.
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

SAME_FINDING_SECONDS = 0.1
"""A voice detector takes longer than this from one voice to the next."""


def component_of(processor: object) -> str | None:
    """``stt``, ``llm`` or ``tts``, if it is one."""
    return next((name for name, base in SERVICES.items() if isinstance(processor, base)), None)


class At(NamedTuple):
    """When something happened: ``wall_ns`` since the epoch, and ``raw``, what the framework said of it."""

    wall_ns: int
    raw: dict[str, Any]

    def moved(self, seconds: float, **raw: Any) -> At:
        """Another moment, in seconds since the epoch, that the framework named in the same breath."""
        return At(round(seconds * 1e9), self.raw | raw)


@dataclass(slots=True)
class Run:
    """One use of a service, from its start frame on."""

    component: Literal["llm", "tts", "realtime"]
    id: str
    due: bool = True
    """Its first output has not come yet."""
    open: bool = True
    failed: bool = False
    counted: bool = False
    """Its usage is known."""
    interruptible: bool = True
    audio_seconds: float = 0.0


class PipecatCall:
    """Records the hooks of one call."""

    def __init__(self, recorder: Recorder, perf_seconds: Callable[[int], float]) -> None:
        """``perf_seconds`` turns nanoseconds since the epoch into seconds of the recorder's monotonic clock."""
        self.recorder, self._perf_seconds = recorder, perf_seconds
        self.realtime = False
        self.speaking = False
        """The agent is heard."""
        self.keeps_words = False
        """What the agent has said: as an aggregator keeps it, else as it was synthesised."""
        self._detects = False
        """There is a voice detector; without one, Pipecat's user turns are all there is."""
        self._voice = False
        self._detected = {True: 0.0, False: 0.0}
        """When the detector last found a voice, and the end of one; seconds since the epoch."""
        self._silent: At | None = None
        """Since when the user is silent, and when their last final words came; of the turn that is not decided."""
        self._final: At | None = None
        self._llm: dict[str, Run] = {}
        """The latest run of each LLM."""
        self._guess: Run | None = None
        """A run on words that may not be all (a speculation): its frames are held back until the turn is over."""
        self._tts: dict[str, Run] = {}
        """Syntheses that are going on, by context."""
        self._contexts: set[str] = set()
        """Those that had a synthesis; a slow LLM makes it stop and start within one."""
        self._last_tts: Run | None = None
        self._characters = 0
        """Reported before the synthesis that they are of."""
        self._spoken: list[str] = []
        self._tools: dict[str, tuple[At, bool]] = {}
        """Since when a tool runs, and whether an interruption cancels it."""
        self._errors: dict[str, str] = {}
        """The last one of each component, as a reason to switch."""

    def at(self, at: At) -> BackdatedHooks:
        return self.recorder.happened(at.wall_ns, at.raw)

    def note(self, frame: f.Frame, at: At, _source: FrameProcessor) -> None:
        """What no hook is for."""
        self.at(at).framework_event(type(frame).__name__, frame_fields(frame))

    # the user --------------------------------------------------------------------------------------------------

    def voice_started(self, frame: f.VADUserStartedSpeakingFrame, at: At, _source: FrameProcessor) -> None:
        """The detector says when it was sure; the voice began `start_secs` before."""
        if self._is_news(True, frame.timestamp):
            self._voice = self._detects = True
            raw = {"vad_s": frame.timestamp, "start_secs": frame.start_secs}
            self.at(at.moved(frame.timestamp - frame.start_secs, **raw)).on_user_speech_start()

    def voice_stopped(self, frame: f.VADUserStoppedSpeakingFrame, at: At, _source: FrameProcessor) -> None:
        if self._is_news(False, frame.timestamp):
            raw = {"vad_s": frame.timestamp, "stop_secs": frame.stop_secs}
            self._fell_silent(at.moved(frame.timestamp - frame.stop_secs, **raw))

    def _is_news(self, voice: bool, seconds: float) -> bool:
        """Two frames tell of one finding, one each way; they say neither that they are two, nor the very same time."""
        if self._voice == voice or abs(seconds - self._detected[voice]) < SAME_FINDING_SECONDS:
            return False
        self._detected[voice] = seconds
        return True

    def _fell_silent(self, at: At) -> None:
        self._voice, self._silent = False, at
        self.at(at).on_user_speech_end()

    def user_turn_started(self, frame: f.UserStartedSpeakingFrame, at: At, source: FrameProcessor) -> None:
        self.note(frame, at, source)
        if not self._detects and not self._voice:
            self._voice = True
            self.at(at).on_user_speech_start()

    def user_turn_stopped(self, _frame: f.UserStoppedSpeakingFrame, at: At, _source: FrameProcessor) -> None:
        """Pipecat takes the user to be done; what it waited for began with the silence, or with the last words."""
        if not self._detects and self._voice:
            self._fell_silent(at)
        since = [moment for moment in (self._silent, self._final) if moment is not None]
        if since:
            self.at(max(since, key=lambda moment: moment.wall_ns)).on_eou_start()
        self.at(at).on_eou_complete()
        self._silent = self._final = None

    def interim(self, frame: f.InterimTranscriptionFrame, at: At, _source: FrameProcessor) -> None:
        self.at(heard(frame, at)).emit_user_transcript_transport(frame.text, "interim")

    def transcript(self, frame: f.TranscriptionFrame, at: At, _source: FrameProcessor) -> None:
        """Final words. STT takes as long as from the user's silence to them; no time if the user speaks on."""
        at = heard(frame, at)
        if self._silent is not None and not self._voice and not self.realtime and self._silent.wall_ns < at.wall_ns:
            self.at(self._silent).on_stt_start()
        self.at(at).on_stt_complete(frame.text)
        self._final = at

    def user_message(self, frame: f.LLMContextUserTurnFrame, at: At, source: FrameProcessor) -> None:
        """What the LLM gets to read; a realtime model hears, and the context is written up some time later."""
        if self.realtime:
            self.note(frame, at, source)
        else:
            self.at(at).set_user_transcript(frame.text)

    # the model -------------------------------------------------------------------------------------------------

    def llm_asked(self, frame: f.LLMContextFrame, at: At, _source: FrameProcessor) -> None:
        """The response's own frames tell of it, but for a speculation: those are held back, or never come."""
        if frame.speculation:
            self._guess = self._begin_llm(frame, at)

    def guess_withdrawn(self, frame: f.EagerEndOfTurnCancelFrame, at: At, source: FrameProcessor) -> None:
        if self._guess is not None:
            self._end(self._guess, "superseded", at)
            self._guess = None
        self.note(frame, at, source)

    def llm_started(self, frame: f.LLMFullResponseStartFrame, at: At, source: FrameProcessor) -> None:
        guess, self._guess = self._guess, None
        self._llm[source.name] = guess or self._begin_llm(frame, at)

    def _begin_llm(self, frame: f.Frame, at: At) -> Run:
        run = Run("realtime" if self.realtime else "llm", frame.name)
        hooks = self.at(at)
        if not self.realtime:
            hooks.on_llm_start()
        hooks.name_run(run.component, run.id)
        return run

    def llm_gave(self, frame: f.Frame, at: At, source: FrameProcessor) -> None:
        """A token, or a tool call; the first one counts."""
        run = self._llm.get(source.name)
        if run is not None and run.due and run.open and not self.realtime:
            self.at(at).on_llm_first_token()
        if run is not None:
            run.due = False

    def llm_ended(self, frame: f.LLMFullResponseEndFrame, at: At, source: FrameProcessor) -> None:
        """One that was cancelled pushes this frame, too."""
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

    # the voice -------------------------------------------------------------------------------------------------

    def tts_started(self, frame: f.TTSStartedFrame, at: At, source: FrameProcessor) -> None:
        """Of a realtime model, it says only that the answer begins."""
        if isinstance(source, LLMService):
            self.note(frame, at, source)
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
        """A synthesis has as many reports as sentences, and none is a repetition; so only the first can name it."""
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
        """What the agent is going to say; it counts where nothing else says what it has said."""
        if not self.keeps_words:
            self._spoken.append(frame.text)

    def tts_stopped(self, frame: f.TTSStoppedFrame, at: At, source: FrameProcessor) -> None:
        if isinstance(source, LLMService):
            self.note(frame, at, source)
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
        """The agent is silent: cut off, done, or only pausing."""
        if self.speaking:
            self.speaking = False
            self.at(at).on_agent_speech_end()

    def agent_message(self, frame: f.LLMContextAssistantTurnFrame, at: At, source: FrameProcessor) -> None:
        """What the user has heard, as the context keeps it."""
        self.at(at).set_agent_response(frame.text) if frame.text else self.note(frame, at, source)

    def interrupted(self, frame: f.InterruptionFrame, at: At, source: FrameProcessor) -> None:
        """Pipecat sends it at each user turn; it interrupts where it finds something at work that it may cut off."""
        found = [run for run in (*self._llm.values(), *self._tts.values()) if run.open and run.interruptible]
        for run in found:
            self._end(run, "failed" if run.failed else "cancelled", at)
        runs = [run for run in found if not run.failed]
        self._tts = {context: run for context, run in self._tts.items() if run.open}
        silenced = self.speaking and (self._last_tts is None or self._last_tts.interruptible)
        if runs or silenced or any(cancels for _since, cancels in self._tools.values()):
            self.at(at).on_interrupted()
        else:
            self.note(frame, at, source)

    # usage, tools and trouble ----------------------------------------------------------------------------------

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
        """Of the LLM's latest run, be it over or not; only the first report names it, as a second is none again."""
        run, hooks = self._guess or self._llm.get(measured.processor), self.at(at)
        if run is not None and not run.counted:
            run.counted = True
            hooks.name_usage(run.component, run.id)
        if self.realtime:
            hooks.set_realtime_usage(realtime_tokens(measured.value))
        else:
            hooks.set_llm_usage(tokens(measured.value))

    def _tts_usage(self, at: At, characters: int) -> None:
        """It often comes just before the synthesis begins, as its frames have to queue."""
        run = self._last_tts
        if run is not None and run.open:
            self._count_characters(at, run, characters)
        else:
            self._characters += characters

    def tool_started(self, frame: f.FunctionCallInProgressFrame, at: At, source: FrameProcessor) -> None:
        self._tools[frame.tool_call_id] = at, frame.cancel_on_interruption
        run = self._llm.get(source.name)
        asked_by = None if run is None else run.id
        self.at(at).tool_started(frame.tool_call_id, frame.function_name, json_of(frame.arguments), asked_by)

    def tool_result(self, frame: f.FunctionCallResultFrame, at: At, source: FrameProcessor) -> None:
        if frame.properties is not None and not frame.properties.is_final:
            self.at(at).tool_progress(frame.tool_call_id, json_of(frame.result))
            return
        status: Literal["done", "failed"] = "failed" if frame.error else "done"
        self.at(at).tool_ended(frame.tool_call_id, status, json_of(frame.result))
        self._tool_call(frame.tool_call_id, frame.function_name, frame.arguments, frame.result, at)
        if frame.error:
            self.note(frame, at, source)

    def tool_cancelled(self, frame: f.FunctionCallCancelFrame, at: At, _source: FrameProcessor) -> None:
        self.at(at).tool_ended(frame.tool_call_id, "cancelled")
        self._tool_call(frame.tool_call_id, frame.function_name, {}, {"cancelled": True}, at)

    def _tool_call(self, call_id: str, name: str, arguments: Any, result: Any, at: At) -> None:
        """The call as the reference's hook has it: whole, with its times."""
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

    def switched(self, at: At, component: str, old: str, new: str, model: str) -> None:
        """Another provider serves a component (``stt``, ``llm``, ``tts``) from now on."""
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

    def ended(self, frame: f.EndFrame | f.CancelFrame, at: At, _source: FrameProcessor) -> None:
        """What was going on is cut off, or still plays; that is for the frames that follow to say."""
        self.at(at).session_ended(type(frame).__name__ if frame.reason is None else str(frame.reason))


def heard(frame: Any, at: At) -> At:
    return At(at.wall_ns, at.raw | {"iso": frame.timestamp})
