"""LiveKit Agents itself runs here, with providers that are scripts; what turnlog makes of it is compared with what the
framework says of its own messages. ``make test-livekit``.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

pytest.importorskip("livekit.agents", reason="needs LiveKit Agents: make test-livekit")

from livekit.agents import Agent, function_tool, llm, stt
from livekit_realtime import ScriptedRealtime

from eventstore import Event, Store, open_store, recover
from eventstore.codec import clocks, read_payload
from eventstore.errors import StoreUnavailable
from projections.model import Turn
from projections.replay import Call, replay
from turnlog.adapters.demo_livekit import ShopAgent, answered, becomes, new_session, run
from turnlog.adapters.demo_livekit_parts import (
    Caller,
    LoudnessVAD,
    Reply,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
)
from turnlog.adapters.livekit import Adapter, attach

LONG = "You can return any item within thirty days. It must be unused and in its original box, with all its parts."
SHORT = Reply("short", "Thirty days.")
Scenario = Callable[[Any, Caller], Awaitable[None]]


class Seen(NamedTuple):
    """A call as turnlog has it, and as the framework has it."""

    call: Call
    messages: list[Any]
    events: list[Event]
    adapter: Adapter

    def turn(self, said: str) -> Turn:
        """The one turn in which these words were said, by whom ever."""
        (found,) = [t for t in self.call.turns if said in (t.user_speech or "") or said in (t.agent_speech or "")]
        return found

    def hooks(self, name: str) -> list[dict[str, Any]]:
        return [read_payload(event.payload) for event in self.events if event.hook == name]

    def framework_events(self, name: str) -> list[dict[str, Any]]:
        return [e["arguments"] for e in self.hooks("framework_event") if e["name"] == name]


async def hold(store: Store, name: str, scenario: Scenario, agent: Any = None, **options: Any) -> Seen:
    caller = Caller()
    options = {key: make(caller) if callable(make) else make for key, make in options.items()}
    session = new_session(caller, **options)
    adapter = attach(session, store, session_id=name)
    await session.start(agent or Agent(instructions="Be brief."), record=False)
    await scenario(session, caller)
    await session.aclose()
    await asyncio.to_thread(adapter.close)
    events = list(store.read(name))
    messages = [item for item in session.history.items if item.type == "message" and item.role != "system"]
    return Seen(replay(events), messages, events, adapter)


# the scenarios -------------------------------------------------------------------------------------------------------


async def normal(session: Any, caller: Caller) -> None:
    await answered(session)
    await caller.say("Are you open on Sunday?")
    await answered(session)
    await caller.say("Where is my order A17?")
    await answered(session)


async def barge_in(session: Any, caller: Caller) -> None:
    await caller.say("What is your return policy?")
    await becomes(session, "speaking")
    await asyncio.sleep(0.4)
    await caller.say("Make it short please.", 0.5)
    await answered(session)


async def false_interruption(session: Any, caller: Caller) -> None:
    await caller.say("What is your return policy?")
    await becomes(session, "speaking")
    await asyncio.sleep(0.3)
    await caller.say("", 0.4)
    await becomes(session, "listening")
    await answered(session)
    await caller.say("Make it short please.")
    await answered(session)


async def while_thinking(session: Any, caller: Caller) -> None:
    await caller.say("I want to return a jacket.")
    await becomes(session, "thinking")
    await caller.say("Make it short please.", 0.5)
    await answered(session)


async def pause_in_speech(session: Any, caller: Caller) -> None:
    await caller.say("Are you", 0.3)
    await asyncio.sleep(0.25)
    await caller.say("open on Sunday?", 0.3)
    await becomes(session, "speaking")
    await asyncio.sleep(0.2)
    await caller.say("Make it short please.", 0.5)
    await answered(session)


async def programmatic(session: Any, caller: Caller) -> None:
    session.say(LONG)
    await becomes(session, "speaking")
    await asyncio.sleep(0.3)
    await session.interrupt()
    session.say("Sorry.")
    await answered(session)


async def failing_llm(session: Any, caller: Caller) -> None:
    await caller.say("Break please.")
    await becomes(session, "thinking")
    await becomes(session, "listening")
    await caller.say("Make it short please.")
    await answered(session)


async def one_question(session: Any, caller: Caller) -> None:
    await caller.say("Make it short please.")
    await answered(session)


async def failing_tts(session: Any, caller: Caller) -> None:
    await caller.say("Are you there?")
    await becomes(session, "thinking")
    await becomes(session, "listening")
    await one_question(session, caller)


async def hang_up_while_spoken_to(session: Any, caller: Caller) -> None:
    await caller.say("What is your return policy?")
    await becomes(session, "speaking")
    await asyncio.sleep(0.3)


async def hang_up_while_speaking(session: Any, caller: Caller) -> None:
    await one_question(session, caller)
    talking = asyncio.create_task(caller.say("And what is more, I", 3.0))
    await asyncio.sleep(0.5)
    talking.cancel()


async def realtime(session: Any, caller: Caller) -> None:
    await caller.say("Hello there.")
    await answered(session)
    await caller.say("Tell me all.")
    await becomes(session, "speaking")
    await asyncio.sleep(0.2)
    await caller.say("Stop please.")
    await answered(session)


async def typed(session: Any, caller: Caller) -> None:
    await session.generate_reply(user_input="Make it short please.")


async def broken_events(session: Any, caller: Caller) -> None:
    await caller.say("Are you open on Sunday?")
    await becomes(session, "thinking")
    session.emit("agent_state_changed", Trap())
    session.emit("conversation_item_added", Trap())
    session.emit("metrics_collected", SimpleNamespace(metrics=Trap()))
    session.emit("overlapping_speech", SimpleNamespace(type="overlapping_speech", detected_at=1.0))
    await becomes(session, "speaking")
    await becomes(session, "listening")


class Trap:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} here")


class Reception(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="Put them through.")

    @function_tool
    async def put_through(self) -> tuple[Agent, str]:
        """Hand over."""
        return Sales(), "you are through"


class Sales(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="Sell.", llm=ScriptedLLM(Reply("", "Sales here."), model="sales-1"))

    async def on_enter(self) -> None:
        self.session.say("Welcome to sales.")


async def handoff(session: Any, caller: Caller) -> None:
    await caller.say("Sales please.")
    await answered(session)
    await caller.say("Make it short please.")
    await answered(session)


def llm_of(*replies: Reply, **options: Any) -> Callable[[Caller], Any]:
    return lambda _caller: ScriptedLLM(*replies, **options)


def falling_back(_caller: Caller) -> Any:
    primary = ScriptedLLM(Reply("", error="the primary is down"), model="primary")
    return llm.FallbackAdapter([primary, ScriptedLLM(SHORT, model="backup")], max_retry_per_llm=0)


def falling_back_stt(caller: Caller) -> Any:
    models = [ScriptedSTT(caller, fails=99), ScriptedSTT(caller)]
    return stt.FallbackAdapter(models, vad=LoudnessVAD(), max_retry_per_stt=0)


POLICY = llm_of(Reply("policy", LONG), SHORT)
SCENARIOS: dict[str, tuple[Scenario, dict[str, Any]]] = {
    "normal": (normal, {"agent": ShopAgent()}),
    "preamble": (
        normal,
        {
            "agent": ShopAgent(),
            "llm": llm_of(
                Reply("Sunday", "Yes."),
                Reply("order A17", "Let me look.", tool=("order_status", {"order_id": "A17"})),
                Reply("has shipped", "It has shipped."),
            ),
        },
    ),
    "barge_in": (barge_in, {"llm": POLICY}),
    "false_interruption": (false_interruption, {"llm": POLICY}),
    "while_thinking": (while_thinking, {"llm": llm_of(Reply("jacket", "Got it.", ttft=1.5), SHORT)}),
    "pause_in_speech": (pause_in_speech, {"llm": llm_of(Reply("Sunday", LONG), SHORT), "patience": 2.0}),
    "programmatic": (programmatic, {}),
    "failing_llm": (failing_llm, {"llm": llm_of(Reply("Break", error="the LLM is down"), SHORT)}),
    "failing_tts": (failing_tts, {"llm": llm_of(SHORT), "tts": lambda _c: ScriptedTTS(fails=1)}),
    "fallback_llm": (one_question, {"llm": falling_back}),
    "fallback_stt": (one_question, {"llm": llm_of(SHORT), "stt": falling_back_stt}),
    "hang_up_while_spoken_to": (hang_up_while_spoken_to, {"llm": POLICY}),
    "hang_up_while_speaking": (hang_up_while_speaking, {"llm": POLICY}),
    "typed": (typed, {"llm": POLICY}),
    "broken_events": (broken_events, {}),
    "handoff": (handoff, {"agent": Reception(), "llm": llm_of(Reply("Sales", tool=("put_through", {})))}),
    **{
        f"realtime_{order}": (
            realtime,
            {
                "llm": lambda caller, first=order == "early": ScriptedRealtime(caller, 0.8, first),
                "stt": None,
                "tts": None,
                "vad": LoudnessVAD() if order == "early" else None,  # without one there is no latency in the messages
                "turn_handling": {"turn_detection": "realtime_llm"},
            },
        )
        for order in ("early", "late")
    },
}


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """Every scenario, all at once: each call has its own session, recorder and clock."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('livekit')}/calls.db")

    async def all_calls() -> list[Seen]:
        calls = (hold(store, name, scenario, **options) for name, (scenario, options) in SCENARIOS.items())
        return await asyncio.wait_for(asyncio.gather(*calls), 60)

    return dict(zip(SCENARIOS, asyncio.run(all_calls()), strict=True))


