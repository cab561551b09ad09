"""A caller, a loudspeaker and providers for LiveKit Agents that need no network, no sound card and no model.

All run in real time with configured delays. Audio is loud or silent, which the VAD detects; the STT knows the caller's
script.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any, NamedTuple

from livekit import rtc  # type: ignore[import-not-found, unused-ignore]
from livekit.agents import (  # type: ignore[import-not-found, unused-ignore]
    DEFAULT_API_CONNECT_OPTIONS,
    APIStatusError,
    LanguageCode,
    llm,
    stt,
    tts,
    vad,
)
from livekit.agents.voice.io import (  # type: ignore[import-not-found, unused-ignore]
    AudioInput,
    AudioOutput,
    AudioOutputCapabilities,
)

HEARD_HZ, SPOKEN_HZ = 16_000, 24_000
FRAME_SECONDS = 0.02
_SAMPLES = int(HEARD_HZ * FRAME_SECONDS)
_LOUD, _QUIET = (8000).to_bytes(2, "little") * _SAMPLES, bytes(2 * _SAMPLES)


class Utterance(NamedTuple):
    text: str
    """The transcript; empty for noise."""
    first_frame: int
    frames: int


class Caller(AudioInput):  # type: ignore[misc, unused-ignore]
    """A microphone that is silent except for what the caller `say`s."""

    def __init__(self) -> None:
        super().__init__(label="caller")
        self.utterances: list[Utterance] = []
        self.frame = 0
        self._began: float | None = None

    async def say(self, text: str, seconds: float = 0.4) -> None:
        """Speak for ``seconds``; return at the end."""
        first = max([self.frame, *(u.first_frame + u.frames for u in self.utterances)])
        self.utterances.append(Utterance(text, first, round(seconds / FRAME_SECONDS)))
        await asyncio.sleep(seconds)

    def _speaks(self) -> bool:
        return any(u.first_frame <= self.frame < u.first_frame + u.frames for u in self.utterances)

    async def __anext__(self) -> Any:
        if self._began is None:
            self._began = time.perf_counter()
        await asyncio.sleep(max(0.0, self._began + self.frame * FRAME_SECONDS - time.perf_counter()))
        data = _LOUD if self._speaks() else _QUIET
        self.frame += 1
        return rtc.AudioFrame(data=data, sample_rate=HEARD_HZ, num_channels=1, samples_per_channel=_SAMPLES)


class Loudspeaker(AudioOutput):  # type: ignore[misc, unused-ignore]
    """An audio output that discards its audio in real time; it can pause, and reports the played duration."""

    def __init__(self) -> None:
        super().__init__(label="loudspeaker", capabilities=AudioOutputCapabilities(pause=True), sample_rate=SPOKEN_HZ)
        self._seconds = self._played = 0.0
        self._complete = self._paused = False
        self._playing: asyncio.Task[None] | None = None

    async def capture_frame(self, frame: Any) -> None:
        await super().capture_frame(frame)
        if self._playing is None:
            self._seconds = self._played = 0.0
            self._complete = False
            self.on_playback_started(created_at=time.time())
            self._playing = asyncio.create_task(self._play())
        self._seconds += frame.duration

    async def _play(self) -> None:
        last = time.perf_counter()
        while not (self._complete and self._played >= self._seconds):
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            if not self._paused:
                self._played = min(self._seconds, self._played + now - last)
            last = now
        self._end(interrupted=False)

    def _end(self, interrupted: bool) -> None:
        self._playing = None
        self.on_playback_finished(playback_position=self._played, interrupted=interrupted)

    def flush(self) -> None:
        super().flush()
        self._complete = True

    def clear_buffer(self) -> None:
        if self._playing is not None:
            self._playing.cancel()
            self._end(interrupted=True)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False


class LoudnessVAD(vad.VAD):  # type: ignore[misc, unused-ignore]
    """Detects speech by loudness: it starts after 40 ms of loud audio and ends after ``silence`` seconds without."""

    def __init__(self, silence: float = 0.1) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=FRAME_SECONDS))
        self.silence = silence

    def stream(self) -> Any:
        return _LoudnessStream(self)


class _LoudnessStream(vad.VADStream):  # type: ignore[misc, unused-ignore]
    async def _main_task(self) -> None:
        speaking, loud, quiet, spoken = False, 0.0, 0.0, 0.0
        index = 0

        def emit(kind: Any) -> None:
            event = vad.VADEvent(
                type=kind,
                samples_index=index,
                timestamp=index / HEARD_HZ,
                speech_duration=spoken if speaking else loud,
                silence_duration=quiet,
                speaking=speaking,
                raw_accumulated_silence=quiet,
                raw_accumulated_speech=loud,
            )
            self._event_ch.send_nowait(event)

        async for frame in self._input_ch:
            if not isinstance(frame, rtc.AudioFrame):
                speaking, loud, quiet, spoken = False, 0.0, 0.0, 0.0
                continue
            index += frame.samples_per_channel
            if frame.data[0]:
                loud, quiet = loud + frame.duration, 0.0
            else:
                loud, quiet = 0.0, quiet + frame.duration
            spoken = spoken + frame.duration if speaking else loud
            if not speaking and loud > 0.03:
                speaking = True
                emit(vad.VADEventType.START_OF_SPEECH)
            emit(vad.VADEventType.INFERENCE_DONE)
            if speaking and quiet >= self._vad.silence:
                emit(vad.VADEventType.END_OF_SPEECH)
                speaking, spoken = False, 0.0


class ScriptedSTT(stt.STT):  # type: ignore[misc, unused-ignore]
    """Transcribes the caller's script: an interim transcript in the middle, the final one ``final`` seconds after."""

    model, provider = "words-1", "scripted"

    def __init__(self, caller: Caller, final: float = 0.15, fails: int = 0) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=True))
        self.caller, self.final, self.fails = caller, final, fails

    async def _recognize_impl(self, buffer: Any, *, language: Any, conn_options: Any) -> Any:
        raise NotImplementedError

    def stream(self, *, language: Any = None, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS) -> Any:
        return _ScriptedRecognition(stt=self, conn_options=conn_options)


