"""Real Pipecat pipelines with a scripted caller and scripted services, recorded. ``make test-pipecat``.

All scenes are played at once, in real time. What Pipecat's own observers measured in them is what we have to say, too.
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

pytest.importorskip("pipecat", reason="needs Pipecat: make test-pipecat")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what it imports
    from turnlog.adapters import demo_pipecat

from pipecat.clocks.system_clock import SystemClock
from pipecat.frames import frames as f
from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.observers.base_observer import FramePushed
from pipecat.observers.turn_tracking_observer import TurnTrackingObserver
from pipecat.observers.user_bot_latency_observer import UserBotLatencyObserver
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.service_switcher import ServiceSwitcher, ServiceSwitcherStrategyFailover
from pipecat.processors.frame_processor import FrameDirection
from pipecat.turns.user_start import MinWordsUserTurnStartStrategy

from eventstore import Event, Store, codec, open_store, recover
from eventstore.errors import StoreUnavailable
from eventstore.memory_store import MemoryStore
from projections.model import Turn
from projections.replay import Call, replay
from turnlog.adapters.demo_pipecat import (
    RATE,
    STT_SECONDS,
    TONE,
    TTFT_SECONDS,
    VAD_SECONDS,
    Reply,
    Scene,
    ScriptedLLM,
    ScriptedTTS,
)
from turnlog.adapters.pipecat import TurnlogObserver

Script = Callable[[Scene], Awaitable[None]]
LONG = "We take everything back within thirty days, if it is unused and in its box."
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
    def call(self) -> Call:
        return replay(self.events)

    def noted(self, name: str) -> list[dict[str, Any]]:
        payloads = [codec.decode(event) for event in self.events if event.hook == "framework_event"]
        return [payload["arguments"] for payload in payloads if payload["name"] == name]


class Measured(UserBotLatencyObserver):
    """Pipecat's, with the time of the frames: by itself it reads the clock when its queue comes to them."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(time_source=lambda: self.now)

    async def on_push_frame(self, data: FramePushed) -> None:
        self.now = TurnlogObserver._moment(self, data).wall_ns / 1e9  # type: ignore[arg-type]
        await super().on_push_frame(data)

    _clock = None


async def play(store: Store, name: str, script: Script, replies: list[Reply], **scene: Any) -> Played:
    turns, latency = TurnTrackingObserver(), Measured()
    played = Played(TurnlogObserver(store, name))

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
    await scene.ear.ends(2)


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


class Weather(f.DataFrame):
    def __init__(self, sky: str) -> None:
        super().__post_init__()
        self.sky, self.pipeline = sky, object()


class Broken(ScriptedTTS):
    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[f.Frame | None, None]:
        await self.push_error("the key was refused", force_treat_as_permanent=True)
        yield None


