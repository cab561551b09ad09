"""Calls with the real framework, each in a process of its own, as the framework runs them: a collector is global to it.

``python videosdk_scenarios.py FOLDER [NAME…]`` runs them at the same time; each leaves ``FOLDER/NAME.db`` and
``FOLDER/NAME.json`` (what the framework posted, what the adapter counted).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from videosdk.agents import FallbackLLM, metrics
from videosdk.agents.event_bus import global_event_emitter
from videosdk.agents.metrics import telemetry
from videosdk.agents.pipeline import InterruptConfig
from videosdk.agents.realtime_base_model import RealtimeBaseModel

from eventstore.errors import StoreUnavailable
from turnlog import open_store
from turnlog.adapters import videosdk
from turnlog.adapters.videosdk.demo import room as demo_videosdk_room
from turnlog.adapters.videosdk.demo.agent import POLICY, DemoAgent, pipeline
from turnlog.adapters.videosdk.demo.providers import TTS_RATE, Answer, EnergyVAD, ScriptedLLM, ScriptedTTS, tone
from turnlog.adapters.videosdk.demo.room import Room, offline

Result = dict[str, Any]
Scenario = Callable[[Room, Result], Awaitable[None]]
SCENARIOS: dict[str, tuple[Scenario, dict[str, Any]]] = {}
ORDER, ADDRESS = "Hi, where is my order?", "Can I still change the address?"


def scenario(**options: Any) -> Callable[[Scenario], Scenario]:
    """``options`` are those of `videosdk.install`."""

    def add(run: Scenario) -> Scenario:
        SCENARIOS[run.__name__] = run, options
        return run

    return add


@scenario()
async def normal(room: Room, result: Result) -> None:
    await room.start(DemoAgent(), **pipeline(room, ["It arrives on Tuesday.", "Yes, until the evening."]))
    await room.wait_for_answer()
    await room.ask(ORDER)
    await room.ask(ADDRESS)


async def interrupted(room: Room) -> None:
    slowly = ScriptedTTS(per_character=0.04)  # not awaited to the end
    await room.start(DemoAgent(greeting=""), **pipeline(room, [POLICY, "Thirty days."], tts=slowly))
    await room.say("What is your return policy?")
    await room.until(room.agent_speaks)
    await asyncio.sleep(0.4)
    await room.ask("Stop, the short version please.")


@scenario()
async def barge_in(room: Room, result: Result) -> None:
    await interrupted(room)


@scenario(lend_clock=False)
async def clock_not_lent(room: Room, result: Result) -> None:
    await interrupted(room)


@scenario(mode="replace")
async def replaced(room: Room, result: Result) -> None:
    await interrupted(room)
    collector = metrics.metrics_collector
    result["turns_read"] = [turn.user_speech for turn in collector.turns]
    result["session_read"] = collector.session.session_id
    result["framework_heard"] = collector._user_input_start_time


@scenario()
async def barge_in_while_thinking(room: Room, result: Result) -> None:
    answers: list[Answer | str] = [Answer(POLICY, first_token=2.0), "The blue one, then."]
    await room.start(DemoAgent(greeting=""), **pipeline(room, answers))
    await room.say("I want to return my jacket.")
    await room.until(lambda: room.session.agent_state.value == "thinking")
    await room.ask("Sorry, I mean the blue jacket.")


@scenario()
async def false_interruption(room: Room, result: Result) -> None:
    settings = InterruptConfig(
        interrupt_min_duration=0.2, resume_on_false_interrupt=True, false_interrupt_pause_duration=0.5
    )
    await room.start(DemoAgent(greeting=""), **pipeline(room, [POLICY, "Bye."], interrupt_config=settings))
    await room.say("What is your return policy?")
    await room.until(room.agent_speaks)
    await asyncio.sleep(0.3)
    await room.say("", seconds=0.4)
    await room.until(room.agent_is_done)
    await room.ask(ADDRESS)


@scenario()
async def tool_call(room: Room, result: Result) -> None:
    called = Answer(tool=("get_order_status", {"order_id": "A17"}))
    await room.start(DemoAgent(greeting=""), **pipeline(room, [called, "Order A17 has shipped."]))
    await room.ask("Where is order A seventeen?")


@scenario()
async def llm_error(room: Room, result: Result) -> None:
    await room.start(DemoAgent(greeting=""), **pipeline(room, [Answer(error="503 from the model"), "Back again."]))
    await room.say(ORDER)
    await room.until(lambda: room.session.agent_state.value == "thinking")
    await asyncio.sleep(0.5)
    await room.ask(ADDRESS)


@scenario()
async def fallback(room: Room, result: Result) -> None:
    llm = FallbackLLM(
        [ScriptedLLM([Answer(error="500")], model="first"), ScriptedLLM(["Answered.", "Yes."], model="second")],
        temporary_disable_sec=60,
    )
    await room.start(DemoAgent(greeting=""), **pipeline(room, [], llm=llm))
    await room.ask(ORDER)
    await room.ask(ADDRESS)


@scenario()
async def hang_up_while_speaking(room: Room, result: Result) -> None:
    await room.start(DemoAgent(greeting=""), **pipeline(room, [POLICY]))
    await room.say(ORDER)
    await room.until(room.agent_speaks)
    await asyncio.sleep(0.3)


@scenario()
async def hang_up_while_thinking(room: Room, result: Result) -> None:
    await room.start(DemoAgent(greeting=""), **pipeline(room, [Answer("Late.", first_token=1.0)]))
    await room.say(ORDER)
    await room.until(lambda: room.session.agent_state.value == "thinking")


@scenario()
async def without_vad(room: Room, result: Result) -> None:
    await room.start(DemoAgent(), **pipeline(room, ["It arrives on Tuesday."], vad=None, turn_detector=None))
    await room.wait_for_answer()
    await room.ask(ORDER)


class RealtimeModel(RealtimeBaseModel):  # type: ignore[misc]
    """Speech to speech: hears with a detector of its own, and answers with a tone."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.model, self._room, self._answering = "scripted-realtime", room, asyncio.Event()
        self._vad = EnergyVAD()
        self._vad.on_vad_event(self._heard)
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None: ...

    def set_agent(self, agent: Any) -> None: ...

    async def handle_audio_input(self, audio: bytes) -> None:
        await self._vad.process_audio(audio)

    async def _heard(self, response: Any) -> None:
        if response.data.is_speech:
            self.emit("user_speech_started", {})
        else:
            self.emit("user_speech_ended", {})
            said = {"role": "user", "text": self._room.microphone.utterances[-1].text, "is_final": True}
            self.emit("realtime_model_transcription", said)
            self._task = asyncio.create_task(self._answer("It arrives on Tuesday."))

    async def _answer(self, text: str) -> None:
        await asyncio.sleep(0.2)
        self.emit("realtime_model_transcription", {"role": "agent", "text": text, "is_final": True})
        self.emit("agent_speech_started", {})
        await self.audio_track.add_new_bytes(tone(0.5, TTS_RATE).tobytes())
        self.audio_track.mark_synthesis_complete()

    async def send_message(self, message: str) -> None:
        await self._answer(message)

    async def send_text_message(self, message: str) -> None:
        await self._answer(message)

    async def interrupt(self) -> None:
        if self.audio_track:
            self.audio_track.interrupt()

    async def aclose(self) -> None:
        await super().aclose()


