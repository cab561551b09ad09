"""Which of a LiveKit session's events make a turn, and when did each thing in it happen? (``docs/livekit.md``)

`LiveKitTurns` has one method for each event that means something to a turn; it reads plain attributes and imports
nothing of LiveKit. The framework's times are seconds since the epoch. A turn is one exchange: what the user said until
the framework took it for complete, and the one speech that answers it. A speech nobody asked for is a turn of its own.

What the user says while being answered is held back until the framework has decided what it was: a barge-in (then it
begins the next turn, with its own times), or nothing (then it stays in the log as a framework event and in no turn).
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import msgspec

from eventstore.happened import Happened
from eventstore.recorder import Recorder


class Speech(NamedTuple):
    """The speech handle that is current when an event arrives."""

    id: str
    interrupted: bool


class Exchange(msgspec.Struct):
    """The open turn, as far as the next event's meaning depends on it. Times in seconds since the epoch."""

    speech: str | None = None
    """Id of the speech that answers."""
    settled: bool = False
    """The user's part is complete; what comes now is the answer."""
    over: bool = False
    """Answered; a realtime model's late transcript may still come."""
    user_started_at: float | None = None
    user_ended: bool = False
    user_text: str = ""
    agent_texts: list[str] = []
    speaking: bool = False
    paused_at: float | None = None
    llm_start: float | None = None
    tts_start: float | None = None