class Realtime(ScriptedLLM):
    """A speech-to-speech model: it hears the user stop, and speaks."""

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
            f.TranscriptionFrame("(what was said)", "caller", "2026-01-01T00:00:00Z"), FrameDirection.UPSTREAM
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
    switcher = ServiceSwitcher([Broken(), ScriptedTTS()], ServiceSwitcherStrategyFailover)
    scenes = {
        "demo": play(store, "demo", demo_pipecat.script, demo_pipecat.REPLIES),
        "noise": play(store, "noise", noise, [LONG], start=words),
        "late_barge_in": play(
            store,
            "late_barge_in",
            late_barge_in,
            [LONG, "Thirty days."],
            start=[MinWordsUserTurnStartStrategy(min_words=3, use_interim=False)],
        ),
        "speak_on": play(store, "speak_on", speak_on, [], llm=ScriptedLLM(["One.", "The blue one."], ttft=1.5)),
        "model_fails": play(store, "model_fails", model_fails, [RuntimeError("no model today"), "Back again."]),
        "voice_fails": play(store, "voice_fails", voice_fails, ["Hello.", "Here I am."], tts=switcher),
        "realtime": play(store, "realtime", two_questions, [], llm=Realtime(["On its way.", LONG, "Thirty days."])),
        "hang_up_on_agent": play(store, "hang_up_on_agent", hang_up_on_agent, [LONG]),
        "hang_up_while_thinking": play(
            store, "hang_up_while_thinking", hang_up_while_thinking, [], llm=ScriptedLLM(["Hello.", LONG], ttft=0.4)
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
    played = asyncio.run(play_all(store, down))
    for name, scene in played.items():
        scene.events = list(store.read(name))
    store.close()
    return played


def wall_ms(turn: Turn) -> float | None:
    """From the user's silence to the agent's voice."""
    if turn.user_speech_end_time is None or turn.agent_speech_start_time is None:
        return None
    return (turn.agent_speech_start_time - turn.user_speech_end_time) * 1000


# what must hold in every scene -----------------------------------------------------------------------------------

CALLS = [
    *("demo", "noise", "late_barge_in", "speak_on", "model_fails", "voice_fails", "realtime"),
    *("hang_up_on_agent", "hang_up_while_thinking", "odd_frames"),
]


@pytest.mark.parametrize("name", CALLS)
def test_turns_are_those_of_pipecats_own_observer(scenes: dict[str, Played], name: str) -> None:
    played = scenes[name]
    call = played.call
    assert call.current_turn is None
    assert not call.discarded
    assert not call.raised
    assert [failure for failure in call.span_failures if failure.component != "interruption"] == []  # a rule's quirk
    assert len(call.turns) == played.began
    # it calls the turn that the call's end closes interrupted, whoever was speaking, or does not hear of the end
    assert [turn.is_interrupted for turn in call.turns[:-1]] == played.interrupted[: len(call.turns) - 1]


@pytest.mark.parametrize("name", CALLS)
def test_latency_is_that_of_pipecats_own_observer(scenes: dict[str, Played], name: str) -> None:
    ours = [ms for turn in scenes[name].call.turns if (ms := wall_ms(turn)) is not None]
    theirs = [seconds * 1000 for seconds in scenes[name].latencies]
    assert ours or name == "hang_up_while_thinking"
    assert ours == pytest.approx(theirs, abs=TOLERANCE_MS)


@pytest.mark.parametrize("name", CALLS)
def test_the_observer_fails_at_nothing(scenes: dict[str, Played], name: str) -> None:
    observer = scenes[name].observer
    assert (observer.failed, observer.recorder.health.failed) == ((1, 0) if name == "odd_frames" else (0, 0))


@pytest.mark.parametrize("name", CALLS)
def test_frames_that_are_seen_twice_count_once(scenes: dict[str, Played], name: str) -> None:
    """Both siblings of a broadcast, and each hop of a frame."""
    hooks = [event.hook for event in scenes[name].events]
    call = scenes[name].call
    assert hooks.count("on_agent_speech_start") == hooks.count("on_agent_speech_end")
    assert hooks.count("on_user_speech_start") == sum(turn.user_speech_start_time is not None for turn in call.turns)
    assert hooks.count("on_interrupted") == call.total_interruptions
    assert hooks.count("on_eou_complete") == sum(len(turn.eou_metrics) for turn in call.turns)


# and in each ---------------------------------------------------------------------------------------------------


def test_normal_turns(scenes: dict[str, Played]) -> None:
    call = scenes["demo"].call
    greeting, order, refund, days = call.turns
    assert (greeting.user_speech, greeting.agent_speech) == (None, "Hello, how can I help?")
    assert (order.user_speech, order.agent_speech) == ("Where is my order?", "Your order has shipped.")
    assert (days.user_speech, days.agent_speech) == ("How many days?", "Thirty days.")
    for turn in order, refund, days:  # at least the scripts' delays
        assert turn.stt_metrics[-1].stt_latency >= (VAD_SECONDS + STT_SECONDS) * 1000 - 1
        assert turn.eou_metrics[-1].eou_latency >= 0
        assert turn.llm_metrics[-1].llm_ttft >= TTFT_SECONDS * 1000 - 1
        assert turn.tts_metrics[-1].ttfb > 0  # its start is reported by another task than the one that speaks
        assert turn.llm_metrics[-1].total_tokens > 20
        assert turn.tts_metrics[-1].tts_characters == len(turn.agent_speech)
    assert call.session.provider_per_component["llm"] == {"provider_class": "ScriptedLLM", "model_name": "scripted-llm"}
    names = {span.name for span in call.spans}
    assert {"User & Agent Turns", "Turn #4"} <= names
    assert not call.open_spans


def test_the_parts_are_parts_of_the_whole(scenes: dict[str, Played]) -> None:
    """Between them lies what no part is: the first sentence, and the pipeline's own time."""
    for turn in scenes["demo"].call.turns[2:]:
        assert 0 < turn.e2e_latency <= wall_ms(turn)


def test_barge_in(scenes: dict[str, Played]) -> None:
    call = scenes["demo"].call
    assert [turn.is_interrupted for turn in call.turns] == [False, False, True, False]
    cut, after = call.turns[2:]
    assert cut.agent_speech_duration < len(LONG) * demo_pipecat.SECONDS_PER_LETTER * 1000
    assert after.user_speech_start_time < cut.agent_speech_end_time  # they spoke at once
    assert (len(cut.vad_metrics), len(after.vad_metrics)) == (1, 1)
    assert cut.tts_metrics[-1].tts_latency is not None


def test_tool_call(scenes: dict[str, Played]) -> None:
    turn = scenes["demo"].call.turns[1]
    (tool,) = turn.function_tool_metrics
    assert (tool.tool_name, tool.tool_params, tool.tool_response) == (
        "order_status",
        {"order": "A17"},
        {"status": "shipped"},
    )
    assert tool.latency >= 190
    assert turn.llm_metrics[-1].llm_first_token_time > tool.end_time


def test_a_false_interruption_ends_nothing(scenes: dict[str, Played]) -> None:
    (turn,) = scenes["noise"].call.turns
    assert not turn.is_interrupted
    assert turn.interruption_metrics.is_false_interrupt
    assert turn.interruption_metrics.resumed_after_false_interrupt
    assert turn.interruption_metrics.false_interrupt_duration > 0
    assert turn.user_speech == "Can I return it?"


def test_a_barge_in_that_only_its_words_show(scenes: dict[str, Played]) -> None:
    cut, after = scenes["late_barge_in"].call.turns
    assert cut.is_interrupted
    assert not cut.interruption_metrics.is_false_interrupt  # it had looked like one
    assert after.user_speech == "Stop it please."
    assert after.user_speech_start_time < after.user_speech_end_time < cut.agent_speech_end_time


def test_speaking_on_while_the_model_thinks_is_one_turn(scenes: dict[str, Played]) -> None:
    (turn,) = scenes["speak_on"].call.turns
    assert not turn.is_interrupted
    assert turn.agent_speech == "The blue one."
    assert len(turn.vad_metrics) == 1
    assert [stt.stt_transcript for stt in turn.stt_metrics] == ["I want to return a jacket.", "The blue one."]


def test_errors(scenes: dict[str, Played]) -> None:
    call = scenes["model_fails"].call
    errors = [error for turn in call.turns for error in turn.errors]
    assert [(error["source"], error["message"]) for error in errors] == [
        ("LLM", "no model today"),
        ("STT", "scripted failure of the STT"),
    ]
    assert call.turns[-1].agent_speech == "Back again."


def test_fallback(scenes: dict[str, Played]) -> None:
    call = scenes["voice_fails"].call
    (fallback,) = [fallback for turn in call.turns for fallback in turn.fallback_events]
    assert (fallback.component_type, fallback.message) == ("TTS", "the key was refused")
    assert (fallback.original_provider_label, fallback.new_provider_label) == ("Broken", "ScriptedTTS")
    assert call.session.provider_per_component["tts"]["provider_class"] == "ScriptedTTS"
    assert call.turns[-1].agent_speech.endswith("Here I am.")
    assert call.turns[-1].agent_speech_start_time is not None


def test_realtime(scenes: dict[str, Played]) -> None:
    call = scenes["realtime"].call
    assert [turn.is_interrupted for turn in call.turns] == [False, True, False]
    assert [turn.agent_speech for turn in call.turns] == ["On its way.", LONG, "Thirty days."]
    for turn in call.turns:
        (realtime,) = turn.realtime_metrics
        assert realtime.realtime_ttfb == pytest.approx(wall_ms(turn), abs=0.001)
        assert (realtime.realtime_total_tokens, realtime.realtime_output_audio_tokens) == (16, 8)
        assert not turn.llm_metrics


def test_hanging_up_on_the_agent(scenes: dict[str, Played]) -> None:
    played = scenes["hang_up_on_agent"]
    assert [turn.is_interrupted for turn in played.call.turns] == [True] == played.interrupted
    assert played.call.session.session_end_time is not None


def test_hanging_up_mid_turn(scenes: dict[str, Played]) -> None:
    greeting, turn = scenes["hang_up_while_thinking"].call.turns
    assert not turn.is_interrupted
    assert turn.user_speech == "Can I return it?"
    assert turn.agent_speech_start_time is None
    assert greeting.agent_speech == "Hello."


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
    kinds = {measured["kind"] for noted in scenes["demo"].noted("MetricsFrame") for measured in noted["data"]}
    assert {"TTFBMetricsData", "LLMUsageMetricsData", "TTSUsageMetricsData", "ProcessingMetricsData"} <= kinds


def test_a_frame_that_nobody_knows_is_kept(scenes: dict[str, Played]) -> None:
    assert scenes["odd_frames"].noted("Weather") == [{"sky": "blue"}]


def test_a_frame_that_breaks_does_not_break_the_call(scenes: dict[str, Played]) -> None:
    played = scenes["odd_frames"]
    assert played.observer.last_error == "ValueError: no data today"
    assert played.call.turns[-1].agent_speech == "Hello yourself."


def told(observer: TurnlogObserver, *frames: f.Frame, waited_ns: int = 0) -> list[tuple[Event, dict[str, Any]]]:
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
    recorded = told(TurnlogObserver(MemoryStore()), f.BotStartedSpeakingFrame(), waited_ns=second)
    ((event, _),) = [one for one in recorded if one[0].hook == "on_agent_speech_start"]
    perf_ns, wall_ns = codec.clocks(event)
    assert event.perf_ns - perf_ns > 0.999 * second
    assert event.wall_ns - wall_ns > 0.999 * second


def test_a_call_that_is_cancelled_cuts_the_agent_off_whatever_comes_after() -> None:
    frames = f.StartFrame(), f.BotStartedSpeakingFrame(), f.CancelFrame(), f.BotStoppedSpeakingFrame()
    recorded = told(TurnlogObserver(MemoryStore()), *frames)
    assert [turn.is_interrupted for turn in replay(event for event, _ in recorded).turns] == [True]


def test_an_observer_that_comes_late_records_the_rest() -> None:
    recorded = told(TurnlogObserver(MemoryStore()), f.BotStartedSpeakingFrame(), f.BotStoppedSpeakingFrame())
    hooks = [event.hook for event, _ in recorded]
    assert hooks[0] == "set_framework"
    assert hooks[-3:] == ["finalize_session", "traces.end_agent_session", "traces.agent_meeting_end"]
    assert {"start_turn", "on_agent_speech_start", "on_agent_speech_end"} <= set(hooks)


def test_settings_are_not_recorded_as_they_may_hold_keys() -> None:
    recorded = told(TurnlogObserver(MemoryStore()), f.LLMUpdateSettingsFrame(settings={"api_key": "sk-secret"}))
    assert "sk-secret" not in str(recorded)
    assert ("framework_event", {"name": "LLMUpdateSettingsFrame", "arguments": {}}) in [
        (event.hook, {name: value for name, value in args.items() if not name.startswith("$")})
        for event, args in recorded
    ]


def test_a_store_that_is_down_does_not_disturb_the_call(scenes: dict[str, Played]) -> None:
    played = scenes["store_down"]
    assert played.observer.failed == 0
    assert played.interrupted[:2] == [False, True]
    assert "not in the store" in str(played.observer.recorder.health.last_error)
    store = MemoryStore()
    recover(store, played.observer.recorder.store.journal)
    call = replay(store.read("store_down"))
    assert len(call.turns) + len(call.discarded) == played.began
    assert [turn.is_interrupted for turn in call.turns[:2]] == [False, True]


KILLED = """
import asyncio, sys
from loguru import logger
logger.remove()
from eventstore import open_store
from turnlog.adapters.demo_pipecat import Scene
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
    call = replay(store.read("killed"))
    store.close()
    assert [turn.agent_speech for turn in call.turns] == ["Hello."]
    assert call.current_turn is not None
    assert call.current_turn.user_speech == "Can I return it?"
    assert call.current_turn.agent_speech_start_time is not None
    assert call.current_turn.agent_speech_end_time is None
    assert call.session.session_end_time is None


def test_the_demo_agent(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/calls.db")
    asyncio.run(demo_pipecat.run(store, "demo"))
    assert [turn.is_interrupted for turn in replay(store.read("demo")).turns] == [False, False, True, False]
    store.close()


def test_the_quick_start_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).resolve().parents[2] / "docs" / "pipecat.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(example.splitlines()) <= 10
    names: dict[str, Any] = {"pipeline": Pipeline([])}
    exec(example, names)
    asyncio.run(names["worker"].cancel())
    names["store"].close()