async def realtime_turns(room: Room) -> None:
    await room.start(DemoAgent(greeting=""), llm=RealtimeModel(room))
    collector = metrics.metrics_collector
    for n, text in enumerate((ORDER, ADDRESS), 1):
        await room.say(text)
        await room.until(lambda: len(collector.turns) >= n)  # noqa: B023 - awaited here


@scenario()
async def realtime(room: Room, result: Result) -> None:
    await realtime_turns(room)


@scenario(mode="replace")
async def realtime_replaced(room: Room, result: Result) -> None:
    await realtime_turns(room)


@scenario()
async def spans(room: Room, result: Result) -> None:
    """With the framework's own tracing on, into memory."""
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    telemetry.OTLPSpanExporter = lambda **_: exporter
    demo_videosdk_room._Meeting.get_attributes = lambda _: {"traces": {"enabled": True, "pbEndPoint": "http://unused"}}
    await interrupted(room)
    result["exporter"] = exporter


@scenario()
async def killed(room: Room, result: Result) -> None:
    """Dies as soon as the hook for the first audio of the answer has returned."""
    await room.start(DemoAgent(), **pipeline(room, [POLICY]))
    await room.wait_for_answer()
    hook = metrics.MetricsCollector.on_tts_first_byte

    def last(collector: Any) -> None:
        hook(collector)
        os.kill(os.getpid(), signal.SIGKILL)

    metrics.MetricsCollector.on_tts_first_byte = last
    await room.ask("What is your return policy?")


