"""Real Pipecat pipelines with a scripted caller and scripted services, recorded. ``make test-pipecat``.

All scenes are played at once, in simulated time. What Pipecat's own observers measured in them we have to say, too.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import simulated_time

pytest.importorskip("pipecat", reason="needs Pipecat: make test-pipecat")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what it imports
    from turnlog.adapters.pipecat.demo import agent as demo_pipecat

from pipecat.clocks.system_clock import SystemClock
from pipecat.frames import frames as f
from pipecat.metrics.metrics import LLMTokenUsage, LLMUsageMetricsData
from pipecat.observers.base_observer import FramePushed
from pipecat.observers.turn_tracking_observer import TurnTrackingObserver
from pipecat.observers.user_bot_latency_observer import UserBotLatencyObserver
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.service_switcher import ServiceSwitcher, ServiceSwitcherStrategyFailover
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import FunctionCallParams, FunctionCallResultProperties
from pipecat.turns.user_start import MinWordsUserTurnStartStrategy, VADUserTurnStartStrategy
from recorded import Recorded

from eventstore import Event, Store, codec, open_store, recover
from eventstore.errors import StoreUnavailable
from eventstore.stores.memory import MemoryStore
from turnlog.adapters.pipecat.demo.agent import RATE, TONE, Call, Reply, Scene, ScriptedLLM, ScriptedTTS
from turnlog.adapters.pipecat.observer import TurnlogObserver

Script = Callable[[Scene], Awaitable[None]]
LONG = "We take everything back within thirty days, if it is unused and in its box."
LONGER = " ".join([LONG] * 3)
ASKED = ["Where is my order?", "Can I return it?", "How many days?"]
PONDERS: Any = object()
LOOKS_UP: Any = ["One moment please.", Call("look_up", {"order": "A17"})]
BOOKS: Any = ["", Call("hold", {}), Call("book", {"seats": 2}), Call("watch", {})]
TOLERANCE_MS = 5.0


@dataclass
class Played:
    observer: TurnlogObserver
    began: int = 0
    interrupted: list[bool] = field(default_factory=list)
    """Pipecat's verdict on each turn that ended."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from the user's silence to the agent's voice, as Pipecat measures them."""
    events: list[Event] = field(default_factory=list)

    @property
    def call(self) -> Recorded:
        return Recorded(self.events)


class Measured(UserBotLatencyObserver):
    """Pipecat's, with the time of the frames: by itself it reads the clock when its queue comes to them."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(time_source=lambda: self.now)

    async def on_push_frame(self, data: FramePushed) -> None:
        self.now = TurnlogObserver._time_of(self, data).wall_ns / 1e9  # type: ignore[arg-type]
        await super().on_push_frame(data)

    _clock = None


async def play(store: Store, name: str, script: Script, replies: list[Reply], **scene: Any) -> Played:
    turns, latency = TurnTrackingObserver(), Measured()
    played = Played(TurnlogObserver(store, name, clock=simulated_time.recorder_clock()))

    async def began(_observer: object, _turn: int) -> None:
        played.began += 1

    async def ended(_observer: object, _turn: int, _seconds: float, interrupted: bool) -> None:
        played.interrupted.append(interrupted)

    async def measured(_observer: object, seconds: float) -> None:
        played.latencies.append(seconds)

    turns.add_event_handler("on_turn_started", began)
    turns.add_event_handler("on_turn_ended", ended)
    latency.add_event_handler("on_latency_measured", measured)
    await Scene(replies, [played.observer, turns, latency], **scene).play(script)
    return played


# the scenes ----------------------------------------------------------------------------------------------------


async def noise(scene: Scene) -> None:
    """A cough, and then one word, while the agent speaks; three words are a turn."""
    await scene.say("Can I return it?")
    await scene.ear.starts(1)
    await scene.say("", 0.3)
    await scene.caller.pause(0.4)
    await scene.say("Okay.", 0.3)
    await scene.ear.ends(1)


async def late_barge_in(scene: Scene) -> None:
    """Only the words tell that it is a turn, and they come after the voice."""
    await scene.say("Can I return it?")
    await scene.ear.starts(1)
    await scene.say("Stop it please.", 0.3)
    await answered(scene)


async def answered(scene: Scene) -> None:
    """A rest of what was cut off may be heard before the second answer, which is awaited."""
    await scene.ear.thinks(2)
    await scene.ear.ends(scene.ear.answers[1])


async def cough_then_barge_in(scene: Scene) -> None:
    """A cough that pauses nothing, and a barge-in after it."""
    await scene.say("Can I return it?")
    await scene.ear.starts(1)
    await scene.say("", 0.3)
    await scene.caller.pause(0.4)
    await scene.say("Stop it please.", 0.3)
    await answered(scene)


async def talk_into_the_answer(scene: Scene) -> None:
    """With interruptions off, the agent goes on."""
    await scene.say("Can I return it?")
    await scene.ear.starts(1)
    await scene.say("Stop it please.", 0.3)
    await scene.ear.ends(1)


def tools_through_a_barge_in(model: Busy) -> Script:
    """The first answer calls tools; one is cancelled by the barge-in, one goes on, one is never done."""

    async def script(scene: Scene) -> None:
        await scene.say("Book it.")
        await model.running.wait()
        await scene.say("And hurry.")
        await model.cancelled.wait()
        model.release.set()
        await model.booked.wait()
        await scene.caller.pause(0.5)
        await scene.hang_up()

    return script


def filler(model: Busy) -> Script:
    """The agent says that it looks something up, and is silent until it has."""

    async def script(scene: Scene) -> None:
        await scene.say("Where is my order?")
        await scene.ear.ends(1)
        model.release.set()
        await scene.ear.ends(2)

    return script


async def hang_up_in_mid_sentence(scene: Scene) -> None:
    """The last words that come are an interim's, and the voice never ends."""
    await scene.greet()
    await scene.ear.ends(1)
    talking = asyncio.create_task(scene.say("I would like", 30.0))
    await scene.ear.hears_a_turn()
    await scene.worker.queue_frames([f.InterimTranscriptionFrame("I would", "caller", "2026-01-01T00:00:00Z")])
    await scene.caller.pause(0.5)
    await scene.hang_up()
    talking.cancel()