# what the framework says of its messages, and what we make of them ---------------------------------------------------


def near(seconds: float) -> Any:
    """Our milliseconds for their seconds, within one millisecond."""
    return pytest.approx(seconds * 1000, abs=1)


def response_ms(turn: Turn) -> float:
    assert turn.agent_speech_start_time is not None
    assert turn.user_speech_end_time is not None
    return (turn.agent_speech_start_time - turn.user_speech_end_time) * 1000


def spoken_ms(seen: Seen, text: str) -> Any:
    """How long the user spoke, as the framework has it."""
    (message,) = [m for m in seen.messages if m.text_content == text]
    return near(message.metrics["stopped_speaking_at"] - message.metrics["started_speaking_at"])


def by_turn(seen: Seen) -> list[tuple[Turn, Any, Any]]:
    """Each turn with the framework's message of the user in it and the last of the agent's, or None."""
    found = []
    for turn in seen.call.turns:
        user = [m for m in seen.messages if m.role == "user" and turn.user_speech == m.text_content]
        agent = [m for m in seen.messages if m.role == "assistant" and m.text_content in (turn.agent_speech or "-")]
        found.append((turn, user[0] if user else None, agent[-1] if agent else None))
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_latencies_and_interruptions_are_those_of_the_frameworks_messages(seen: dict[str, Seen], name: str) -> None:
    for turn, user, agent in by_turn(seen[name]):
        theirs = (user.metrics if user else {}) | (agent.metrics if agent else {})
        if "end_of_turn_delay" in theirs:
            assert turn.stt_metrics[-1].stt_latency == near(theirs["transcription_delay"])
            together = turn.stt_metrics[-1].stt_latency + turn.eou_metrics[-1].eou_latency
            assert together == near(theirs["end_of_turn_delay"])
        if "llm_node_ttft" in theirs:
            assert turn.llm_metrics[-1].llm_ttft == near(theirs["llm_node_ttft"])
        if "tts_node_ttfb" in theirs:
            assert turn.tts_metrics[-1].ttfb == near(theirs["tts_node_ttfb"])
        if "e2e_latency" in theirs:
            assert response_ms(turn) == near(theirs["e2e_latency"])
        assert turn.is_interrupted is bool(agent and agent.interrupted)