@scenario()
async def unknown_method(room: Room, result: Result) -> None:
    """A method unknown to this adapter, as in newer releases (added below, before `install`)."""
    await room.start(DemoAgent(greeting=""), **pipeline(room, ["It arrives on Tuesday."]))
    metrics.metrics_collector.on_mood(7, mood="calm")
    await room.ask(ORDER)


@scenario()
async def listener(room: Room, result: Result) -> None:
    """The application listens to the collector, and calls it from there."""
    global_event_emitter.on("TURN_METRICS_ADDED", lambda _: metrics.metrics_collector.add_error("LLM", "noted"))
    await room.start(DemoAgent(greeting=""), **pipeline(room, ["It arrives on Tuesday."]))
    await room.ask(ORDER)


class Hostile:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no attribute for you")


@scenario()
async def hostile(room: Room, result: Result) -> None:
    """What is handed to the collector raises whatever is asked of it."""
    await room.start(DemoAgent(greeting=""), **pipeline(room, ["It arrives on Tuesday."]))
    metrics.metrics_collector.set_system_instructions(Hostile())
    metrics.metrics_collector.set_system_instructions("You answer questions about orders.")
    await room.ask(ORDER)


@scenario()
async def failing(room: Room, result: Result) -> None:
    """Nothing can be recorded at all."""

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no recorder today")

    result["adapter"]._call_of = broken
    await room.start(DemoAgent(greeting=""), **pipeline(room, ["It arrives on Tuesday."]))
    await room.ask(ORDER)


@scenario()
async def store_down(room: Room, result: Result) -> None:
    """The store takes nothing from the first event on (see `run_scenario`)."""
    await interrupted(room)


@scenario()
async def one_after_the_other(room: Room, result: Result) -> None:
    """Two jobs in one process: the framework's collector outlives the first. (See `run_scenario` for the second.)"""
    await room.start(DemoAgent(greeting=""), **pipeline(room, ["It arrives on Tuesday."]))
    await room.ask(ORDER)


@scenario()
async def two_at_once(room: Room, result: Result) -> None:
    """Made twice at the same time. The framework's events of one reach the other, so its states say nothing."""
    await room.start(DemoAgent(greeting=""), **pipeline(room, ["It arrives on Tuesday."]))
    await room.say(ORDER)
    await asyncio.sleep(2.0)


async def call(run: Scenario, result: Result) -> None:
    async with Room() as room:
        await run(room, result)


async def calls(name: str, result: Result) -> None:
    run, _options = SCENARIOS[name]
    if name == "two_at_once":
        await asyncio.gather(call(run, result), call(run, result))
        return
    await call(run, result)
    if name == "one_after_the_other":
        await call(run, result)


def refuse(*_: Any) -> None:
    raise StoreUnavailable("no database today")


async def run_scenario(name: str, folder: Path) -> Result:
    _run, options = SCENARIOS[name]
    if name == "unknown_method":
        metrics.MetricsCollector.on_mood = lambda _self, level, mood="": None
    store = open_store(f"sqlite:///{folder / name}.db")
    if name == "store_down":
        store.append = refuse  # type: ignore[method-assign]
    result: Result = {}
    names = iter([name, f"{name}-2"])
    with offline() as posted, videosdk.install(store, session_id=lambda: next(names), **options) as adapter:
        result["adapter"] = adapter
        await calls(name, result)
        if name == "store_down":
            adapter.close(timeout=0.1)
    del result["adapter"]
    await asyncio.sleep(0)
    result |= {"posted": posted, "failed": adapter.failed, "late": adapter.late, "last_error": adapter.last_error}
    result |= {"compared": adapter.compared, "differences": adapter.differences}
    if "exporter" in result:
        telemetry.get_telemetry().flush()
        result["spans"] = [[s.name, s.start_time, s.end_time] for s in result.pop("exporter").get_finished_spans()]
    return result


def child(name: str, folder: Path) -> None:
    try:
        result = asyncio.run(run_scenario(name, folder))
        (folder / f"{name}.json").write_text(json.dumps(result))
    except BaseException:
        (folder / f"{name}.failed").write_text(traceback.format_exc())


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(SCENARIOS)
    logging.disable(logging.CRITICAL if not os.environ.get("SHOW_LOGS") else 0)
    children = []
    for name in names:
        process = os.fork()
        if not process:
            child(name, folder)
            os._exit(0)
        children.append(process)
    for process in children:
        os.waitpid(process, 0)


if __name__ == "__main__":
    main()
