"""Recording cost per frame of a Pipecat call: our observer compared with Pipecat's own, on the same frames.

    .venv-pipecat/bin/python benchmarks/adapters_pipecat.py

Each observer gets the frames of complete turns, audio included, as from the pipeline's proxy; a row has the average
cost of a frame, from the best of five runs. The pipeline's own cost is that of one additional processor.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from loguru import logger

logger.remove()

from pipecat.clocks.system_clock import SystemClock
from pipecat.frames import frames as f
from pipecat.observers.base_observer import FramePushed
from pipecat.observers.turn_tracking_observer import TurnTrackingObserver
from pipecat.observers.user_bot_latency_observer import UserBotLatencyObserver
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.filters.identity_filter import IdentityFilter
from pipecat.processors.frame_processor import FrameDirection
from pipecat.workers.runner import WorkerRunner

from turnlog import open_store
from turnlog.adapters.pipecat.observer import TurnlogObserver

TURNS, WORDS, AUDIO = 100, 20, 200
PASSED = 20_000


def turn(source: Any) -> list[FramePushed]:
    frames: list[f.Frame] = [f.VADUserStartedSpeakingFrame(start_secs=0.2), f.UserStartedSpeakingFrame()]
    frames += [f.InputAudioRawFrame(bytes(640), 16_000, 1) for _ in range(AUDIO)]
    frames += [
        f.VADUserStoppedSpeakingFrame(stop_secs=0.2),
        f.TranscriptionFrame("Where is my order?", "caller", "2026-01-01T00:00:00Z"),
        f.UserStoppedSpeakingFrame(),
        f.LLMFullResponseStartFrame(),
        *(f.LLMTextFrame(" word") for _ in range(WORDS)),
        f.LLMFullResponseEndFrame(),
        f.TTSStartedFrame(),
        f.TTSAudioRawFrame(bytes(640), 16_000, 1),
        f.BotStartedSpeakingFrame(),
        *(f.TTSAudioRawFrame(bytes(640), 16_000, 1) for _ in range(AUDIO)),
        f.TTSStoppedFrame(),
        f.BotStoppedSpeakingFrame(),
    ]
    clock = source.get_clock()
    return [FramePushed(source, source, frame, FrameDirection.DOWNSTREAM, clock.get_time()) for frame in frames]


async def observed(make: Callable[[int], Any]) -> float:
    """Microseconds per frame."""
    clock = SystemClock()
    clock.start()
    source: Any = SimpleNamespace(get_clock=lambda: clock, name="source", processors=[])
    best = float("inf")
    for run in range(5):
        observer = make(run)
        start = FramePushed(source, source, f.StartFrame(), FrameDirection.DOWNSTREAM, clock.get_time())
        await observer.on_push_frame(start)
        pushed = [one for _ in range(TURNS) for one in turn(source)]
        began = time.perf_counter()
        for one in pushed:
            await observer.on_push_frame(one)
        best = min(best, (time.perf_counter() - began) / len(pushed))
        await observer.cleanup()
    return best * 1e6


async def passed(processors: int) -> float:
    """Seconds to push frames through a real pipeline."""
    worker = PipelineWorker(
        Pipeline([IdentityFilter() for _ in range(processors)]),
        params=PipelineParams(),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    frames: list[f.Frame] = [f.OutputAudioRawFrame(bytes(640), 16_000, 1) for _ in range(PASSED)]
    await worker.queue_frames([*frames, f.EndFrame()])
    began = time.perf_counter()
    await runner.run()
    return time.perf_counter() - began


async def main() -> None:
    store = open_store(f"sqlite:///{tempfile.mkdtemp()}/calls.db")
    rows: list[tuple[str, Awaitable[float]]] = [
        ("turnlog: TurnlogObserver", observed(lambda run: TurnlogObserver(store, f"s-{run}"))),
        ("pipecat: TurnTrackingObserver", observed(lambda _run: TurnTrackingObserver())),
        ("pipecat: UserBotLatencyObserver", observed(lambda _run: UserBotLatencyObserver())),
    ]
    for name, row in rows:
        print(f"{name:<36} {await row:6.2f} µs per frame")
    one_more = (await passed(5) - await passed(1)) / 4 / PASSED * 1e6
    print(f"{'pipecat: one more processor':<36} {one_more:6.2f} µs per frame")
    store.close()


if __name__ == "__main__":
    asyncio.run(main())