async def speak_on(scene: Scene) -> None:
    """The caller goes on while the model thinks."""
    await scene.say("I want to return a jacket.")
    await scene.ear.thinks(1)
    await scene.say("The blue one.")
    await scene.ear.ends(1)


async def model_fails(scene: Scene) -> None:
    await scene.say("Hello?")
    await scene.ear.fails(1)
    await scene.say("crackle", 0.3)
    await scene.ear.fails(2)
    await scene.say("Are you there?")
    await scene.ear.ends(1)


async def voice_fails(scene: Scene) -> None:
    await scene.say("Hello?")
    await scene.ear.fails(1)
    await scene.say("Are you there?")
    await scene.ear.ends(1)


async def two_questions(scene: Scene) -> None:
    await scene.say("Where is my order?")
    await scene.ear.ends(1)
    await scene.say("Can I return it?")
    await scene.ear.starts(2)
    await scene.caller.pause(0.3)
    await scene.say("How many days?")
    await scene.ear.ends(3)


async def hang_up_on_agent(scene: Scene) -> None:
    await scene.say("Can I return it?")
    await scene.ear.starts(1)
    await scene.hang_up()


async def hang_up_while_thinking(scene: Scene) -> None:
    await scene.greet()
    await scene.ear.ends(1)
    await scene.say("Can I return it?")
    await scene.ear.thinks(2)
    await scene.hang_up()


async def odd_frames(scene: Scene) -> None:
    await scene.say("Hello?")
    await scene.worker.queue_frames([Odd(data=[]), Weather("blue")])
    await scene.ear.ends(1)


class Odd(f.MetricsFrame):
    """A guest's object that breaks when it is looked at."""

    def __getattribute__(self, name: str) -> Any:
        if name == "data":
            raise ValueError("no data today")
        return super().__getattribute__(name)


class Busy(ScriptedLLM):
    """Says what it looks up, and has tools that take their time."""

    def __init__(self, replies: list[Any], **options: Any) -> None:
        super().__init__(replies, **options)
        self.running, self.cancelled = asyncio.Event(), asyncio.Event()
        self.release, self.booked = asyncio.Event(), asyncio.Event()
        for tool, keeps_on in (("look_up", False), ("hold", False), ("book", True), ("watch", True)):
            self.register_function(tool, getattr(self, f"_{tool}"), cancel_on_interruption=not keeps_on)

    async def _reply(self, reply: Any, context: Any) -> None:
        if not isinstance(reply, list):
            return await super()._reply(reply, context)
        words, *calls = reply
        if words:
            await super()._reply(words, context)
        await self.run_function_calls(
            [f.FunctionCallFromLLM(call.name, f"call-{call.name}", call.arguments, context) for call in calls]
        )

    async def _look_up(self, params: FunctionCallParams) -> None:
        await self.release.wait()
        await params.result_callback({"status": "shipped"})

    async def _hold(self, params: FunctionCallParams) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def _book(self, params: FunctionCallParams) -> None:
        await params.result_callback({"so far": 1}, properties=FunctionCallResultProperties(is_final=False))
        await self.release.wait()
        await params.result_callback({"booked": True})
        self.booked.set()

    async def _watch(self, params: FunctionCallParams) -> None:
        self.running.set()
        await asyncio.Event().wait()


class Pondering(ScriptedLLM):
    """Thinks until it is cancelled, where its reply is none."""

    async def _reply(self, reply: Any, context: Any) -> None:
        if reply is PONDERS:
            await asyncio.Event().wait()
        await super()._reply(reply, context)


class Weather(f.DataFrame):
    def __init__(self, sky: str) -> None:
        super().__post_init__()
        self.sky, self.pipeline = sky, object()


class Broken(ScriptedTTS):
    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[f.Frame | None, None]:
        await self.push_error("the key was refused", force_treat_as_permanent=True)
        yield None


