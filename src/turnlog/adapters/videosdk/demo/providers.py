"""Scripted speech and language providers: no network, no models, no sound hardware.

They subclass the framework's own provider classes (``STT``, ``LLM``, ``TTS``, ``VAD``, ``EOU``), so the framework
itself handles the turns.
"""

# mypy: disable-error-code="import-not-found,import-untyped,misc,untyped-decorator"
# The framework is not installed where the types are checked.

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from av import AudioFrame
from videosdk.agents import (
    EOU,
    LLM,
    STT,
    TTS,
    VAD,
    ChatRole,
    LLMResponse,
    SpeechData,
    SpeechEventType,
    STTResponse,
    VADEventType,
    VADResponse,
)
from videosdk.agents.utils import segment_text
from videosdk.agents.vad import VADData

RATE = 48_000
FRAME_SECONDS = 0.02
TTS_RATE = 24_000
LOUD = 500.0
"""Root mean square, in sample units, above which audio counts as speech."""


def tone(seconds: float, rate: int, amplitude: float = 6000.0) -> np.ndarray[Any, np.dtype[np.int16]]:
    wave = amplitude * np.sin(2 * np.pi * 200 * np.arange(int(seconds * rate)) / rate)
    return np.asarray(wave, dtype=np.int16)


@dataclass
class Utterance:
    text: str
    start: int
    """In samples of the microphone, like ``end``."""
    end: int
    words_recognised: int = 0
    understood: bool = False


@dataclass
class Microphone:
    """The caller's audio: a frame of speech or silence every 20 ms."""

    position: int = 0
    utterances: list[Utterance] = field(default_factory=list)
    _waiting: Any = field(default_factory=lambda: np.zeros(0, dtype=np.int16))
    _began: float | None = None

    def say(self, text: str, seconds: float | None = None) -> float:
        """Queue speech, or noise if the text is empty; return its duration in seconds."""
        seconds = max(0.5, 0.025 * len(text)) if seconds is None else seconds
        start = self.position + len(self._waiting)
        sound = tone(seconds, RATE)
        self._waiting = np.concatenate([self._waiting, sound])
        self.utterances.append(Utterance(text, start, start + len(sound), understood=not text))
        return seconds

    async def recv(self) -> AudioFrame:
        """As the track of a participant does."""
        now = time.perf_counter()
        self._began = now if self._began is None else self._began
        await asyncio.sleep(max(0.0, self._began + self.position / RATE - now))
        size = int(RATE * FRAME_SECONDS)
        sound, self._waiting = self._waiting[:size], self._waiting[size:]
        self.position += size
        samples = np.concatenate([sound, np.zeros(size - len(sound), dtype=np.int16)])
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.position, Fraction(1, RATE)
        return frame


class EnergyVAD(VAD):
    """Detects speech by loudness."""

    model = "energy-vad"

    def __init__(self, min_speech: float = 0.1, min_silence: float = 0.2) -> None:
        super().__init__(threshold=0.5, min_speech_duration=min_speech, min_silence_duration=min_silence)
        self._loud = self._quiet = 0.0
        self._speaking = False

    async def process_audio(self, audio_frames: bytes, **_: Any) -> None:
        samples = np.frombuffer(audio_frames, dtype=np.int16).astype(np.float32)
        seconds = len(samples) / RATE
        if len(samples) and float(np.sqrt(np.mean(samples**2))) > LOUD:
            self._loud, self._quiet = self._loud + seconds, 0.0
        else:
            self._loud, self._quiet = 0.0 if not self._speaking else self._loud, self._quiet + seconds
        if not self._speaking and self._loud >= self._min_speech_duration:
            await self._emit(VADEventType.START_OF_SPEECH)
        elif self._speaking and self._quiet >= self._min_silence_duration:
            await self._emit(VADEventType.END_OF_SPEECH)
            self._loud = 0.0

    async def _emit(self, kind: VADEventType) -> None:
        self._speaking = kind is VADEventType.START_OF_SPEECH
        if self._vad_callback is not None:
            await self._vad_callback(VADResponse(event_type=kind, data=VADData(is_speech=self._speaking)))


