"""An offline Pipecat agent: a scripted caller and scripted services in a real pipeline, recorded by our observer.

The audio is a tone for speech and silence otherwise, in real time, which a simple voice detector distinguishes. The
tests use these parts as well.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from loguru import logger
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams
from pipecat.frames import frames as f
from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams, LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.turns.user_start import BaseUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.utils.time import time_now_iso8601
from pipecat.workers.runner import WorkerRunner

from eventstore.stores.base import Store
from turnlog.adapters.pipecat.observer import TurnlogObserver

RATE = 16_000
FRAME_SECONDS = 0.02
SAMPLES = int(RATE * FRAME_SECONDS)
TONE = struct.pack(f"<{SAMPLES}h", *(int(9000 * math.sin(2 * math.pi * 440 * n / RATE)) for n in range(SAMPLES)))
SILENCE = bytes(2 * SAMPLES)
STT_SECONDS, TTFT_SECONDS, TTS_SECONDS = 0.15, 0.12, 0.1
SECONDS_PER_LETTER = 0.03
VAD_SECONDS = 0.2


class Call(NamedTuple):
    """A tool call of the model."""

    name: str
    arguments: dict[str, Any]


Reply = str | Call | Exception


class Caller:
    """The incoming audio: utterances and silence, in frames of 20 ms, which also serve as the script's clock."""

    def __init__(self) -> None:
        self.frame = 0
        self.ends: list[tuple[int, str]] = []
        """The frame after each utterance, and its text."""
        self._until = 0
        self._awaited: list[tuple[int, asyncio.Event]] = []

    async def say(self, text: str, seconds: float) -> None:
        """Speak for ``seconds``; return at the end. An empty text is noise."""
        self._until = self.frame + math.ceil(seconds / FRAME_SECONDS)
        self.ends.append((self._until, text))
        await self._wait_for_frame(self._until)

    async def pause(self, seconds: float) -> None:
        await self._wait_for_frame(self.frame + math.ceil(seconds / FRAME_SECONDS))

    async def _wait_for_frame(self, frame: int) -> None:
        reached = asyncio.Event()
        self._awaited.append((frame, reached))
        await reached.wait()

    def next(self) -> bytes:
        self.frame += 1
        for frame, reached in self._awaited:
            if self.frame >= frame:
                reached.set()
        self._awaited = [(frame, reached) for frame, reached in self._awaited if not reached.is_set()]
        return TONE if self.frame <= self._until else SILENCE


class Microphone(BaseInputTransport):
    def __init__(self, caller: Caller, params: TransportParams) -> None:
        super().__init__(params)
        self._caller = caller
        self._task: asyncio.Task[None] | None = None

    async def start(self, frame: f.StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        self._task = self.create_task(self._feed())

    async def _feed(self) -> None:
        begin = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, begin + self._caller.frame * FRAME_SECONDS - time.monotonic()))
            await self.push_audio_frame(f.InputAudioRawFrame(self._caller.next(), RATE, 1))

    async def _hang_up(self) -> None:
        if self._task is not None:
            await self.cancel_task(self._task)
            self._task = None

    async def stop(self, frame: f.EndFrame) -> None:
        await self._hang_up()
        await super().stop(frame)

    async def cancel(self, frame: f.CancelFrame) -> None:
        await self._hang_up()
        await super().cancel(frame)


class Loudspeaker(BaseOutputTransport):
    """An audio output that discards its audio in real time."""

    _free_at = 0.0

    async def start(self, frame: f.StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: f.OutputAudioRawFrame) -> bool:
        wait = self._free_at - time.monotonic()
        await asyncio.sleep(max(0.0, wait))
        self._free_at = max(self._free_at, time.monotonic()) + len(frame.audio) / 2 / frame.sample_rate
        return True


class ToneDetector(VADAnalyzer):
    """Treats everything but silence as voice."""

    def num_frames_required(self) -> int:
        return SAMPLES

    def voice_confidence(self, buffer: bytes) -> float:
        return 1.0 if any(buffer) else 0.0