def test_there_was_something_to_compare(seen: dict[str, Seen]) -> None:
    """On a machine that is too busy the framework leaves some of its measurements out."""
    measured = [m.metrics for s in seen.values() for m in s.messages if m.metrics]
    for name in ("end_of_turn_delay", "llm_node_ttft", "tts_node_ttfb", "e2e_latency"):
        assert sum(name in metrics for metrics in measured) >= 10, name


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_message_is_in_one_turn(seen: dict[str, Seen], name: str) -> None:
    """So as many turns as the framework had exchanges."""
    call = seen[name].call
    for message in seen[name].messages:
        text = message.text_content
        holding = [t for t in call.turns if text == t.user_speech or text in (t.agent_speech or "")]
        assert len(holding) == 1, text
    asked = sum(m.role == "user" for m in seen[name].messages)
    assert len(call.turns) == asked + UNASKED.get(name, 0)
    assert call.current_turn is None
    assert call.raised == []
    assert call.total_interruptions == sum(m.interrupted for m in seen[name].messages)


UNASKED = {"normal": 1, "preamble": 1, "programmatic": 2, "handoff": 1}
"""What the agent says of its own accord: a greeting, an announcement."""


# what only some calls have -------------------------------------------------------------------------------------------


def test_a_session_begins_with_the_framework_and_who_serves_it(seen: dict[str, Seen]) -> None:
    normal = seen["normal"]
    assert normal.events[0].hook == "set_framework"
    assert normal.hooks("set_framework") == [{"name": "livekit-agents", "version": metadata.version("livekit-agents")}]
    session = normal.call.session
    assert (session.pipeline_mode, session.realtime_mode) == ("full_cascading", None)
    assert session.components == ["llm", "stt", "tts", "vad"]
    assert session.provider_per_component["llm"]["model_name"] == "script-1"
    assert session.eou_config == {"mode": "vad", "min_max_speech_wait_timeout": [0.3, 1.0]}
    assert session.interrupt_config is not None
    assert session.interrupt_config["false_interrupt_pause_duration"] == 0.4
    assert session.system_instruction == "You answer the phone of a shop."
    assert seen["realtime_late"].call.session.realtime_mode == "full_s2s"
    assert normal.framework_events("close") == [{"reason": "user_initiated", "error": "None"}]
    (usage,) = normal.framework_events("session_usage")
    assert {used["type"] for used in usage["model_usage"]} == {"llm_usage", "tts_usage"}