class Realtime(ScriptedLLM):
    """A speech-to-speech model: it hears the user stop, writes down what it heard, and speaks."""

    def __init__(self, replies: list[Any], heard: list[str]) -> None:
        super().__init__(replies)
        self._heard = iter(heard)

    def service_metadata_frame(self) -> f.LLMServiceMetadataFrame:
        return f.LLMServiceMetadataFrame(service_name=self.name, is_realtime_service=True)

    async def process_frame(self, frame: f.Frame, direction: FrameDirection) -> None:
        if isinstance(frame, f.LLMContextFrame):
            return
        await super().process_frame(frame, direction)
        if isinstance(frame, f.UserStoppedSpeakingFrame) and direction is FrameDirection.DOWNSTREAM:
            self.create_task(self._speak(str(next(self._replies))))

    async def _speak(self, text: str) -> None:
        await self.push_frame(
            f.TranscriptionFrame(next(self._heard), "caller", "2026-01-01T00:00:00Z"), FrameDirection.UPSTREAM
        )
        await asyncio.sleep(0.1)
        await self.push_frame(f.LLMFullResponseStartFrame())
        await self.push_frame(f.TTSStartedFrame())
        for _ in range(15):
            await self.push_frame(f.TTSAudioRawFrame(TONE * 5, RATE, 1))
        await self.push_frame(f.TTSTextFrame(text, "sentence"))
        await self.start_llm_usage_metrics(
            LLMTokenUsage(prompt_tokens=7, completion_tokens=9, total_tokens=16, output_audio_tokens=8)
        )
        await self.push_frame(f.LLMFullResponseEndFrame())
        await self.push_frame(f.TTSStoppedFrame())


class Down(MemoryStore):
    """A store that takes nothing."""

    def append(self, events: Any) -> Any:
        raise StoreUnavailable("the database is down")


async def play_all(store: Store, down: Store) -> dict[str, Played]:
    words = [MinWordsUserTurnStartStrategy(min_words=3, use_interim=False)]
    looks, books = Busy([LOOKS_UP, "It has shipped."]), Busy([BOOKS, "At once.", "It is booked."])
    switcher = ServiceSwitcher([Broken(), ScriptedTTS()], ServiceSwitcherStrategyFailover)
    scenes = {
        "demo": play(store, "demo", demo_pipecat.script, demo_pipecat.REPLIES),
        "noise": play(store, "noise", noise, [LONGER], start=words),
        "late_barge_in": play(
            store,
            "late_barge_in",
            late_barge_in,
            [LONGER, "Thirty days."],
            start=[MinWordsUserTurnStartStrategy(min_words=3, use_interim=False)],
        ),
        "cough_then_barge_in": play(
            store,
            "cough_then_barge_in",
            cough_then_barge_in,
            [LONGER, "Thirty days."],
            start=[MinWordsUserTurnStartStrategy(min_words=3, use_interim=False)],
        ),
        "uninterrupted": play(
            store,
            "uninterrupted",
            talk_into_the_answer,
            [LONG],
            start=[VADUserTurnStartStrategy(enable_interruptions=False)],
        ),
        "second_run": play(store, "second_run", filler(looks), [], llm=looks),
        "tools": play(store, "tools", tools_through_a_barge_in(books), [], llm=books),
        "hang_up_in_mid_sentence": play(store, "hang_up_in_mid_sentence", hang_up_in_mid_sentence, ["Hello."]),
        "speak_on": play(store, "speak_on", speak_on, [], llm=Pondering([PONDERS, "The blue one."])),
        "model_fails": play(store, "model_fails", model_fails, [RuntimeError("no model today"), "Back again."]),
        "voice_fails": play(store, "voice_fails", voice_fails, ["Hello.", "Here I am."], tts=switcher),
        "realtime": play(
            store, "realtime", two_questions, [], llm=Realtime(["On its way.", LONG, "Thirty days."], ASKED)
        ),
        "hang_up_on_agent": play(store, "hang_up_on_agent", hang_up_on_agent, [LONG]),
        "hang_up_while_thinking": play(
            store, "hang_up_while_thinking", hang_up_while_thinking, [], llm=Pondering(["Hello.", PONDERS])
        ),
        "odd_frames": play(store, "odd_frames", odd_frames, ["Hello yourself."]),
        "store_down": play(down, "store_down", two_questions, ["On its way.", LONG, "Thirty days."]),
    }
    return dict(zip(scenes, await asyncio.gather(*scenes.values()), strict=True))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Played]:
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('calls')}/calls.db")
    down = Down()
    down.journal = tmp_path_factory.mktemp("journal")
    played = simulated_time.run(play_all(store, down))
    for name, scene in played.items():
        scene.events = list(store.read(name))
    store.close()
    return played


# what must hold in every scene -----------------------------------------------------------------------------------

CALLS = [
    *("demo", "noise", "late_barge_in", "cough_then_barge_in", "uninterrupted", "second_run", "tools", "speak_on"),
    *("model_fails", "voice_fails", "realtime", "hang_up_on_agent", "hang_up_while_thinking"),
    *("hang_up_in_mid_sentence", "odd_frames"),
]