class ScriptedSTT(STTService):
    """Transcribes the caller's script shortly after the end of speech. Fails at ``crackle``."""

    def __init__(self, caller: Caller) -> None:
        super().__init__(ttfs_p99_latency=0.3, settings=STTSettings(model="scripted-stt", language=None))
        self._caller, self._given = caller, 0

    def can_generate_metrics(self) -> bool:
        return True

    async def run_stt(self, audio: bytes) -> AsyncGenerator[f.Frame | None, None]:
        yield None

    async def process_frame(self, frame: f.Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, f.VADUserStoppedSpeakingFrame):
            ends = self._caller.ends
            while self._given < len(ends) and self._caller.frame >= ends[self._given][0]:
                text = ends[self._given][1]
                self._given += 1
                if text == "crackle":
                    await self.push_error("scripted failure of the STT")
                elif text:
                    self.create_task(self._transcribe(text))

    async def _transcribe(self, text: str) -> None:
        await self.push_frame(f.InterimTranscriptionFrame(text.split(maxsplit=1)[0], "caller", time_now_iso8601()))
        await asyncio.sleep(STT_SECONDS)
        await self.push_frame(f.TranscriptionFrame(text, "caller", time_now_iso8601()))


class ScriptedLLM(LLMService):
    """Returns the next reply, word by word."""

    def __init__(self, replies: Iterable[Reply], *, ttft: float = TTFT_SECONDS) -> None:
        settings = LLMSettings(
            model="scripted-llm", system_instruction=None, temperature=None, max_tokens=None, top_p=None, top_k=None,
            frequency_penalty=None, presence_penalty=None, seed=None, filter_incomplete_user_turns=False,
            user_turn_completion_config=None,
        )  # fmt: skip
        super().__init__(settings=settings)
        self._replies, self._ttft = iter(replies), ttft

    def can_generate_metrics(self) -> bool:
        return True

    async def process_frame(self, frame: f.Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, f.LLMContextFrame):
            return await self.push_frame(frame, direction)
        await self.push_frame(f.LLMFullResponseStartFrame())
        try:
            await self._reply(next(self._replies, "Goodbye."), frame.context)
        finally:
            await self.push_frame(f.LLMFullResponseEndFrame())

    async def _reply(self, reply: Reply, context: LLMContext) -> None:
        await self.start_ttfb_metrics()
        await asyncio.sleep(self._ttft)
        await self.stop_ttfb_metrics()
        if isinstance(reply, Exception):
            return await self.push_error(str(reply), exception=reply)
        if isinstance(reply, Call):
            call = f.FunctionCallFromLLM(reply.name, f"call-{time.monotonic_ns()}", reply.arguments, context)
            return await self.run_function_calls([call])
        words = reply.split()
        for n, word in enumerate(words):
            await self.push_frame(f.LLMTextFrame(" " * bool(n) + word))
            await asyncio.sleep(0.01)
        tokens = LLMTokenUsage(prompt_tokens=20, completion_tokens=len(words), total_tokens=20 + len(words))
        await self.start_llm_usage_metrics(tokens)


class ScriptedTTS(TTSService):
    """Synthesises a tone with a duration proportional to the text."""

    def __init__(self) -> None:
        settings = TTSSettings(model="scripted-tts", voice="tone", language=None)
        super().__init__(
            push_start_frame=True, push_stop_frames=True, stop_frame_timeout_s=0.5, sample_rate=RATE,
            settings=settings,
        )  # fmt: skip

    def can_generate_metrics(self) -> bool:
        return True

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[f.Frame | None, None]:
        await self.start_tts_usage_metrics(text)
        await asyncio.sleep(TTS_SECONDS)
        for _ in range(math.ceil(len(text) * SECONDS_PER_LETTER / 0.1)):
            await self.stop_ttfb_metrics()
            yield f.TTSAudioRawFrame(TONE * 5, RATE, 1, context_id=context_id)