def test_times_are_those_at_which_things_happened(seen: dict[str, Seen]) -> None:
    """The VAD tells a start 40 ms and an end 100 ms late, and says so."""
    late = [clocks(e)[0] - e.perf_ns for e in seen["normal"].events if e.hook == "on_user_speech_end"]
    assert all(ns < -90e6 for ns in late)
    start = next(e for e in seen["normal"].events if e.hook == "on_user_speech_start")
    assert clocks(start)[0] < start.perf_ns - 30e6
    assert clocks(start)[1] == pytest.approx(read_payload(start.payload)["$raw"]["created_at"] * 1e9, abs=1e6)


def test_the_agent_is_heard_from_when_the_output_says_so(seen: dict[str, Seen]) -> None:
    """The state changes a good deal later: some tenths of a millisecond, more on a busy machine."""
    began = [clocks(e)[1] for s in seen.values() for e in s.events if e.hook == "on_agent_speech_start"]
    theirs = [m.metrics["started_speaking_at"] * 1e9 for m in seen["normal"].messages if m.role == "assistant"]
    assert all(min(abs(ours - their) for ours in began) < 50_000 for their in theirs)


def test_every_metric_of_a_message_is_in_the_log(seen: dict[str, Seen]) -> None:
    kept = {e["item"]["id"]: e["item"] for e in seen["normal"].framework_events("conversation_item_added")}
    for message in seen["normal"].messages:
        assert kept[message.id]["metrics"] == message.metrics
        assert kept[message.id]["text"] == message.text_content


def test_a_barge_in_ends_the_turn_where_the_agent_fell_silent_and_begins_the_next(seen: dict[str, Seen]) -> None:
    interrupted, next_turn = seen["barge_in"].call.turns
    message = next(m for m in seen["barge_in"].messages if m.interrupted)
    assert interrupted.is_interrupted
    assert not next_turn.is_interrupted
    assert len(seen["barge_in"].call.interruptions) == 1
    assert interrupted.agent_speech_start_time is not None
    assert interrupted.agent_speech_end_time is not None
    spoke = interrupted.agent_speech_end_time - interrupted.agent_speech_start_time
    theirs = message.metrics["stopped_speaking_at"] - message.metrics["started_speaking_at"]
    assert spoke < theirs - 0.1  # which counts the pause, up to the final transcript
    assert interrupted.interruption_metrics is not None
    assert not interrupted.interruption_metrics.is_false_interrupt
    assert next_turn.user_speech_start_time is not None
    assert interrupted.user_speech_end_time is not None
    assert interrupted.user_speech_end_time < next_turn.user_speech_start_time < interrupted.agent_speech_end_time
    assert [len(turn.vad_metrics) for turn in (interrupted, next_turn)] == [1, 1]