EXPECTED: dict[str, list[tuple[str | None, str | None, str | None]]] = {
    "demo": [
        (None, "Hello, how can I help?", "no question"),
        ("Where is my order?", "Your order has shipped.", None),
        ("Can I return it?", LONG, None),
        ("How many days?", "Thirty days.", None),
    ],
    "noise": [("Can I return it?", LONGER, None)],
    "late_barge_in": [("Can I return it?", LONGER, None), ("Stop it please.", "Thirty days.", None)],
    "cough_then_barge_in": [("Can I return it?", LONGER, None), ("Stop it please.", "Thirty days.", None)],
    "uninterrupted": [("Can I return it?", LONG, None), ("Stop it please.", "Goodbye.", None)],
    "second_run": [("Where is my order?", "One moment please. It has shipped.", None)],
    "tools": [("Book it.", None, "cut off before it was heard"), ("And hurry.", None, "hang-up")],
    "speak_on": [
        ("I want to return a jacket.", None, "cut off before it was heard"),
        ("The blue one.", "The blue one.", None),
    ],
    "model_fails": [("Hello?", None, "error"), ("Are you there?", "Back again.", None)],
    "voice_fails": [("Hello?", "Hello.", "cut off before it was heard"), ("Are you there?", "Here I am.", None)],
    "realtime": [(ASKED[0], "On its way.", None), (ASKED[1], LONG, None), (ASKED[2], "Thirty days.", None)],
    "hang_up_on_agent": [("Can I return it?", LONG, None)],
    "hang_up_while_thinking": [(None, "Hello.", "no question"), ("Can I return it?", None, "hang-up")],
    "hang_up_in_mid_sentence": [(None, "Hello.", "no question"), ("I would", None, "hang-up")],
    "odd_frames": [("Hello?", "Hello yourself.", None)],
}
"""The caller's turns: question, answer (as it was to be said), and why there is no response, if there is none."""

DIFFERENCES: dict[tuple[str, int], str] = {}
"""Turns in which Pipecat's own latency is not our response, and why. There is none; one that appears must be named."""


@pytest.mark.parametrize("name", EXPECTED)
def test_the_callers_turns(scenes: dict[str, Played], name: str) -> None:
    """What was asked, and the answer or why there is none. Break: in `Call.user_message`, drop ``realtime``."""
    turns = scenes[name].call.turns()
    assert [(turn.user_speech, turn.no_response) for turn in turns] == [(q, why) for q, _, why in EXPECTED[name]]
    for turn, (_question, answer, _why) in zip(turns, EXPECTED[name], strict=True):
        assert (answer or "").startswith(turn.agent_speech or "")  # of one that was cut off, what was heard


@pytest.mark.parametrize("name", CALLS)
def test_the_response_is_pipecats_own_latency(scenes: dict[str, Played], name: str) -> None:
    """`UserBotLatencyObserver`'s, turn by turn. Break: in `Call.voice_stopped`, do not take ``stop_secs`` off."""
    call = scenes[name].call
    assert call.differences(TOLERANCE_MS) == {turn for scene, turn in DIFFERENCES if scene == name}
    figures = [turn.framework_e2e for turn in call.turns() if turn.framework_e2e is not None]
    assert figures == pytest.approx([seconds * 1000 for seconds in scenes[name].latencies], abs=TOLERANCE_MS)


@pytest.mark.parametrize("name", CALLS)
def test_everything_that_was_waited_for_has_a_name(scenes: dict[str, Played], name: str) -> None:
    """The log says all of it. Break: in projections/latency/response.py, leave out STT that began without a start."""
    parts = [part for turn in scenes[name].call.turns() if turn.response for part in turn.response["parts"]]
    assert [part for part in parts if part["name"] == "unaccounted"] == []


@pytest.mark.parametrize("name", CALLS)
def test_turns_are_marked_as_pipecats_own_observer_has_them(scenes: dict[str, Played], name: str) -> None:
    played = scenes[name]
    ended = played.call.framework("on_turn_ended")
    assert len(played.call.framework("on_turn_started")) == len(played.call.of("start_turn")) == played.began
    # it calls every turn interrupted that is open at the call's end; that one is left out
    assert [turn["interrupted"] for turn in ended] == played.interrupted[: len(ended)]
    completes = "finalize_realtime_turn" if name == "realtime" else "complete_turn"
    assert len(played.call.of(completes)) == len(ended)


@pytest.mark.parametrize("name", CALLS)
def test_pipecats_own_latency_is_in_the_log_and_is_that_of_the_voices(scenes: dict[str, Played], name: str) -> None:
    kept = [measured["seconds"] for measured in scenes[name].call.framework("user_bot_latency")]
    assert kept == pytest.approx(scenes[name].latencies, abs=TOLERANCE_MS / 1000)
    silent, waited = None, []
    for hook, _args, at in scenes[name].call.calls:
        if hook == "on_user_speech_end":
            silent = at
        elif hook == "on_agent_speech_start" and silent is not None:
            waited.append(at - silent)
            silent = None
    for seconds in kept:
        assert any(ours == pytest.approx(seconds, abs=TOLERANCE_MS / 1000) for ours in waited)


@pytest.mark.parametrize("name", CALLS)
def test_the_observer_fails_at_nothing(scenes: dict[str, Played], name: str) -> None:
    observer = scenes[name].observer
    assert (observer.failed, observer.recorder.health.failed) == ((1, 0) if name == "odd_frames" else (0, 0))


@pytest.mark.parametrize("name", CALLS)
def test_voices_alternate_as_a_frame_that_is_seen_twice_counts_once(scenes: dict[str, Played], name: str) -> None:
    """Both siblings of a broadcast, each hop of a frame, and the detector's two frames, which name no sibling."""
    for start, end in (
        ("on_user_speech_start", "on_user_speech_end"),
        ("on_agent_speech_start", "on_agent_speech_end"),
    ):
        order = scenes[name].call.order(start, end)
        assert order[::2] == [start] * len(order[::2])
        assert order[1::2] == [end] * len(order[1::2])
        assert sorted(scenes[name].call.at(start)) == scenes[name].call.at(start)