class Ear(BaseObserver):
    """An observer that lets a script wait for the agent's states."""

    def __init__(self) -> None:
        super().__init__(observe_every_push=False)
        self.changed = asyncio.Condition()
        self.speaking, self.speeches, self.errors, self.thoughts, self.turns = False, 0, 0, 0, 0
        self.answers: list[int] = []
        """The number of the answering speech for each LLM request."""

    async def on_push_frame(self, data: FramePushed) -> None:
        async with self.changed:
            match data.frame:
                case f.BotStartedSpeakingFrame() if not self.speaking:
                    self.speaking, self.speeches = True, self.speeches + 1
                case f.BotStoppedSpeakingFrame():
                    self.speaking = False
                case f.UserStartedSpeakingFrame():
                    self.turns += 1
                case f.ErrorFrame():
                    self.errors += 1
                case f.LLMFullResponseStartFrame():
                    self.thoughts += 1
                    self.answers.append(self.speeches + 1)
                case _:
                    return
            self.changed.notify_all()

    async def starts(self, speech: int) -> None:
        """Wait until the agent starts to speak for the ``speech``-th time."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.speeches >= speech)

    async def thinks(self, thoughts: int) -> None:
        """Wait until the LLM has received that many requests."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.thoughts >= thoughts)

    async def hears_a_turn(self) -> None:
        """Wait until the first user turn starts."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.turns > 0)

    async def fails(self, errors: int) -> None:
        """Wait until that many errors were reported."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.errors >= errors)

    async def ends(self, speech: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.speeches >= speech and not self.speaking)


class Scene:
    """A scripted call: a pipeline with a caller."""

    def __init__(
        self,
        replies: Iterable[Reply],
        observers: list[BaseObserver],
        *,
        llm: FrameProcessor | None = None,
        tts: FrameProcessor | None = None,
        start: list[BaseUserTurnStartStrategy] | None = None,
    ) -> None:
        self.caller, self.ear = Caller(), Ear()
        params = TransportParams(audio_in_enabled=True, audio_out_enabled=True)
        llm = llm or ScriptedLLM(replies)
        if isinstance(llm, LLMService):
            llm.register_function("order_status", _order_status)
        stop = SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.1)
        detector = ToneDetector(params=VADParams(start_secs=VAD_SECONDS, stop_secs=VAD_SECONDS, min_volume=0.0))
        pair = LLMContextAggregatorPair(
            LLMContext(),
            user_params=LLMUserAggregatorParams(
                vad_analyzer=detector, user_turn_strategies=UserTurnStrategies(start=start, stop=[stop])
            ),
        )
        realtime = isinstance(llm, LLMService) and llm.service_metadata_frame().is_realtime_service
        hears = [] if realtime else [ScriptedSTT(self.caller)]
        speaks = [] if realtime else [tts or ScriptedTTS()]
        steps = [Microphone(self.caller, params), *hears, pair.user(), llm, *speaks, Loudspeaker(params)]
        self.worker = PipelineWorker(
            Pipeline([*steps, pair.assistant()]),
            params=PipelineParams(
                enable_metrics=True, enable_usage_metrics=True, audio_in_sample_rate=RATE, audio_out_sample_rate=RATE
            ),
            observers=[*observers, self.ear],
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
        )

    async def say(self, text: str, seconds: float = 0.4) -> None:
        """Let the caller speak; return at the end of the speech."""
        await self.caller.say(text, seconds)

    async def greet(self) -> None:
        await self.worker.queue_frames([f.LLMRunFrame()])

    async def hang_up(self) -> None:
        await self.worker.cancel()

    async def play(self, script: Callable[[Scene], Awaitable[None]]) -> None:
        """Run the pipeline and the script, and shut down in order at its end."""
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)

        async def scripted() -> None:
            try:
                await script(self)
            finally:
                await self.worker.queue_frames([f.EndFrame()])

        task = asyncio.create_task(scripted())
        try:
            await runner.run()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _order_status(params: FunctionCallParams) -> None:
    await asyncio.sleep(0.2)
    await params.result_callback({"status": "shipped"})


REPLIES: list[Reply] = [
    "Hello, how can I help?",
    Call("order_status", {"order": "A17"}),
    "Your order has shipped.",
    "We take everything back within thirty days, if it is unused and in its box.",
    "Thirty days.",
]


async def script(scene: Scene) -> None:
    await scene.greet()
    await scene.ear.ends(1)
    await scene.say("Where is my order?")
    await scene.ear.ends(2)
    await scene.say("Can I return it?")
    await scene.ear.starts(3)
    await scene.caller.pause(0.4)
    await scene.say("How many days?")  # while the agent speaks
    await scene.ear.ends(4)


async def run(store: Store, session_id: str) -> None:
    """Record a call: a greeting, a question that needs a tool, a second one, and a barge-in; about 6 seconds."""
    logger.disable("pipecat")  # it logs every step
    try:
        await Scene(REPLIES, [TurnlogObserver(store, session_id, agent_name="demo")]).play(script)
    finally:
        logger.enable("pipecat")