def test_a_false_interruption_is_a_pause_and_nothing_else(seen: dict[str, Seen]) -> None:
    paused, next_turn = seen["false_interruption"].call.turns
    assert not paused.is_interrupted
    pause = paused.interruption_metrics
    assert pause is not None
    assert pause.is_false_interrupt
    assert pause.resumed_after_false_interrupt
    assert pause.false_interrupt_duration is not None
    assert pause.false_interrupt_duration > 400
    assert pause.false_interrupt_pause_duration == 0.4
    assert paused.agent_speech_end_time is not None
    assert next_turn.user_speech_start_time is not None
    assert next_turn.user_speech_start_time > paused.agent_speech_end_time - 0.1  # not the noise
    noise = seen["false_interruption"].framework_events("user_state_changed")
    assert [e["new_state"] for e in noise] == ["speaking", "listening"] * 3  # which is in the log all the same


def test_a_pause_in_speech_ends_nothing(seen: dict[str, Seen]) -> None:
    first, second = seen["pause_in_speech"].call.turns
    assert first.user_speech == "Are you open on Sunday?"
    assert first.user_speech_duration == spoken_ms(seen["pause_in_speech"], "Are you open on Sunday?")
    assert first.is_interrupted
    assert second.user_speech == "Make it short please."
    assert len(first.vad_metrics) == len(second.vad_metrics) == 1  # the rules would hand a second one on


def test_words_added_while_the_agent_thinks_are_the_next_turn(seen: dict[str, Seen]) -> None:
    first, second = seen["while_thinking"].call.turns
    assert (first.user_speech, first.agent_speech) == ("I want to return a jacket.", None)
    assert (second.user_speech, second.agent_speech) == ("Make it short please.", "Thirty days.")
    assert first.user_speech_end_time is not None
    assert second.user_speech_start_time is not None
    assert second.user_speech_start_time > first.user_speech_end_time


def test_tools(seen: dict[str, Seen]) -> None:
    turn = seen["preamble"].turn("order A17")
    (tool,) = turn.function_tool_metrics
    assert (tool.tool_name, tool.tool_params) == ("order_status", {"order_id": "A17"})
    assert tool.tool_response == {"output": "A17 has shipped", "is_error": False}
    assert tool.latency >= 200
    assert turn.user_speech_end_time < tool.start_time < tool.end_time < turn.agent_speech_start_time
    assert turn.agent_speech == "Let me look. It has shipped."


def test_a_handoff_and_the_new_agents_own_model(seen: dict[str, Seen]) -> None:
    call = seen["handoff"].call
    assert call.session.system_instruction == "Sell."
    assert call.session.provider_per_component["llm"]["model_name"] == "sales-1"
    assert len(seen["handoff"].hooks("set_a2a_handoff")) == 1
    assert "sales-1" in [info["model_name"] for info in seen["handoff"].hooks("set_provider_info")]


def test_errors_are_in_the_turn_that_failed(seen: dict[str, Seen]) -> None:
    for name, source, text in (("failing_llm", "LLM", "the LLM is down"), ("failing_tts", "TTS", "TTS is down")):
        failed, well = seen[name].call.turns
        assert [error["source"] for error in failed.errors] == [source]
        assert text in failed.errors[0]["message"]
        assert well.errors == []
        assert well.agent_speech == "Thirty days."


@pytest.mark.parametrize(("name", "component"), [("fallback_llm", "llm"), ("fallback_stt", "stt")])
def test_a_fallback_names_who_failed_and_who_serves(seen: dict[str, Seen], name: str, component: str) -> None:
    (turn,) = seen[name].call.turns
    failed = [f for f in turn.fallback_events if not f.is_recovery]
    assert [f.component_type for f in failed] == [component.upper()]
    if component == "llm":
        assert [s["model_name"] for s in seen[name].hooks("update_provider_class")] == ["backup"]
        assert seen[name].call.session.provider_per_component["llm"]["model_name"] == "backup"


def test_a_hang_up_completes_what_there_was(seen: dict[str, Seen]) -> None:
    (turn,) = seen["hang_up_while_spoken_to"].call.turns
    assert turn.agent_speech_end_time is not None
    (spoken,) = seen["hang_up_while_speaking"].call.discarded
    assert spoken.turn.user_speech_start_time is not None
    assert spoken.turn.agent_speech_start_time is None


