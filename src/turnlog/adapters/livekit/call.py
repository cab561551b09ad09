"""Maps LiveKit's events to hooks: each method records one kind of event, with the time at which it happened.

It reads plain attributes and imports nothing from LiveKit. The framework's times are seconds since the epoch. Nothing
is interpreted here: projections decide which turn speech, a run or a transcript belongs to. State is kept only for ids
that a hook needs, and to recognise repeated reports.
"""

from __future__ import annotations

import json
import time
from typing import Any, Literal, NamedTuple

from eventstore.recording.backdating import BackdatedHooks
from eventstore.recording.recorder import Recorder

CLOCK_TOLERANCE_SECONDS = 0.001
"""Maximum difference between the framework's clock readings of the same moment."""
Component = Literal["llm", "tts"]
_STATUS: dict[str, Literal["done", "failed", "cancelled"]] = {"error": "failed", "cancelled": "cancelled"}


class Speech(NamedTuple):
    """The current speech handle when an event arrives."""

    id: str
    interrupted: bool


class LiveKitCall:
    """Records the hooks of one session."""

    def __init__(self, recorder: Recorder, *, realtime: bool = False, pause_seconds: float | None = None) -> None:
        """``pause_seconds``: pause after which an interruption counts as false; None if the agent does not resume."""
        self.recorder = recorder
        self.realtime = realtime
        self.pause_seconds = pause_seconds
        self._user_speaks = self._playing = False
        self._has_question = False
        """True if the user has spoken in the open turn."""
        self._silent: float | None = None
        """When the user fell silent."""
        self._paused: float | None = None
        """When the agent paused for a possible interruption."""
        self._handles: dict[str, Any] = {}
        """The unfinished speech handles."""
        self._played: str | None = None
        """The last played speech; `_more_expected` if the agent is still thinking."""
        self._more_expected = False
        self._interrupted: str | None = None
        """The last speech whose interruption was recorded."""
        self._runs: dict[str, list[tuple[Component, str]]] = {}
        """Reported runs by speech."""
        self._reported: set[tuple[Component, str]] = set()
        self._superseded: set[str] = set()
        """Speeches generated preemptively from an incomplete transcript, and discarded."""

    def _at(self, seconds: float, **raw: Any) -> BackdatedHooks:
        return self.recorder.happened(round(seconds * 1e9), raw or None)

    # the user --------------------------------------------------------------------------------------------------

    def user_state_changed(self, event: Any) -> None:
        hooks = self._at(event.created_at, created_at=event.created_at)
        if event.new_state == "speaking":
            self._user_speaks = self._has_question = True
            self._silent = None
            hooks.on_user_speech_start()
        elif event.old_state == "speaking":
            self._user_speaks = False
            self._silent = event.created_at
            hooks.on_user_speech_end()

    def user_input_transcribed(self, event: Any) -> None:
        """STT runs from the user's silence to the transcript; it has no duration while the user continues to speak."""
        if not event.transcript:
            return
        hooks = self._at(event.created_at)
        if not event.is_final:
            hooks.emit_user_transcript_transport(event.transcript, "interim")
        elif not self.realtime:  # a realtime model's transcript is in its message, which comes with this event
            if self._silent is not None and self._silent < event.created_at:
                self._at(self._silent).on_stt_start()
            hooks.on_stt_complete(event.transcript)

    def user_message(self, item: Any) -> None:
        """The framework considers the user's message complete; its own measurements come with it."""
        metrics = dict(item.metrics)
        stopped = metrics.get("stopped_speaking_at")
        if not self._has_question:  # typed, or missed by the detector
            self._has_question = True
            self.recorder.start_turn()
        if stopped is not None and self._silent is not None and abs(stopped - self._silent) > CLOCK_TOLERANCE_SECONDS:
            self._silent = stopped  # a corrected measurement
            self._at(stopped, **_numbers(metrics)).on_user_speech_end()
        if stopped is not None and "end_of_turn_delay" in metrics:
            final = stopped + metrics.get("transcription_delay", 0.0)
            self._at(final, **_numbers(metrics)).on_eou_start()
            self._at(max(final, stopped + metrics["end_of_turn_delay"]), **_numbers(metrics)).on_eou_complete()
        self.recorder.set_user_transcript(item.text_content or "")

    # agent speech ----------------------------------------------------------------------------------------------

    def playback_started(self, created_at: float, speech: Speech | None) -> None:
        self._playing, self._more_expected, self._paused = True, False, None
        self._played = speech and speech.id
        self._at(created_at, created_at=created_at).on_agent_speech_start()

    def playback_finished(self, interrupted: bool, speech: Speech | None) -> None:
        """Speech that paused for a possible interruption and was not resumed ended at the pause."""
        if not self._playing:
            return
        self._playing, paused = False, self._paused
        self._paused = None
        if not interrupted or speech is None or not speech.interrupted:  # a failing TTS also interrupts its playback
            self.recorder.on_agent_speech_end()
            return
        if paused is not None:
            self.recorder.on_false_interrupt_escalated()
        self._interrupt(speech)
        (self.recorder if paused is None else self._at(paused)).on_agent_speech_end()

    def agent_state_changed(self, event: Any, speech: Speech | None, *, audible: bool) -> None:
        """An agent that falls silent with audio left to play pauses for a possible interruption.

        Without an ``audible`` output, only this state shows when the agent speaks.
        """
        hooks = self._at(event.created_at, created_at=event.created_at)
        self._more_expected = self._more_expected or event.new_state == "thinking"
        starts, ends = event.new_state == "speaking", event.old_state == "speaking"
        if not audible:
            if starts or ends:
                hooks.on_agent_speech_start() if starts else hooks.on_agent_speech_end()
        elif starts and self._paused is not None:
            self._paused = None
            hooks.on_false_interrupt_resume()
        elif ends and event.new_state == "listening" and self._may_resume(speech):
            self._paused = event.created_at
            hooks.on_false_interrupt_start(self.pause_seconds)

    def _may_resume(self, speech: Speech | None) -> bool:
        return self._playing and self.pause_seconds is not None and not (speech is not None and speech.interrupted)

    def agent_message(self, item: Any) -> None:
        """The played part of the agent's speech; a speech may have several messages."""
        if item.text_content:
            self.recorder.set_agent_response(item.text_content)

    def notice_interruptions(self) -> None:
        """Record the interruption of speech that is still being generated: no event reports it, only the handle."""
        for handle in self._handles.values():
            if handle.interrupted and handle.scheduled and not self._playing:
                self._cancelled(handle)

    def _cancelled(self, handle: Any) -> None:
        if self._more_expected or self._played != handle.id:  # else all of it was played, so nothing was cancelled
            self._interrupt(Speech(handle.id, interrupted=True))

    def _interrupt(self, speech: Speech) -> None:
        if self._interrupted != speech.id:
            self._interrupted = speech.id
            self.recorder.on_interrupted()

    def speech_created(self, handle: Any) -> None:
        self._handles[handle.id] = handle

    def speech_done(self, handle: Any) -> None:
        """A speech has ended, for any reason; the turn completes with the last scheduled speech."""
        self._handles.pop(handle.id, None)
        runs = self._runs.pop(handle.id, [])
        if not handle.scheduled:
            self._superseded.add(handle.id)
            for component, run in runs:
                self.recorder.run_ended(component, "superseded", run)
            return
        if handle.interrupted:
            self._cancelled(handle)
        if not any(other.scheduled for other in self._handles.values()):
            self._has_question = self._user_speaks
            recorder = self.recorder
            recorder.finalize_realtime_turn() if self.realtime else recorder.complete_turn()

    # runs ------------------------------------------------------------------------------------------------------

    def metrics(self, metrics: Any) -> None:
        """A component's own metrics, whose ``timestamp`` is the end of the measured interval."""
        if metrics.type == "llm_metrics":
            if self._is_new("llm", metrics):
                self._run("llm", metrics, metrics.ttft)
            self.recorder.name_usage("llm", _run_id(metrics))
            usage = ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_cached_tokens")
            self.recorder.set_llm_usage({name: getattr(metrics, name) for name in usage})
        elif metrics.type == "tts_metrics":
            if self._is_new("tts", metrics):
                self._run("tts", metrics, metrics.ttfb)
                if metrics.audio_duration:
                    ended = self._at(metrics.timestamp)
                    ended.add_audio_seconds("tts", metrics.audio_duration, _run_id(metrics))
            self.recorder.name_usage("tts", _run_id(metrics))
            self.recorder.add_tts_characters(metrics.characters_count)
        elif metrics.type == "stt_metrics":
            if metrics.audio_duration:
                self.recorder.add_audio_seconds("stt", metrics.audio_duration)
            if metrics.total_tokens:
                self.recorder.set_stt_usage(metrics.input_tokens, metrics.output_tokens, metrics.total_tokens)
        elif metrics.type == "realtime_model_metrics":
            self._realtime_run(metrics)

    def _is_new(self, component: Component, metrics: Any) -> bool:
        """True for the first report of a run; some are emitted twice."""
        run, speech = (component, _run_id(metrics)), metrics.speech_id
        if run in self._reported:
            return False
        self._reported.add(run)
        if speech in self._handles:
            self._runs.setdefault(speech, []).append(run)
        return True

    def _run(self, component: Component, metrics: Any, until_first: float) -> None:
        """Record a run. ``until_first``: seconds from its start to its first output; negative if there was none."""
        start, run = metrics.timestamp - metrics.duration, _run_id(metrics)
        begun = self._at(start, timestamp=metrics.timestamp, duration=metrics.duration)
        ended = self._at(metrics.timestamp)
        if component == "llm":
            begun.on_llm_start()
        else:
            begun.on_tts_start()
        begun.name_run(component, run)
        if until_first >= 0 and component == "llm":
            self._at(start + until_first, ttft=until_first).on_llm_first_token()
        elif until_first >= 0:
            self._at(start + until_first, ttfb=until_first).on_tts_first_byte()
        if not self._ended_early(ended, component, metrics):
            ended.on_llm_complete() if component == "llm" else ended.on_tts_complete(run)

    def _ended_early(self, ended: BackdatedHooks, component: Component, metrics: Any) -> bool:
        superseded = metrics.speech_id in self._superseded
        if superseded or metrics.cancelled:
            ended.run_ended(component, "superseded" if superseded else "cancelled", _run_id(metrics))
        return bool(superseded or metrics.cancelled)

    def _realtime_run(self, metrics: Any) -> None:
        """A realtime response, whose ``timestamp`` is its creation."""
        run = _run_id(metrics)
        if metrics.duration:
            self._at(metrics.timestamp, timestamp=metrics.timestamp).name_run("realtime", run)
            ended = self._at(metrics.timestamp + metrics.duration, duration=metrics.duration)
            ended.run_ended("realtime", "cancelled" if metrics.cancelled else "done", run)
        self.recorder.name_usage("realtime", run)
        self.recorder.set_realtime_usage(_realtime_usage(metrics))

    # tools and failures ----------------------------------------------------------------------------------------

    def tool_execution_updated(self, event: Any) -> None:
        update, hooks = event.update, self._at(event.created_at, created_at=event.created_at)
        if update.type == "tool_call_started":
            call = update.function_call
            hooks.tool_started(call.call_id, call.name, _json(call.arguments))
        elif update.type == "tool_call_updated":
            hooks.tool_progress(update.call_id, update.message)
        elif update.type == "tool_call_ended":
            hooks.tool_ended(update.call_id, _STATUS.get(update.status, "done"), update.message)

    def function_tools_executed(self, event: Any) -> None:
        offset = time.perf_counter() - time.time()  # the hook takes monotonic times
        for call, output in zip(event.function_calls, event.function_call_outputs, strict=False):
            self.recorder.add_function_tool_call(
                call.name,
                _json(call.arguments),
                {"output": output.output, "is_error": output.is_error},
                call.created_at + offset,
                output.created_at + offset,
            )

    def fallback(self, component: str, label: str, available: bool) -> None:
        """A provider of a fallback adapter failed or recovered."""
        self.recorder.on_fallback_event(
            {
                "component_type": component,
                "message": f"{label} {'works again' if available else 'failed'}",
                "start_time": time.perf_counter(),
                "original_provider_label": label,
                "is_recovery": available,
            }
        )


def _run_id(metrics: Any) -> str:
    """The provider's request id, with the segment id if segments are measured separately."""
    segment = getattr(metrics, "segment_id", None)
    own = metrics.request_id or f"{metrics.label}@{metrics.timestamp}"
    return f"{own}/{segment}" if segment else str(own)


def _numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if isinstance(value, (int, float))}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"arguments": text}


def _realtime_usage(metrics: Any) -> dict[str, int]:
    received, generated = metrics.input_token_details, metrics.output_token_details
    cached = received.cached_tokens_details
    return {
        "input_tokens": metrics.input_tokens,
        "output_tokens": metrics.output_tokens,
        "total_tokens": metrics.total_tokens,
        "input_text_tokens": received.text_tokens,
        "input_audio_tokens": received.audio_tokens,
        "input_image_tokens": received.image_tokens,
        "input_cached_tokens": received.cached_tokens,
        "cached_text_tokens": cached.text_tokens if cached else 0,
        "cached_audio_tokens": cached.audio_tokens if cached else 0,
        "cached_image_tokens": cached.image_tokens if cached else 0,
        "output_text_tokens": generated.text_tokens,
        "output_audio_tokens": generated.audio_tokens,
        "output_image_tokens": generated.image_tokens,
    }
