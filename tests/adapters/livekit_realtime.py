"""A realtime model for LiveKit Agents that runs here: it hears loudness, answers in turn, and times itself."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from livekit import rtc
from livekit.agents import llm
from livekit.agents.metrics import RealtimeModelMetrics

from turnlog.adapters.livekit.demo.parts import SPOKEN_HZ, Caller

CAPABILITIES = llm.RealtimeCapabilities(
    message_truncation=True,
    turn_detection=True,
    user_transcription=True,
    auto_tool_reply_generation=False,
    audio_output=True,
    manual_function_calls=False,
)


class ScriptedRealtime(llm.RealtimeModel):
    model, provider = "realtime-1", "scripted"

    def __init__(self, caller: Caller, seconds: float, transcript_first: bool) -> None:
        super().__init__(capabilities=CAPABILITIES)
        self.caller, self.seconds, self.transcript_first = caller, seconds, transcript_first

    def session(self, *, turn_detection_disabled: bool = False) -> ScriptedRealtimeSession:
        return ScriptedRealtimeSession(self)

    async def aclose(self) -> None:
        pass


class ScriptedRealtimeSession(llm.RealtimeSession):
    chat_ctx = llm.ChatContext.empty()
    tools = llm.ToolContext.empty()

    def __init__(self, model: ScriptedRealtime) -> None:
        super().__init__(model)
        self._model = model
        self._loud, self._quiet_frames, self._heard = False, 0, 0
        self._answering: set[asyncio.Task[None]] = set()

    def push_audio(self, frame: rtc.AudioFrame) -> None:
        loud = bool(frame.data[0])
        self._quiet_frames = 0 if loud else self._quiet_frames + 1
        if loud and not self._loud:
            self._loud = True
            self.emit("input_speech_started", llm.InputSpeechStartedEvent())
        elif self._loud and self._quiet_frames == 5:
            self._loud = False
            self.emit("input_speech_stopped", llm.InputSpeechStoppedEvent(user_transcription_enabled=True))
            task = asyncio.create_task(self._answer())
            self._answering.add(task)

    async def _answer(self) -> None:
        heard, self._heard = self._model.caller.utterances[self._heard].text, self._heard + 1
        created, answer = time.time(), uuid.uuid4().hex[:8]
        if self._model.transcript_first:
            self._transcribe(heard)
        await asyncio.sleep(0.1)
        modalities: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        modalities.set_result(["audio", "text"])
        message = llm.MessageGeneration(answer, _one(f"You said: {heard}"), self._audio(), modalities)
        self.emit(
            "generation_created",
            llm.GenerationCreatedEvent(_one(message), _one(), user_initiated=False, response_id=answer),
        )
        await asyncio.sleep(0.1)
        if not self._model.transcript_first:
            self._transcribe(heard)
        details = RealtimeModelMetrics.InputTokenDetails(audio_tokens=7), RealtimeModelMetrics.OutputTokenDetails()
        metrics = RealtimeModelMetrics(
            request_id=answer,
            timestamp=created,
            duration=time.time() - created,
            ttft=0.1,
            input_tokens=7,
            total_tokens=7,
            input_token_details=details[0],
            output_token_details=details[1],
        )
        self.emit("metrics_collected", metrics)

    def _transcribe(self, text: str) -> None:
        item = f"item_{uuid.uuid4().hex[:8]}"
        event = llm.InputTranscriptionCompleted(item_id=item, transcript=text, is_final=True)
        self.emit("input_audio_transcription_completed", event)

    async def _audio(self) -> AsyncIterator[rtc.AudioFrame]:
        samples = int(SPOKEN_HZ * self._model.seconds)
        yield rtc.AudioFrame(b"\x01\x10" * samples, SPOKEN_HZ, 1, samples)

    def generate_reply(self, **_: Any) -> asyncio.Future[Any]:
        raise NotImplementedError

    async def update_instructions(self, instructions: str) -> None: ...
    async def update_chat_ctx(self, chat_ctx: Any) -> None: ...
    async def update_tools(self, tools: Any) -> None: ...
    def update_options(self, **_: Any) -> None: ...
    def push_video(self, frame: Any) -> None: ...
    def commit_audio(self) -> None: ...
    def clear_audio(self) -> None: ...
    def interrupt(self) -> None: ...
    def truncate(self, **_: Any) -> None: ...

    async def aclose(self) -> None:
        for task in self._answering:
            task.cancel()


async def _one(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item