def test_realtime_models(seen: dict[str, Seen]) -> None:
    for name in ("realtime_early", "realtime_late"):
        turns = seen[name].call.turns
        assert [turn.user_speech for turn in turns] == ["Hello there.", "Tell me all.", "Stop please."]
        assert [turn.is_interrupted for turn in turns] == [False, True, False]
        for turn in turns:
            assert turn.realtime_metrics[-1].realtime_input_audio_tokens == 7
            assert turn.realtime_metrics[-1].realtime_ttfb == pytest.approx(response_ms(turn), abs=0.001)


def test_spans_nest_in_the_session(seen: dict[str, Seen]) -> None:
    call = seen["normal"].call
    names = [span.name for span in call.spans]
    assert [name for name in names if name.startswith("Turn #")] == ["Turn #1", "Turn #2", "Turn #3"]
    assert names[-1].startswith("Agent Session: ")
    assert call.open_spans == []


# guests --------------------------------------------------------------------------------------------------------------


def test_events_that_cannot_be_read_are_counted_and_the_call_goes_on(seen: dict[str, Seen]) -> None:
    broken = seen["broken_events"]
    assert broken.adapter.failed == 3
    assert broken.adapter.last_error == "RuntimeError: no type here"
    assert broken.call.turns[-1].agent_speech == "We are, from ten to four."
    (unknown,) = broken.framework_events("overlapping_speech")
    assert unknown == {"text": "namespace(type='overlapping_speech', detected_at=1.0)"}
    assert all(s.adapter.failed == 0 for name, s in seen.items() if name != "broken_events")


def test_a_store_that_is_down_is_not_the_calls_business(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/calls.db")

    def down(_events: object) -> list[int]:
        raise StoreUnavailable("the store is down")

    async def call() -> Adapter:
        caller = Caller()
        session = new_session(caller, llm=ScriptedLLM(SHORT))
        adapter = attach(session, store, session_id="down")
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr(store, "append", down)
            await session.start(Agent(instructions="Be brief."), record=False)
            await one_question(session, caller)
            await session.aclose()
        assert await asyncio.to_thread(adapter.close)  # it is up again
        return adapter

    assert asyncio.run(asyncio.wait_for(call(), 30)).failed == 0
    (turn,) = replay(store.read("down")).turns
    assert (turn.user_speech, turn.agent_speech) == ("Make it short please.", "Thirty days.")


KILLED = """
import asyncio, sys
from eventstore import open_store
from livekit.agents import Agent
from turnlog.adapters.demo_livekit import becomes, new_session
from turnlog.adapters.demo_livekit_parts import Caller, Reply, ScriptedLLM
from turnlog.adapters.livekit import attach

async def call():
    caller = Caller()
    session = new_session(caller, llm=ScriptedLLM(Reply("", "This takes a while to say, and nobody will hear it all.")))
    attach(session, open_store(sys.argv[1]), session_id="killed")
    await session.start(Agent(instructions=""), record=False)
    await caller.say("What is your return policy?")
    await becomes(session, "speaking")
    await asyncio.sleep(0.2)  # the LLM's and the TTS's own measurements
    print("speaking", flush=True)
    await asyncio.sleep(60)

asyncio.run(call())
"""


def test_of_a_killed_agent_the_last_turn_is_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/calls.db"
    agent = subprocess.Popen([sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE, text=True)
    assert agent.stdout is not None
    assert agent.stdout.readline() == "speaking\n"
    agent.kill()
    agent.wait()
    agent.stdout.close()
    store = open_store(url)
    recover(store, store.journal)
    call = replay(store.read("killed"))
    assert call.turns == []
    turn = call.current_turn
    assert turn is not None
    assert turn.user_speech == "What is your return policy?"
    assert turn.agent_speech_start_time is not None
    assert turn.agent_speech_end_time is None
    assert turn.llm_metrics[-1].llm_ttft > 90


def test_the_demo_has_what_it_promises(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/calls.db")
    asyncio.run(asyncio.wait_for(run(store, "demo"), 30))
    turns = replay(store.read("demo")).turns
    assert len(turns) == 5
    assert turns[0].user_speech is None
    assert [turn.is_interrupted for turn in turns] == [False, False, False, True, False]
    assert [tool for turn in turns for tool in turn.function_tools_called] == ["order_status"]