class _ScriptedRecognition(stt.RecognizeStream):  # type: ignore[misc, unused-ignore]
    async def _run(self) -> None:
        caller, delay = self._stt.caller, round(self._stt.final / FRAME_SECONDS)
        if self._stt.fails > 0:
            self._stt.fails -= 1
            raise APIStatusError("the scripted STT is down", status_code=503, retryable=False)
        done = sum(u.first_frame + u.frames + delay <= caller.frame for u in caller.utterances)
        interim = -1
        async for _ in self._input_ch:
            if done == len(caller.utterances):
                continue
            current = caller.utterances[done]
            if caller.frame >= current.first_frame + current.frames + delay:
                done += 1
                self._emit(stt.SpeechEventType.FINAL_TRANSCRIPT, current.text)
                usage = stt.RecognitionUsage(audio_duration=current.frames * FRAME_SECONDS)
                kind = stt.SpeechEventType.RECOGNITION_USAGE
                self._event_ch.send_nowait(stt.SpeechEvent(type=kind, request_id="r", recognition_usage=usage))
            elif caller.frame >= current.first_frame + current.frames * 0.6 and interim < done and " " in current.text:
                interim = done
                self._emit(stt.SpeechEventType.INTERIM_TRANSCRIPT, current.text.rsplit(" ", 1)[0])

    def _emit(self, kind: Any, text: str) -> None:
        if text:
            data = stt.SpeechData(text=text, language=LanguageCode("en"), confidence=0.9)
            self._event_ch.send_nowait(stt.SpeechEvent(type=kind, request_id="r", alternatives=[data]))


class Reply(NamedTuple):
    """The LLM's answer to a text that contains ``to``."""

    to: str
    text: str = ""
    tool: tuple[str, dict[str, Any]] | None = None
    error: str | None = None
    ttft: float = 0.1


class ScriptedLLM(llm.LLM):  # type: ignore[misc, unused-ignore]
    def __init__(self, *replies: Reply, model: str = "script-1") -> None:
        super().__init__()
        self.replies, self._model = replies, model

    @property
    def model(self) -> str:
        return self._model

    @property
    def provider(self) -> str:
        return "scripted"

    def chat(
        self, *, chat_ctx: Any, tools: Any = None, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS, **_: Any
    ) -> Any:
        last = next(i for i in reversed(chat_ctx.items) if i.type in ("message", "function_call_output"))
        text = last.text_content if last.type == "message" else last.output
        reply = next((r for r in self.replies if r.to in (text or "")), Reply("", "Okay."))
        return _ScriptedAnswer(self, reply, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _ScriptedAnswer(llm.LLMStream):  # type: ignore[misc, unused-ignore]
    def __init__(self, model: ScriptedLLM, reply: Reply, **options: Any) -> None:
        self._reply = reply
        super().__init__(model, **options)

    async def _run(self) -> None:
        await asyncio.sleep(self._reply.ttft)
        if self._reply.error:
            raise APIStatusError(self._reply.error, status_code=500, retryable=False)
        answer, words = uuid.uuid4().hex[:8], self._reply.text.split(" ") if self._reply.text else []
        for n, word in enumerate(words):
            self._send(answer, content=" " * (n > 0) + word)
            await asyncio.sleep(0.005)
        if self._reply.tool:
            name, arguments = self._reply.tool
            call = llm.FunctionToolCall(name=name, arguments=json.dumps(arguments), call_id=f"call_{answer}")
            self._send(answer, tool_calls=[call])
        usage = llm.CompletionUsage(completion_tokens=len(words), prompt_tokens=20, total_tokens=20 + len(words))
        self._event_ch.send_nowait(llm.ChatChunk(id=answer, usage=usage))

    def _send(self, answer: str, **delta: Any) -> None:
        self._event_ch.send_nowait(llm.ChatChunk(id=answer, delta=llm.ChoiceDelta(role="assistant", **delta)))


class ScriptedTTS(tts.TTS):  # type: ignore[misc, unused-ignore]
    """Synthesises a tone of ``pace`` seconds per character, with a time to first byte of ``ttfb`` seconds."""

    model, provider = "tone-1", "scripted"

    def __init__(self, ttfb: float = 0.08, pace: float = 0.02, fails: int = 0) -> None:
        super().__init__(capabilities=tts.TTSCapabilities(streaming=False), sample_rate=SPOKEN_HZ, num_channels=1)
        self.ttfb, self.pace, self.fails = ttfb, pace, fails

    def synthesize(self, text: str, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS) -> Any:
        return _Tone(tts=self, input_text=text, conn_options=conn_options)


class _Tone(tts.ChunkedStream):  # type: ignore[misc, unused-ignore]
    async def _run(self, output: Any) -> None:
        output.initialize(request_id=uuid.uuid4().hex[:8], sample_rate=SPOKEN_HZ, num_channels=1, mime_type="audio/pcm")
        await asyncio.sleep(self._tts.ttfb)
        if self._tts.fails > 0:
            self._tts.fails -= 1
            raise APIStatusError("the scripted TTS is down", status_code=503, retryable=False)
        output.push(_LOUD[:2] * round(SPOKEN_HZ * self._tts.pace * len(self._input_text)))
        output.flush()