@pytest.mark.parametrize("name", CALLS)
def test_each_run_is_recorded_once_and_what_it_used(scenes: dict[str, Played], name: str) -> None:
    measured = [
        usage["value"]["total_tokens"]
        for frame in scenes[name].call.framework("MetricsFrame")
        for usage in frame["data"]
        if usage["kind"] == "LLMUsageMetricsData"
    ]
    if name == "realtime":
        assert len(scenes[name].call.of("set_realtime_usage")) == len(measured) == 3
        return
    runs = scenes[name].call.runs("llm")
    assert [usage["total_tokens"] for run in runs for usage in run.usage] == measured
    assert all(len(run.usage) <= 1 for run in runs)
    audible = [run for run in scenes[name].call.runs("tts") if run.first is not None]
    assert all(run.audio_seconds > 0 for run in audible if run.status != "unfinished")


# and in each ---------------------------------------------------------------------------------------------------


def test_a_question_and_its_answer(scenes: dict[str, Played]) -> None:
    call = scenes["demo"].call
    (provider,) = [info for info in call.of("set_provider_info") if info["component_type"] == "llm"]
    assert (provider["provider_class"], provider["model_name"]) == ("ScriptedLLM", "scripted-llm")
    assert [args["transcript"] for args in call.of("set_user_transcript")] == ASKED
    answers = [args["response"] for args in call.of("set_agent_response")]
    assert answers[:2] == ["Hello, how can I help?", "Your order has shipped."]
    assert all(LONG.startswith(heard) for heard in answers[2:-1])  # the part that was played, if any
    assert answers[-1] == "Thirty days."
    assert [run.status for run in call.runs("llm")] == ["done"] * 5
    assert [run.usage for run in call.runs("tts")] == [[22], [23], [len(LONG)], [12]]
    assert sum(seconds["seconds"] for seconds in call.of("add_audio_seconds") if seconds["component"] == "stt") > 1


def test_a_barge_in_is_an_interruption_of_the_turn_before(scenes: dict[str, Played]) -> None:
    call = scenes["demo"].call
    hooks = call.order("on_interrupted", "complete_turn", "start_turn", "on_agent_speech_end")
    assert hooks.count("on_interrupted") == 1
    cut = hooks.index("on_interrupted")
    assert hooks[cut : cut + 4] == ["on_interrupted", "complete_turn", "start_turn", "on_agent_speech_end"]
    voice = [at for at in call.at("on_user_speech_start") if at < call.at("on_interrupted")[0]][-1]
    assert voice < call.at("on_agent_speech_end")[2]  # back-dated into the answer, in which it was heard


def test_a_tool(scenes: dict[str, Played]) -> None:
    call = scenes["demo"].call
    ((tool, ended),) = call.tools().values()
    assert (tool[0], ended[0]) == ("started", "done")
    assert ended[1] - tool[1] >= 0.19
    (report,) = call.of("add_function_tool_call")
    assert report["end_time"] - report["start_time"] == pytest.approx(ended[1] - tool[1], abs=TOLERANCE_MS / 1000)
    assert call.of("tool_started")[0]["run_id"] == call.runs("llm")[1].id
    assert call.runs("llm")[2].start >= ended[1]


def test_a_cough_that_pauses_nothing_is_a_voice_and_no_doubt(scenes: dict[str, Played]) -> None:
    call = scenes["noise"].call
    assert len(call.of("on_user_speech_start")) == 3
    assert [args["transcript"] for args in call.of("on_stt_complete")] == ["Can I return it?", "Okay."]
    assert call.order("on_false_interrupt_start", "on_false_interrupt_resume", "on_interrupted") == []
    assert [args["transcript"] for args in call.of("set_user_transcript")] == ["Can I return it?"]


@pytest.mark.parametrize(("name", "voices"), [("late_barge_in", 2), ("cough_then_barge_in", 3)])
def test_a_cough_is_no_part_of_a_barge_in(scenes: dict[str, Played], name: str, voices: int) -> None:
    call = scenes[name].call
    assert len(call.of("on_user_speech_start")) == voices
    assert call.order("on_false_interrupt_start", "on_false_interrupt_escalated") == []
    assert len(call.of("on_interrupted")) == 1


def test_with_interruptions_off_nothing_is_interrupted(scenes: dict[str, Played]) -> None:
    """And the agent is silent when it says so, not when the user speaks."""
    call = scenes["uninterrupted"].call
    assert len(call.framework("UserStartedSpeakingFrame")) == 2
    assert call.of("on_interrupted") == []
    assert call.at("on_agent_speech_end")[0] > call.at("on_user_speech_end")[1]
    assert call.at("on_agent_speech_end")[0] - call.at("on_agent_speech_start")[0] > 1.5
    assert [run.status for run in call.runs("llm")][:1] == ["done"]