class LiveKitTurns:
    """Records the hooks that a session's events amount to."""

    def __init__(self, recorder: Recorder, *, realtime: bool = False, pause_seconds: float | None = None) -> None:
        """``pause_seconds``: how long the agent pauses before it takes an interruption for a false one; None: never."""
        self.recorder = recorder
        self.realtime = realtime
        self.pause_seconds = pause_seconds
        self.playback_started_at: float | None = None
        self._turn: Exchange | None = None
        self._user_speaks = False
        self._held: list[tuple[bool, float]] = []
        self._answer: str | None = None
        self._early: dict[str, list[Any]] = {}

    def _at(self, seconds: float, **raw: Any) -> Happened:
        return self.recorder.happened(round(seconds * 1e9), raw or None)

    # the user --------------------------------------------------------------------------------------------------

    def user_state_changed(self, event: Any) -> None:
        starts, ends = event.new_state == "speaking", event.old_state == "speaking"
        if not (starts or ends):
            return
        self._user_speaks = starts
        if self._turn is not None and self._turn.over:
            self._complete()
        if self._turn is not None and self._turn.settled:
            self._held.append((starts, event.created_at))
        else:
            self._user_speech(starts, event.created_at)

    def _user_speech(self, starts: bool, at: float) -> None:
        """A second start in a turn is the same speech going on: its end will be moved, and no more is said."""
        turn = self._turn = self._turn or Exchange()
        if starts and turn.user_started_at is None:
            turn.user_started_at = at
            self._at(at, created_at=at).on_user_speech_start()
        elif turn.user_started_at is not None and not starts:
            turn.user_ended = True
            self._at(at, created_at=at).on_user_speech_end()

    def user_input_transcribed(self, event: Any) -> None:
        turn = self._turn
        if event.is_final and event.transcript and turn is not None and not turn.settled:
            turn.user_text = f"{turn.user_text} {event.transcript}".strip()
            self._at(event.created_at).set_user_transcript(turn.user_text)

    def user_message(self, item: Any, speech: Speech | None) -> None:
        """The framework takes the user's words for complete: its measurements of them replace what was heard live."""
        metrics, text = dict(item.metrics), item.text_content or ""
        turn, answer = self._turn, self._answer or (speech.id if speech else None)
        if self.realtime and turn is not None and "end_of_turn_delay" not in metrics and turn.user_text in ("", text):
            if not turn.user_text:  # such a model tells it when it has it: before, during or after the answer
                turn.user_text = text
                self.recorder.set_user_transcript(text)
            return
        if turn is not None and turn.settled:
            self._complete()
        turn = self._begin_with_held() or self._turn
        if turn is None:
            turn = self._turn = Exchange()
            self.recorder.start_turn()
        stopped = metrics.get("stopped_speaking_at")
        if stopped is not None:
            if turn.user_started_at is None and "started_speaking_at" in metrics:
                self._user_speech(True, metrics["started_speaking_at"])
            self._measured(turn, metrics, stopped, item, text)
        if text != turn.user_text:
            turn.user_text = text
            self.recorder.set_user_transcript(text)
        turn.settled, self._answer = True, None
        self._answered_by(answer)

    def _measured(self, turn: Exchange, metrics: dict[str, Any], stopped: float, item: Any, text: str) -> None:
        """STT is from the end of speech to the last final, EOU from there to the decision; together, their delay."""
        turn.user_ended = True
        self._at(stopped, **_numbers(metrics)).on_user_speech_end()
        final = stopped + metrics.get("transcription_delay", 0.0)
        if "transcription_delay" in metrics:
            self._at(stopped).on_stt_start()
            self._at(final).on_stt_complete(text, confidence=item.transcript_confidence or 0.0)
        if "end_of_turn_delay" in metrics:
            self._at(final).on_eou_start()
            self._at(max(final, stopped + metrics["end_of_turn_delay"])).on_eou_complete()

    # the agent -------------------------------------------------------------------------------------------------

    def agent_state_changed(self, event: Any, speech: Speech | None) -> None:
        if event.new_state == "speaking":
            self._speaks(event.created_at, speech)
        elif event.old_state == "speaking":
            turn, may_resume = self._turn, self.pause_seconds is not None and event.new_state == "listening"
            if turn is not None and turn.speaking and may_resume and self._held and speech and not speech.interrupted:
                turn.paused_at = event.created_at
                self._at(event.created_at).on_false_interrupt_start(self.pause_seconds)
            elif turn is not None:
                self._silent(event.created_at, interrupted=bool(speech and speech.interrupted))
            self.playback_started_at = None

    def _speaks(self, at: float, speech: Speech | None) -> None:
        turn = self._turn
        if turn is not None and turn.paused_at is not None:
            turn.paused_at = None
            self._held.clear()
            return self._at(at, created_at=at).on_false_interrupt_resume()
        by = speech.id if speech else None
        if turn is not None and (turn.over or (turn.settled and turn.speech not in (None, by))):
            self._complete()
        turn = self._turn = self._turn or Exchange()
        if self._user_speaks and not turn.settled and turn.user_started_at is not None:
            self._held.append((True, turn.user_started_at))  # both began at once, and may yet be a barge-in
        heard_at = self.playback_started_at or at
        self._at(heard_at, created_at=at).on_agent_speech_start()
        turn.speaking = turn.settled = True
        self._answered_by(by)

    def agent_message(self, item: Any, speech: Speech | None) -> None:
        """What the agent has said, with the framework's own measurements of it: the last word on them."""
        turn, metrics = self._turn, dict(item.metrics)
        if turn is None:
            return
        self._user_heard_until(turn, metrics)
        if "llm_node_ttft" in metrics and turn.llm_start is not None:
            self._at(turn.llm_start + metrics["llm_node_ttft"], **_numbers(metrics)).on_llm_first_token()
        if "tts_node_ttfb" in metrics and turn.speaking:
            self._first_byte(turn, metrics)
        turn.agent_texts.append(item.text_content or "")
        self.recorder.set_agent_response(" ".join(turn.agent_texts))
        # a failing TTS marks its message as interrupted too, but not the speech
        interrupted = bool(item.interrupted and (speech is None or speech.interrupted))
        self._silent(metrics.get("stopped_speaking_at", item.created_at), interrupted=interrupted)
        turn.tts_start = None  # the next message of this speech begins anew

    def _user_heard_until(self, turn: Exchange, metrics: dict[str, Any]) -> None:
        """With a realtime model no message tells when the user ended; it follows from the latency."""
        if self.realtime and turn.user_ended and {"e2e_latency", "started_speaking_at"} <= metrics.keys():
            ended = metrics["started_speaking_at"] - metrics["e2e_latency"]
            self._at(ended, **_numbers(metrics)).on_user_speech_end()

    def _first_byte(self, turn: Exchange, metrics: dict[str, Any]) -> None:
        ttfb = metrics["tts_node_ttfb"]
        if turn.tts_start is None:  # nothing of the synthesis itself was heard yet
            turn.tts_start = metrics["started_speaking_at"] - metrics.get("playback_latency", 0.0) - ttfb
            self._at(turn.tts_start).on_tts_start()
        self._at(turn.tts_start + ttfb, **_numbers(metrics)).on_tts_first_byte()

    def _silent(self, at: float, *, interrupted: bool) -> None:
        """The agent is not heard any more. A pause that ended in an interruption was the end."""
        turn = self._turn
        if turn is None or not turn.speaking:
            return
        if turn.paused_at is not None and interrupted:
            self.recorder.on_false_interrupt_escalated()
        ended = self._at(turn.paused_at if turn.paused_at is not None and interrupted else at, at=at)
        if interrupted:
            ended.on_interrupted()
        ended.on_agent_speech_end()
        turn.speaking, turn.paused_at = False, None

    def speech_done(self, speech: Speech) -> None:
        """A speech has come to its end, whichever: its turn is complete."""
        turn = self._turn
        self._early.pop(speech.id, None)
        if turn is None or turn.speech != speech.id:
            return
        self._silent(time.time(), interrupted=speech.interrupted)
        if self.realtime and not speech.interrupted and not self._user_speaks:
            turn.over = True
        else:
            self._complete()
        if speech.interrupted or self._user_speaks:
            self._begin_with_held()
        self._held.clear()

    # measurements ----------------------------------------------------------------------------------------------

    def metrics(self, metrics: Any) -> None:
        """A component's own. Its speech may not have been chosen yet: the LLM may start before the user's end."""
        kind, speech = metrics.type, getattr(metrics, "speech_id", None)
        if kind == "eou_metrics":
            self._answer = speech
        elif kind == "realtime_model_metrics":
            self.recorder.set_realtime_usage(_realtime_usage(metrics))
        elif kind in ("llm_metrics", "tts_metrics") and speech is not None:
            if self._turn is not None and self._turn.speech == speech:
                self._measure(self._turn, metrics)
            else:
                self._early.setdefault(speech, []).append(metrics)

    def _answered_by(self, speech: str | None) -> None:
        if self._turn is not None and speech is not None:
            self._turn.speech = speech
            for metrics in self._early.pop(speech, ()):
                self._measure(self._turn, metrics)

    def _measure(self, turn: Exchange, metrics: Any) -> None:
        """``timestamp`` is taken at the end."""
        start = metrics.timestamp - metrics.duration
        if metrics.type == "llm_metrics":
            turn.llm_start = start
            self._at(start, timestamp=metrics.timestamp, duration=metrics.duration).on_llm_start()
            if metrics.ttft >= 0:
                self._at(start + metrics.ttft, ttft=metrics.ttft).on_llm_first_token()
            self._at(metrics.timestamp).on_llm_complete()
            usage = ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_cached_tokens")
            self.recorder.set_llm_usage({name: getattr(metrics, name) for name in usage})
            return
        if turn.tts_start is None and metrics.ttfb >= 0 and not turn.agent_texts:
            turn.tts_start = start
            self._at(start, timestamp=metrics.timestamp, duration=metrics.duration).on_tts_start()
            self._at(start + metrics.ttfb, ttfb=metrics.ttfb).on_tts_first_byte()
        self.recorder.add_tts_characters(metrics.characters_count)

    # tools, trouble --------------------------------------------------------------------------------------------

    def function_tools_executed(self, event: Any) -> None:
        offset = time.perf_counter() - time.time()  # the hook wants the monotonic clock
        for call, output in zip(event.function_calls, event.function_call_outputs, strict=False):
            self.recorder.add_function_tool_call(
                call.name,
                _json(call.arguments),
                {"output": output.output, "is_error": output.is_error},
                call.created_at + offset,
                output.created_at + offset,
            )

    def fallback(self, component: str, label: str, available: bool) -> None:
        """A provider of a fallback adapter failed, or works again."""
        self._turn = self._turn or Exchange()  # the hook opens a turn
        self.recorder.on_fallback_event(
            {
                "component_type": component,
                "message": f"{label} {'works again' if available else 'failed'}",
                "start_time": time.perf_counter(),
                "original_provider_label": label,
                "is_recovery": available,
            }
        )

    # turns -----------------------------------------------------------------------------------------------------

    def _begin_with_held(self) -> Exchange | None:
        """Open a turn with what the user said into the last one, if that began there."""
        held, self._held = self._held, []
        if not any(starts for starts, _ in held):
            return None
        if self._turn is not None:
            self._complete()
        for starts, at in held:
            self._user_speech(starts, at)
        return self._turn

    def _complete(self) -> None:
        if self.realtime:
            self.recorder.finalize_realtime_turn()
        else:
            self.recorder.complete_turn()
        self._turn = None

    def close(self) -> None:
        """The call is over."""
        if self._turn is not None and self.realtime and self._turn.over:
            self._complete()
        self.recorder.finalize_session()
        self._turn = None


def _numbers(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if isinstance(value, (int, float))}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"arguments": text}


def _realtime_usage(metrics: Any) -> dict[str, int]:
    given, made = metrics.input_token_details, metrics.output_token_details
    cached = given.cached_tokens_details
    return {
        "input_tokens": metrics.input_tokens,
        "output_tokens": metrics.output_tokens,
        "total_tokens": metrics.total_tokens,
        "input_text_tokens": given.text_tokens,
        "input_audio_tokens": given.audio_tokens,
        "input_image_tokens": given.image_tokens,
        "input_cached_tokens": given.cached_tokens,
        "cached_text_tokens": cached.text_tokens if cached else 0,
        "cached_audio_tokens": cached.audio_tokens if cached else 0,
        "cached_image_tokens": cached.image_tokens if cached else 0,
        "output_text_tokens": made.text_tokens,
        "output_audio_tokens": made.audio_tokens,
        "output_image_tokens": made.image_tokens,
    }
