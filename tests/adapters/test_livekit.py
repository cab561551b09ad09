"""LiveKit Agents itself runs here, with providers that are scripts; what turnlog makes of it is compared with what the
framework says of its own messages. ``make test-livekit``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

pytest.importorskip("livekit.agents", reason="needs LiveKit Agents: make test-livekit")

from livekit.agents import Agent, function_tool, llm, stt

from eventstore import Event, Store, open_store
from eventstore.codec import read_payload
from livekit_realtime import ScriptedRealtime
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
    "pause_in_speech": (pause_in_speech, {"llm": llm_of(Reply("Sunday", LONG), SHORT), "patience": 0.8}),
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
    compared = 0
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
            compared += 1
        assert turn.is_interrupted is bool(agent and agent.interrupted)
    assert compared >= (name not in ("programmatic", "typed", "realtime_late"))


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