def test_second_runs_of_a_turn(scenes: dict[str, Played]) -> None:
    """A filler, a tool, the answer: nothing overwrites anything."""
    call = scenes["second_run"].call
    first, second = call.runs("llm")
    assert [len(run.usage) for run in (first, second)] == [1, 1]
    assert [run.status for run in call.runs("llm")] == ["done", "done"]
    assert [run.status for run in call.runs("tts")] == ["done", "done"]
    assert len(call.of("on_agent_speech_start")) == len(call.of("on_agent_speech_end")) == 2
    assert [args["response"] for args in call.of("set_agent_response")] == ["One moment please.", "It has shipped."]


def test_tools_that_are_cancelled_streamed_late_and_never_done(scenes: dict[str, Played]) -> None:
    tools = scenes["tools"].call.tools()
    assert [what for what, _at in tools["hold"]] == ["started", "cancelled"]
    assert [what for what, _at in tools["book"]] == ["started", "progress", "done"]
    assert [what for what, _at in tools["watch"]][:1] == ["started"]
    assert "done" not in [what for what, _at in tools["watch"]]
    call = scenes["tools"].call
    barge_in = call.at("on_interrupted")[0]
    assert tools["hold"][-1][1] > barge_in
    assert tools["book"][-1][1] > barge_in
    reported = {args["tool_name"] for args in call.of("add_function_tool_call")}
    assert {"hold", "book"} <= reported
    assert call.of("session_ended") == [{"reason": "CancelFrame"}]


def test_speaking_on_cancels_the_model_that_thinks(scenes: dict[str, Played]) -> None:
    call = scenes["speak_on"].call
    assert [run.status for run in call.runs("llm")] == ["cancelled", "done"]
    assert len(call.of("on_interrupted")) == 1
    assert [args["transcript"] for args in call.of("on_stt_complete")] == [
        "I want to return a jacket.",
        "The blue one.",
    ]


def test_errors(scenes: dict[str, Played]) -> None:
    call = scenes["model_fails"].call
    assert [(error["source"], error["message"]) for error in call.of("add_error")] == [
        ("LLM", "no model today"),
        ("STT", "scripted failure of the STT"),
    ]
    assert [run.status for run in call.runs("llm")] == ["failed", "done"]


def test_fallback(scenes: dict[str, Played]) -> None:
    call = scenes["voice_fails"].call
    (fallback,) = [args["event_data"] for args in call.of("on_fallback_event")]
    assert (fallback["component_type"], fallback["message"]) == ("TTS", "the key was refused")
    assert (fallback["original_provider_label"], fallback["new_provider_label"]) == ("Broken", "ScriptedTTS")
    assert call.of("update_provider_class")[0]["provider_class"] == "ScriptedTTS"
    assert len(call.of("on_agent_speech_start")) >= 1


def test_realtime(scenes: dict[str, Played]) -> None:
    call = scenes["realtime"].call
    named = [args["run_id"] for args in call.of("name_run")]
    assert [args["run_id"] for args in call.of("name_usage")] == named
    assert [args["component"] for args in call.of("run_ended")] == ["realtime"] * 3
    assert [args["usage"]["output_audio_tokens"] for args in call.of("set_realtime_usage")] == [8, 8, 8]
    assert call.order("on_llm_start", "on_tts_start", "on_stt_start") == []
    assert len(call.of("on_interrupted")) == 1
    assert [args["transcript"] for args in call.of("on_stt_complete")] == ASKED
    assert (
        call.of("set_user_transcript") == []
    )  # the context's, some of it long after the answer, and put together anew


def test_hanging_up_on_the_agent(scenes: dict[str, Played]) -> None:
    """The agent is cut off by the end of the call; an end of its speech is only there if the pipeline reported one."""
    call = scenes["hang_up_on_agent"].call
    order = call.order("on_agent_speech_start", "session_ended", "on_interrupted", "finalize_session")
    assert order == ["on_agent_speech_start", "session_ended", "finalize_session"]
    assert len(call.of("on_agent_speech_end")) == len(call.framework("BotStoppedSpeakingFrame"))


def test_hanging_up_in_mid_turn(scenes: dict[str, Played]) -> None:
    call = scenes["hang_up_while_thinking"].call
    assert [args["transcript"] for args in call.of("set_user_transcript")] == ["Can I return it?"]
    assert len(call.of("on_agent_speech_start")) == 1
    assert call.runs("llm")[-1].first is None
    assert call.order("session_ended", "finalize_session") == ["session_ended", "finalize_session"]


def test_words_at_a_hang_up_are_kept_and_no_end_of_a_voice_is_made_up(scenes: dict[str, Played]) -> None:
    call = scenes["hang_up_in_mid_sentence"].call
    assert call.words() == ["I would"]
    assert call.order("on_user_speech_start", "on_user_speech_end") == ["on_user_speech_start"]


def test_the_first_event_tells_the_framework(scenes: dict[str, Played]) -> None:
    first = scenes["demo"].events[0]
    assert (first.hook, json.loads(first.payload)["name"]) == ("set_framework", "pipecat-ai")


def test_events_keep_the_frameworks_own_clocks(scenes: dict[str, Played]) -> None:
    by_hook = {
        event.hook: json.loads(event.payload)["$raw"] for event in scenes["demo"].events if "$raw" in event.payload
    }
    assert set(by_hook["on_agent_speech_start"]) == {"pipeline_ns"}
    assert set(by_hook["on_user_speech_end"]) == {"pipeline_ns", "vad_s", "stop_secs"}
    assert "iso" in by_hook["on_stt_complete"]