class ScriptedSTT(STT):
    """Transcribes the microphone's script: interim transcripts as words are spoken, a final one after the last."""

    model = "scripted-stt"

    def __init__(self, microphone: Microphone, latency: float = 0.05, endpoint: float = 0.4) -> None:
        super().__init__()
        self._microphone, self._latency, self._endpoint = microphone, latency, endpoint
        self._tasks: set[asyncio.Task[None]] = set()

    async def process_audio(self, audio_frames: bytes, language: str | None = None, **_: Any) -> None:
        position = self._microphone.position
        for utterance in self._microphone.utterances:
            start, end = utterance.start, utterance.end
            if utterance.understood or position < start:
                continue
            words = utterance.text.split()
            spoken = min(len(words), len(words) * (position - start) // max(1, end - start))
            if spoken >= utterance.words_recognised + 2:
                utterance.words_recognised = spoken
                self._emit(SpeechEventType.INTERIM, " ".join(words[:spoken]), 0.02)
            if position - end >= self._endpoint * RATE:
                self._final(utterance)

    async def flush(self) -> None:
        for utterance in self._microphone.utterances:
            if not utterance.understood and self._microphone.position >= utterance.end:
                self._final(utterance)

    def _final(self, utterance: Utterance) -> None:
        utterance.understood = True
        duration = (utterance.end - utterance.start) / RATE
        self._emit(SpeechEventType.FINAL, utterance.text, self._latency, duration)

    def _emit(self, kind: SpeechEventType, text: str, delay: float, duration: float = 0.0) -> None:
        async def respond() -> None:
            await asyncio.sleep(delay)
            if self._transcript_callback is not None:
                data = SpeechData(text=text, confidence=0.9, language="en", duration=duration)
                response = STTResponse(event_type=kind, data=data, metadata={"model": self.model})
                await self._transcript_callback(response)

        task = asyncio.create_task(respond())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class ScriptedEOU(EOU):
    """Always predicts the end of the utterance."""

    model = "scripted-eou"

    def __init__(self) -> None:
        super().__init__(threshold=0.7)

    def get_eou_probability(self, chat_context: Any) -> float:
        return 0.95


@dataclass
class Answer:
    """The LLM's answer to one request."""

    text: str = ""
    tool: tuple[str, dict[str, Any]] | None = None
    first_token: float = 0.1
    """Seconds."""
    error: str = ""
    """Message of an error to raise instead."""


class ScriptedLLM(LLM):
    """Gives its answers in order, a word every few milliseconds."""

    def __init__(self, answers: list[Answer | str], model: str = "scripted-llm") -> None:
        super().__init__()
        self.model = model
        self._answers, self._requests, self._cancelled = list(answers), 0, False

    async def chat(self, messages: Any, tools: Any = None, **_: Any) -> AsyncIterator[LLMResponse]:
        self._cancelled, self._requests = False, self._requests + 1
        scripted = self._answers.pop(0) if self._answers else "All right."
        answer = Answer(scripted) if isinstance(scripted, str) else scripted
        await asyncio.sleep(answer.first_token)
        if answer.error:
            self.emit("error", answer.error)
            raise RuntimeError(answer.error)
        words = answer.text.split()
        if answer.tool is not None:
            name, arguments = answer.tool
            call = {"name": name, "arguments": arguments, "call_id": f"call-{self._requests}"}
            yield LLMResponse(content="", role=ChatRole.ASSISTANT, metadata={"function_call": call})
        for n, word in enumerate(words):
            if self._cancelled:
                return
            yield LLMResponse(content=word if n == 0 else f" {word}", role=ChatRole.ASSISTANT)
            await asyncio.sleep(0.01)
        usage = {"prompt_tokens": 40, "completion_tokens": len(words), "total_tokens": 40 + len(words)}
        yield LLMResponse(content="", role=ChatRole.ASSISTANT, metadata={"usage": usage | {"prompt_cached_tokens": 0}})

    async def cancel_current_generation(self) -> None:
        self._cancelled = True


class ScriptedTTS(TTS):
    """Synthesises a tone with a duration proportional to the text."""

    def __init__(
        self, first_byte: float = 0.08, per_character: float = 0.015, model: str = "scripted-tts", error: str = ""
    ) -> None:
        super().__init__(sample_rate=TTS_RATE, num_channels=1)
        self.model, self.loop = model, None
        self._first_byte, self._per_character, self._error = first_byte, per_character, error
        self._interrupted = self._started = False

    def reset_first_audio_tracking(self) -> None:
        self._started = False

    async def synthesize(self, text: AsyncIterator[str] | str, voice_id: str | None = None, **_: Any) -> None:
        self._interrupted = False
        if isinstance(text, str):
            await self._speak(text)
        else:
            async for segment in segment_text(text):
                await self._speak(segment)

    async def _speak(self, text: str) -> None:
        if not text.strip() or self._interrupted:
            return
        await asyncio.sleep(self._first_byte)
        if self._error:
            raise RuntimeError(self._error)
        sound = tone(self._per_character * len(text), TTS_RATE).tobytes()
        for at in range(0, len(sound), TTS_RATE // 5):
            if self._interrupted:
                return
            if not self._started and self._first_audio_callback is not None:
                self._started = True
                await self._first_audio_callback()
            await self.audio_track.add_new_bytes(sound[at : at + TTS_RATE // 5])
            await asyncio.sleep(0.01)

    async def interrupt(self) -> None:
        self._interrupted = True
        if self.audio_track is not None:
            self.audio_track.interrupt()