def test_pipecats_own_metrics_are_kept(scenes: dict[str, Played]) -> None:
    kept = scenes["demo"].call.framework("MetricsFrame")
    kinds = {measured["kind"] for frame in kept for measured in frame["data"]}
    assert {"TTFBMetricsData", "LLMUsageMetricsData", "TTSUsageMetricsData", "ProcessingMetricsData"} <= kinds


def test_a_frame_of_an_unknown_kind_is_kept(scenes: dict[str, Played]) -> None:
    assert scenes["odd_frames"].call.framework("Weather") == [{"sky": "blue"}]


def test_a_frame_that_breaks_does_not_break_the_call(scenes: dict[str, Played]) -> None:
    played = scenes["odd_frames"]
    assert played.observer.last_error == "ValueError: no data today"
    assert played.call.of("set_agent_response")[-1] == {"response": "Hello yourself."}


def observe(observer: TurnlogObserver, *frames: f.Frame, waited_ns: int = 0) -> list[tuple[Event, dict[str, Any]]]:
    """What is recorded of frames that waited in the observer's queue, from a pipeline that runs for a while."""
    clock = SystemClock()
    clock.start()
    source: Any = SimpleNamespace(get_clock=lambda: clock, name="source", processors=[])

    async def push() -> None:
        for frame in frames:
            pushed = FramePushed(source, source, frame, FrameDirection.DOWNSTREAM, clock.get_time() - waited_ns)
            await observer.on_push_frame(pushed)
        await observer.cleanup()

    asyncio.run(push())
    assert observer.failed == 0, observer.last_error
    store, session = observer.recorder.store, observer.recorder.session_id
    return [(event, codec.decode(event)) for event in store.read(session)]


def test_waiting_in_the_queue_makes_nothing_late() -> None:
    second = 10**9
    recorded = observe(TurnlogObserver(MemoryStore()), f.BotStartedSpeakingFrame(), waited_ns=second)
    ((event, _),) = [one for one in recorded if one[0].hook == "on_agent_speech_start"]
    perf_ns, wall_ns = codec.clocks(event)
    assert event.perf_ns - perf_ns > 0.999 * second
    assert event.wall_ns - wall_ns > 0.999 * second


def recorded_of(*frames: f.Frame) -> Recorded:
    return Recorded([event for event, _ in observe(TurnlogObserver(MemoryStore()), f.StartFrame(), *frames)])


def test_a_voice_that_the_pipeline_still_ends_after_a_hang_up_has_that_end() -> None:
    call = recorded_of(f.BotStartedSpeakingFrame(), f.CancelFrame(reason="line dropped"), f.BotStoppedSpeakingFrame())
    hooks = call.order("on_agent_speech_start", "session_ended", "on_agent_speech_end", "finalize_session")
    assert hooks == ["on_agent_speech_start", "session_ended", "on_agent_speech_end", "finalize_session"]
    assert call.of("session_ended") == [{"reason": "line dropped"}]


def asked_ahead() -> f.LLMContextFrame:
    return f.LLMContextFrame(context=LLMContext(), speculation=True)


def used(tokens: int) -> f.MetricsFrame:
    usage = LLMTokenUsage(prompt_tokens=tokens - 1, completion_tokens=1, total_tokens=tokens)
    return f.MetricsFrame(data=[LLMUsageMetricsData(processor="source", value=usage)])


def test_a_speculation_is_a_run_from_when_it_was_asked_for_and_may_be_withdrawn() -> None:
    answer = f.LLMFullResponseStartFrame(), f.LLMTextFrame("Yes."), f.LLMFullResponseEndFrame()
    call = recorded_of(asked_ahead(), used(7), f.EagerEndOfTurnCancelFrame(), asked_ahead(), used(9), *answer)
    assert [run.status for run in call.runs("llm")] == ["superseded", "done"]
    assert [[usage["total_tokens"] for usage in run.usage] for run in call.runs("llm")] == [[7], [9]]


def test_usage_that_comes_after_the_end_is_still_of_its_run() -> None:
    begin, end = f.LLMFullResponseStartFrame, f.LLMFullResponseEndFrame
    call = recorded_of(begin(), f.InterruptionFrame(), end(), used(5), begin(), end(), used(6))
    assert [args["run_id"] for args in call.of("name_usage")] == [run.id for run in call.runs("llm")]
    assert [run.status for run in call.runs("llm")] == ["cancelled", "done"]
    assert [[usage["total_tokens"] for usage in run.usage] for run in call.runs("llm")] == [[5], [6]]


def test_syntheses_of_one_context_are_runs_of_their_own() -> None:
    def one() -> list[f.Frame]:
        return [f.TTSStartedFrame(context_id="c"), f.TTSAudioRawFrame(TONE, RATE, 1, context_id="c")]

    call = recorded_of(*one(), f.TTSStoppedFrame(context_id="c"), *one(), f.InterruptionFrame(), *one())
    runs = call.runs("tts")
    assert [run.status for run in runs] == ["done", "cancelled", "unfinished"]
    assert len({run.id for run in runs}) == 3


def test_an_interruption_that_finds_nothing_at_work_is_none() -> None:
    assert recorded_of(f.InterruptionFrame()).of("on_interrupted") == []
    assert len(recorded_of(f.BotStartedSpeakingFrame(), f.InterruptionFrame()).of("on_interrupted")) == 1


def test_speech_that_must_not_be_interrupted_is_not() -> None:
    notice = f.TTSStartedFrame(context_id="notice")
    notice.interruptible = False
    call = recorded_of(notice, f.BotStartedSpeakingFrame(), f.InterruptionFrame(), f.BotStoppedSpeakingFrame())
    assert call.of("on_interrupted") == call.of("run_ended") == []


def test_the_detectors_two_frames_are_one_finding_whichever_order_they_come_in() -> None:
    def frames(at: float) -> list[f.Frame]:
        started = [f.VADUserStartedSpeakingFrame(start_secs=0.2, timestamp=at + late) for late in (0, 0.01)]
        stopped = [f.VADUserStoppedSpeakingFrame(stop_secs=0.2, timestamp=at + 0.4 + late) for late in (0, 0.01)]
        return [started[0], stopped[0], started[1], stopped[1]]

    call = recorded_of(*frames(1000), *frames(1001))
    assert (
        call.order("on_user_speech_start", "on_user_speech_end") == ["on_user_speech_start", "on_user_speech_end"] * 2
    )


def test_without_a_detector_pipecats_turns_are_the_voices() -> None:
    heard = f.TranscriptionFrame("What?", "caller", "2026-01-01T00:00:00Z")
    call = recorded_of(f.UserStartedSpeakingFrame(), heard, f.UserStoppedSpeakingFrame())
    assert call.order("on_user_speech_start", "on_stt_complete", "on_user_speech_end", "on_eou_complete") == [
        *("on_user_speech_start", "on_stt_complete", "on_user_speech_end", "on_eou_complete")
    ]


def test_an_observer_that_comes_late_records_the_rest() -> None:
    recorded = observe(TurnlogObserver(MemoryStore()), f.BotStartedSpeakingFrame(), f.BotStoppedSpeakingFrame())
    hooks = [event.hook for event, _ in recorded]
    assert hooks[0] == "set_framework"
    assert hooks[-3:] == ["finalize_session", "traces.end_agent_session", "traces.agent_meeting_end"]
    assert {"on_agent_speech_start", "on_agent_speech_end"} <= set(hooks)


def test_settings_are_not_recorded_as_they_may_hold_keys() -> None:
    recorded = observe(TurnlogObserver(MemoryStore()), f.LLMUpdateSettingsFrame(settings={"api_key": "sk-secret"}))
    assert "sk-secret" not in str(recorded)
    assert ("framework_event", {"name": "LLMUpdateSettingsFrame", "arguments": {}}) in [
        (event.hook, {name: value for name, value in args.items() if not name.startswith("$")})
        for event, args in recorded
    ]


def test_a_store_that_is_down_does_not_disturb_the_call(scenes: dict[str, Played]) -> None:
    played = scenes["store_down"]
    assert played.observer.failed == 0
    assert played.interrupted[:2] == [False, True]
    assert "the store" in str(played.observer.recorder.health.last_error)
    store = MemoryStore()
    recover(store, played.observer.recorder.store.journal)
    call = Recorded(list(store.read("store_down")))
    assert len(call.of("start_turn")) == played.began
    assert [turn["interrupted"] for turn in call.framework("on_turn_ended")][:2] == [False, True]


KILLED = """
import asyncio, sys
from loguru import logger
logger.remove()
from eventstore import open_store
from turnlog.adapters.pipecat.demo.agent import Scene
from turnlog.adapters.pipecat import TurnlogObserver

async def script(scene):
    await scene.greet()
    await scene.ear.ends(1)
    await scene.say("Can I return it?")
    await scene.ear.starts(2)
    await asyncio.sleep(0)
    print("speaking", flush=True)
    await asyncio.Event().wait()

observer = TurnlogObserver(open_store(sys.argv[1]), "killed")
asyncio.run(Scene(["Hello.", "We take it back. " * 20], [observer]).play(script))
"""


def test_a_killed_agent_leaves_its_last_turn(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/calls.db"
    with subprocess.Popen([sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "speaking\n"
        os.kill(agent.pid, signal.SIGKILL)
    store = open_store(url)
    recover(store, store.journal)
    call = Recorded(list(store.read("killed")))
    store.close()
    assert call.of("set_agent_response") == [{"response": "Hello."}]
    assert call.of("set_user_transcript") == [{"transcript": "Can I return it?"}]
    assert len(call.of("on_agent_speech_start")) == 2
    assert len(call.of("on_agent_speech_end")) == 1
    assert call.order("session_ended", "finalize_session") == []


def test_the_demo_agent(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/calls.db")
    asyncio.run(demo_pipecat.run(store, "demo"))
    call = Recorded(list(store.read("demo")))
    assert [turn["interrupted"] for turn in call.framework("on_turn_ended")] == [False, False, True]
    assert call.of("agent_active") == [{"name": "demo"}]
    store.close()


def test_the_quick_start_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).resolve().parents[2] / "docs" / "pipecat.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(example.splitlines()) <= 10
    names: dict[str, Any] = {"pipeline": Pipeline([]), "room": "room-1"}
    exec(example, names)
    asyncio.run(names["worker"].cancel())
    names["store"].close()
