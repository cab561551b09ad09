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
import simulated_time

pytest.importorskip("livekit.agents", reason="needs LiveKit Agents: make test-livekit")

from livekit import rtc
from livekit.agents import Agent, RunContext, function_tool, llm, stt
from livekit_realtime import ScriptedRealtime
from recorded import Recorded

from eventstore import Store, open_store, recover
from eventstore.codec import clocks, read_payload
from eventstore.errors import StoreUnavailable
from turnlog.adapters.livekit.adapter import LiveKitAdapter, attach
from turnlog.adapters.livekit.demo.agent import ShopAgent, new_session, run, wait_for_answer, wait_for_state
from turnlog.adapters.livekit.demo.parts import Caller, LoudnessVAD, Reply, ScriptedLLM, ScriptedSTT, ScriptedTTS

LONG = "You can return any item within thirty days. It must be unused and in its original box, with all its parts."
SHORT = Reply("short", "Thirty days.")
Scenario = Callable[[Any, Caller], Awaitable[None]]


class Seen(NamedTuple):
    """A call as turnlog has it, and as the framework has it."""

    call: Recorded
    messages: list[Any]
    adapter: LiveKitAdapter

    def metrics(self, kind: str) -> list[dict[str, Any]]:
        """The framework's own measurements of a component, as the log has them."""
        kept = [event["metrics"] for event in self.call.framework("metrics_collected")]
        return [measured for measured in kept if measured["type"] == kind]


async def hold(store: Store, name: str, scenario: Scenario, agent: Any = None, **options: Any) -> Seen:
    caller = Caller()
    options = {key: make(caller) if callable(make) else make for key, make in options.items()}
    session = new_session(caller, **options)
    adapter = attach(session, store, session_id=name, clock=simulated_time.recorder_clock())
    await session.start(agent or Agent(instructions="Be brief."), record=False)
    await scenario(session, caller)
    await session.aclose()
    await asyncio.to_thread(adapter.close)
    events = list(store.read(name))
    messages = [item for item in session.history.items if item.type == "message" and item.role != "system"]
    return Seen(Recorded(events), messages, adapter)


# the scenarios -------------------------------------------------------------------------------------------------------


async def normal(session: Any, caller: Caller) -> None:
    await wait_for_answer(session)
    await caller.say("Are you open on Sunday?")
    await wait_for_answer(session)
    await caller.say("Where is my order A17?")
    await wait_for_answer(session)


async def barge_in(session: Any, caller: Caller) -> None:
    await caller.say("What is your return policy?")
    await wait_for_state(session, "speaking")
    await asyncio.sleep(0.4)
    await caller.say("Make it short please.", 0.5)
    await wait_for_answer(session)


async def false_interruption(session: Any, caller: Caller) -> None:
    await caller.say("What is your return policy?")
    await wait_for_state(session, "speaking")
    await asyncio.sleep(0.3)
    await caller.say("", 0.4)
    await wait_for_state(session, "listening")
    await wait_for_answer(session)
    await caller.say("Make it short please.")
    await wait_for_answer(session)


async def while_thinking(session: Any, caller: Caller) -> None:
    await caller.say("I want to return a jacket.")
    await wait_for_state(session, "thinking")
    await caller.say("Make it short please.", 0.5)
    await wait_for_answer(session)


async def pause_in_speech(session: Any, caller: Caller) -> None:
    await caller.say("Are you", 0.3)
    await asyncio.sleep(0.25)
    await caller.say("open on Sunday?", 0.3)
    await wait_for_state(session, "speaking")
    await asyncio.sleep(0.2)
    await caller.say("Make it short please.", 0.5)
    await wait_for_answer(session)


async def programmatic(session: Any, caller: Caller) -> None:
    session.say(LONG)
    await wait_for_state(session, "speaking")
    await asyncio.sleep(0.3)
    await session.interrupt()
    session.say("Sorry.")
    await wait_for_answer(session)


async def failing_llm(session: Any, caller: Caller) -> None:
    await caller.say("Break please.")
    await wait_for_state(session, "thinking")
    await wait_for_state(session, "listening")
    await caller.say("Make it short please.")
    await wait_for_answer(session)


async def one_question(session: Any, caller: Caller) -> None:
    await caller.say("Make it short please.")
    await wait_for_answer(session)


async def failing_tts(session: Any, caller: Caller) -> None:
    await caller.say("Are you there?")
    await wait_for_state(session, "thinking")
    await wait_for_state(session, "listening")
    await one_question(session, caller)


async def hang_up_while_spoken_to(session: Any, caller: Caller) -> None:
    await caller.say("What is your return policy?")
    await wait_for_state(session, "speaking")
    await asyncio.sleep(0.3)


async def hang_up_while_speaking(session: Any, caller: Caller) -> None:
    await one_question(session, caller)
    heard = asyncio.Event()
    session.on("user_input_transcribed", lambda _event: heard.set())
    talking = asyncio.create_task(caller.say("And what is more, I", 3.0))
    await heard.wait()
    talking.cancel()


async def hang_up_while_it_works(session: Any, caller: Caller) -> None:
    await caller.say("Where is my order A17?")
    await session.current_agent.working.wait()


async def order_with_filler(session: Any, caller: Caller) -> None:
    """The agent answers twice, by two speech handles."""
    answers, both = [], asyncio.Event()

    def added(event: Any) -> None:
        if event.item.type == "message" and event.item.role == "assistant":
            answers.append(event.item)
            if len(answers) == 2:
                both.set()

    session.on("conversation_item_added", added)
    await caller.say("Where is my order A17?")
    await both.wait()
    await wait_for_state(session, "listening")


async def changed_mind(session: Any, caller: Caller) -> None:
    """The model has answered the first words by the time that more come."""
    await caller.say("I want", 0.3)
    await asyncio.sleep(0.25)
    await caller.say("to cancel please", 0.4)
    await wait_for_answer(session)


async def metrics_twice(session: Any, caller: Caller) -> None:
    """Some adapters pass on what was emitted already."""
    seen: list[Any] = []

    def again(event: Any) -> None:
        if event.metrics.type in ("llm_metrics", "tts_metrics") and event.metrics not in seen:
            seen.append(event.metrics)
            session.emit("metrics_collected", event)

    rtc.EventEmitter.on(session, "metrics_collected", again)
    await one_question(session, caller)


async def realtime(session: Any, caller: Caller) -> None:
    await caller.say("Hello there.")
    await wait_for_answer(session)
    await caller.say("Tell me all.")
    await wait_for_state(session, "speaking")
    await asyncio.sleep(0.2)
    await caller.say("Stop please.")
    await wait_for_answer(session)


async def typed(session: Any, caller: Caller) -> None:
    await session.generate_reply(user_input="Make it short please.")


async def broken_events(session: Any, caller: Caller) -> None:
    await caller.say("Are you open on Sunday?")
    await wait_for_state(session, "thinking")
    session.emit("agent_state_changed", Trap())
    session.emit("conversation_item_added", Trap())
    session.emit("metrics_collected", SimpleNamespace(metrics=Trap()))
    session.emit("overlapping_speech", SimpleNamespace(type="overlapping_speech", detected_at=1.0))
    await wait_for_state(session, "speaking")
    await wait_for_state(session, "listening")


class Trap:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} here")


class Filling(Agent):
    """Its tool says that it takes a while."""

    def __init__(self) -> None:
        super().__init__(instructions="Look it up.")

    @function_tool
    async def order_status(self, order_id: str) -> str:
        """Where an order is."""
        self.session.say("One moment please.")
        await asyncio.sleep(1.5)  # longer than that takes
        return f"{order_id} has shipped"


class Replying(Agent):
    """Its tool has the model say that it takes a while."""

    def __init__(self) -> None:
        super().__init__(instructions="Look it up.")

    @function_tool
    async def order_status(self, order_id: str) -> str:
        """Where an order is."""
        self.session.generate_reply(instructions="One moment.", tool_choice="none")
        await asyncio.sleep(1.5)
        return f"{order_id} has shipped"


class Humming(Agent):
    """It says something before the model is asked."""

    def __init__(self) -> None:
        super().__init__(instructions="Think first.")

    async def on_user_turn_completed(self, turn_ctx: Any, new_message: Any) -> None:
        self.session.say("Let me think.")


class Slow(Agent):
    """Its tool takes for ever."""

    def __init__(self) -> None:
        super().__init__(instructions="Take your time.")
        self.working = asyncio.Event()

    @function_tool(flags=llm.ToolFlag.CANCELLABLE)
    async def order_status(self, order_id: str) -> str:
        """Where an order is."""
        self.working.set()
        await asyncio.Event().wait()
        return order_id


class Telling(Agent):
    """Its tool tells how far it is while it works."""

    def __init__(self) -> None:
        super().__init__(instructions="Take your time.")

    @function_tool
    async def order_status(self, context: RunContext[Any], order_id: str) -> str:
        """Where an order is."""
        await context.update("still looking")
        await asyncio.sleep(0.3)
        return f"{order_id} has shipped"


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
    await wait_for_answer(session)
    await caller.say("Make it short please.")
    await wait_for_answer(session)


def llm_of(*replies: Reply, **options: Any) -> Callable[[Caller], Any]:
    return lambda _caller: ScriptedLLM(*replies, **options)


def falling_back(_caller: Caller) -> Any:
    primary = ScriptedLLM(Reply("", error="the primary is down"), model="primary")
    return llm.FallbackAdapter([primary, ScriptedLLM(SHORT, model="backup")], max_retry_per_llm=0)


def falling_back_stt(caller: Caller) -> Any:
    models = [ScriptedSTT(caller, fails=99), ScriptedSTT(caller)]
    return stt.FallbackAdapter(models, vad=LoudnessVAD(), max_retry_per_stt=0)


POLICY = llm_of(Reply("policy", LONG), SHORT)
ORDER = llm_of(
    Reply("order A17", tool=("order_status", {"order_id": "A17"})),
    Reply("has shipped", "It has shipped."),
    Reply("still looking", "I am still looking."),
    SHORT,
)
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
    "filler": (order_with_filler, {"agent": Filling(), "llm": ORDER}),
    "telling": (order_with_filler, {"agent": Telling(), "llm": ORDER}),
    "replying": (
        order_with_filler,
        {
            "agent": Replying(),
            "llm": llm_of(
                Reply("has shipped", "It has shipped."),
                Reply("One moment", "Just a moment."),
                Reply("order A17", tool=("order_status", {"order_id": "A17"})),
                SHORT,
            ),
        },
    ),
    "humming": (order_with_filler, {"agent": Humming(), "llm": llm_of(Reply("order A17", "It has shipped."))}),
    "hang_up_while_it_works": (hang_up_while_it_works, {"agent": Slow(), "llm": ORDER}),
    "changed_mind": (changed_mind, {"llm": llm_of(Reply("cancel", "OK cancelled."))}),
    "metrics_twice": (metrics_twice, {"llm": llm_of(SHORT)}),
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
        return await asyncio.gather(*calls)

    return dict(zip(SCENARIOS, simulated_time.run(all_calls()), strict=True))


# what the framework says of its messages, and what we make of them ---------------------------------------------------

MS = 0.001

QUESTION, RETURNS = "Make it short please.", "What is your return policy?"
IS_SHORT = (QUESTION, "Thirty days.", None)
EXPECTED: dict[str, list[tuple[str | None, str | None, str | None]]] = {
    "normal": [
        (None, "Hello, how can I help?", "no question"),
        ("Are you open on Sunday?", "We are, from ten to four.", None),
        ("Where is my order A17?", "It has shipped.", None),
    ],
    "preamble": [
        (None, "Hello, how can I help?", "no question"),
        ("Are you open on Sunday?", "Yes.", None),
        ("Where is my order A17?", "Let me look. It has shipped.", None),
    ],
    "barge_in": [(RETURNS, LONG, None), IS_SHORT],
    "false_interruption": [(RETURNS, LONG, None), IS_SHORT],
    "while_thinking": [("I want to return a jacket.", None, "cut off before it was heard"), IS_SHORT],
    "pause_in_speech": [("Are you open on Sunday?", LONG, None), IS_SHORT],
    "programmatic": [(None, LONG, "no question"), (None, "Sorry.", "no question")],
    "failing_llm": [("Break please.", None, "error"), IS_SHORT],
    "failing_tts": [("Are you there?", None, "error"), IS_SHORT],
    "fallback_llm": [IS_SHORT],
    "fallback_stt": [IS_SHORT],
    "filler": [("Where is my order A17?", "One moment please. It has shipped.", None)],
    "telling": [("Where is my order A17?", "I am still looking. Okay.", None)],
    "replying": [("Where is my order A17?", "Just a moment. It has shipped.", None)],
    "humming": [("Where is my order A17?", "Let me think. It has shipped.", None)],
    "changed_mind": [("I want to cancel please", "OK cancelled.", None)],
    "metrics_twice": [IS_SHORT],
    "hang_up_while_spoken_to": [(RETURNS, LONG, None)],
    "hang_up_while_speaking": [IS_SHORT, ("And what is more,", None, "hang-up")],
    "hang_up_while_it_works": [("Where is my order A17?", None, "withdrawn")],
    "typed": [IS_SHORT],
    "broken_events": [("Are you open on Sunday?", "We are, from ten to four.", None)],
    "handoff": [
        ("Sales please.", "Okay.", None),
        (QUESTION, "Sales here.", None),
        (None, "Welcome to sales.", "no question"),
    ],
    **{
        f"realtime_{order}": [
            (said, f"You said: {said}", None) for said in ("Hello there.", "Tell me all.", "Stop please.")
        ]
        for order in ("early", "late")
    },
}
"""The caller's turns: question, answer (as it was to be said), and why there is no response, if there is none."""

NO_VOICE = "typed: there is no end of a voice from which the framework could count"
NO_DETECTOR = "without a detector the framework has no end of the user's voice; ours is that of the model's own"
OWN_SPEECH = (
    "theirs is of the speech handle that has the answer; ours ends at the filler, theirs is our time to the answer"
)
HUMMED = "theirs is of the speech handle that has the answer; ours ends at the first words, which no tool was behind"
NO_FIGURE = "the framework measures no latency of a reply that a tool has the model make"
DIFFERENCES = {
    ("typed", 1): NO_VOICE,
    ("filler", 1): OWN_SPEECH,
    ("humming", 1): HUMMED,
    ("replying", 1): NO_FIGURE,
    **{("realtime_late", turn): NO_DETECTOR for turn in (1, 2, 3)},
}
"""Turns in which the framework's own ``e2e_latency`` is not our response, and why. One that is not here fails."""


def test_every_scene_has_its_expected_turns() -> None:
    assert sorted(EXPECTED) == sorted(SCENARIOS)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_callers_turns(seen: dict[str, Seen], name: str) -> None:
    """What was asked, what it was answered with, or why it was not; no voice is lost or in two turns."""
    turns = seen[name].call.turns()
    assert [(turn.user_speech, turn.no_response) for turn in turns] == [(q, why) for q, _, why in EXPECTED[name]]
    for turn, (_question, answer, _why) in zip(turns, EXPECTED[name], strict=True):
        assert (answer or "").startswith(turn.agent_speech or "")  # of one that was cut off, what was heard


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_response_is_the_frameworks_own_latency(seen: dict[str, Seen], name: str) -> None:
    """Within a millisecond, turn by turn. Break: in `LiveKitCall.user_state_changed`, record an end as of now."""
    call = seen[name].call
    assert call.differences(within_ms=1) == {turn for scene, turn in DIFFERENCES if scene == name}
    figures = [turn.framework_e2e for turn in call.turns() if turn.framework_e2e is not None]
    theirs = [
        message.metrics["e2e_latency"] * 1000 for message in seen[name].messages if "e2e_latency" in message.metrics
    ]
    assert figures == pytest.approx(theirs, abs=1e-6)
    for turn in call.turns():
        if DIFFERENCES.get((name, turn.turn)) == OWN_SPEECH:
            assert turn.response is not None
            assert turn.response["time_to_answer_ms"] == pytest.approx(turn.framework_e2e, abs=1)


@pytest.mark.parametrize("name", SCENARIOS)
def test_everything_that_was_waited_for_has_a_name(seen: dict[str, Seen], name: str) -> None:
    """Break: in projections/latency/response.py, leave out STT that began without a start."""
    parts = [part for turn in seen[name].call.turns() if turn.response for part in turn.response["parts"]]
    assert [part for part in parts if part["name"] == "unaccounted"] == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_times_are_those_of_the_frameworks_messages(seen: dict[str, Seen], name: str) -> None:
    call = seen[name].call
    for message in seen[name].messages:
        theirs = message.metrics
        if "end_of_turn_delay" in theirs:
            assert_near(theirs["stopped_speaking_at"] + theirs["end_of_turn_delay"], call.at("on_eou_complete"))
            assert_near(theirs["stopped_speaking_at"] + theirs["transcription_delay"], call.at("on_eou_start"))
        if message.role == "assistant" and "started_speaking_at" in theirs:
            assert_near(theirs["started_speaking_at"], call.at("on_agent_speech_start"))
        if "e2e_latency" in theirs and not name.startswith("realtime"):  # whose silence is noticed, not measured
            assert_near(theirs["started_speaking_at"] - theirs["e2e_latency"], call.at("on_user_speech_end"))


def assert_near(their: float, ours: list[float]) -> None:
    assert min(abs(at - their) for at in ours) < MS


def test_there_was_something_to_compare(seen: dict[str, Seen]) -> None:
    """On a machine that is too busy the framework leaves some of its measurements out."""
    measured = [m.metrics for s in seen.values() for m in s.messages if m.metrics]
    for name in ("end_of_turn_delay", "llm_node_ttft", "tts_node_ttfb", "e2e_latency"):
        assert sum(name in metrics for metrics in measured) >= 10, name


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_message_is_recorded_as_it_is(seen: dict[str, Seen], name: str) -> None:
    call = seen[name].call
    by_role = {"user": ("set_user_transcript", "transcript"), "assistant": ("set_agent_response", "response")}
    for role, (hook, text) in by_role.items():
        theirs = [m.text_content for m in seen[name].messages if m.role == role and m.text_content]
        assert sorted(args[text] for args in call.of(hook)) == sorted(theirs)
    kept = {event["item"]["id"]: event["item"] for event in call.framework("conversation_item_added")}
    for message in seen[name].messages:  # with the latency of the framework's own, where it has one
        assert kept[message.id]["metrics"] == message.metrics
        assert kept[message.id]["text"] == message.text_content


@pytest.mark.parametrize("name", SCENARIOS)
def test_runs_and_usage_are_those_that_the_framework_measured(seen: dict[str, Seen], name: str) -> None:
    call = seen[name].call
    measured = {m["request_id"]: m for m in seen[name].metrics("llm_metrics")}
    runs = call.runs("llm")
    assert {run.id: run.usage[0]["total_tokens"] for run in runs} == {i: m["total_tokens"] for i, m in measured.items()}
    for one in runs:
        assert one.status in ("done", "cancelled", "superseded")
        assert one.first is None or one.first - one.start == pytest.approx(measured[one.id]["ttft"], abs=MS)
    spoken = {m["request_id"]: m for m in seen[name].metrics("tts_metrics")}
    seconds = [(run.audio_seconds, run.usage[0]) for run in call.runs("tts")]
    theirs = [(m["audio_duration"], m["characters_count"]) for m in spoken.values()]  # one cut off at once has no id
    assert sorted(seconds) == [pytest.approx(pair) for pair in sorted(theirs)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_voices_alternate_and_no_end_is_made_up(seen: dict[str, Seen], name: str) -> None:
    order = seen[name].call.order("on_agent_speech_start", "on_agent_speech_end")
    assert order[::2] == ["on_agent_speech_start"] * len(order[::2])
    assert order[1::2] == ["on_agent_speech_end"] * len(order[1::2])
    states = seen[name].call.framework("user_state_changed")
    starts, ends = ([s[k] for s in states].count("speaking") for k in ("new_state", "old_state"))
    assert len(seen[name].call.of("on_user_speech_start")) == starts
    assert ends <= len(seen[name].call.of("on_user_speech_end")) <= ends + len(seen[name].messages)


# what only some calls have -------------------------------------------------------------------------------------------


def test_a_session_begins_with_the_framework_and_who_serves_it(seen: dict[str, Seen]) -> None:
    call = seen["normal"].call
    assert call.events[0].hook == "set_framework"
    assert call.of("set_framework") == [{"name": "livekit-agents", "version": metadata.version("livekit-agents")}]
    (pipeline,) = call.of("configure_pipeline")
    assert (pipeline["pipeline_mode"], pipeline["realtime_mode"]) == ("full_cascading", None)
    assert sorted(pipeline["active_components"]) == ["llm", "stt", "tts", "vad"]
    served = {info["component_type"]: info["model_name"] for info in call.of("set_provider_info")}
    assert served["llm"] == "script-1"
    assert call.of("set_eou_config")[0]["config"] == {"mode": "vad", "min_max_speech_wait_timeout": [0.3, 1.0]}
    assert call.of("set_interrupt_config")[0]["config"]["false_interrupt_pause_duration"] == 0.4
    assert call.of("set_system_instructions")[-1] == {"instructions": "You answer the phone of a shop."}
    assert seen["realtime_late"].call.of("configure_pipeline")[0]["realtime_mode"] == "full_s2s"


def test_a_session_ends_with_its_reason_and_what_it_used(seen: dict[str, Seen]) -> None:
    call = seen["normal"].call
    assert call.framework("close") == [{"reason": "user_initiated", "error": "None"}]
    assert call.of("session_ended") == [{"reason": "user_initiated"}]
    assert call.order("session_ended", "finalize_session") == ["session_ended", "finalize_session"]
    (usage,) = call.framework("session_usage")
    assert {used["type"] for used in usage["model_usage"]} == {"llm_usage", "tts_usage", "stt_usage"}
    stt_seconds = [args["seconds"] for args in call.of("add_audio_seconds") if args["component"] == "stt"]
    (spent,) = [used["audio_duration"] for used in usage["model_usage"] if used["type"] == "stt_usage"]
    assert sum(stt_seconds) == pytest.approx(spent)


def test_times_are_those_at_which_things_happened(seen: dict[str, Seen]) -> None:
    """The VAD tells a start 40 ms and an end 100 ms late, and says so."""
    events = seen["normal"].call.events
    assert all(clocks(e)[0] - e.perf_ns < -90e6 for e in events if e.hook == "on_user_speech_end")
    start = next(e for e in events if e.hook == "on_user_speech_start")
    assert clocks(start)[0] < start.perf_ns - 30e6
    assert clocks(start)[1] == pytest.approx(read_payload(start.payload)["$raw"]["created_at"] * 1e9, abs=1e6)


def test_words_are_recorded_when_they_are_known(seen: dict[str, Seen]) -> None:
    assert seen["barge_in"].call.words() == [
        *("What is your return", "What is your return policy?", "What is your return policy?"),
        *("Make it short", "Make it short please.", "Make it short please."),
    ]
    assert seen["hang_up_while_speaking"].call.words()[-1] == "And what is more,"


def test_a_barge_in_silences_the_agent_where_it_paused(seen: dict[str, Seen]) -> None:
    call = seen["barge_in"].call
    doubt = ("on_false_interrupt_start", "on_false_interrupt_escalated", "on_interrupted", "on_false_interrupt_resume")
    assert call.order(*doubt) == list(doubt[:3])
    voice, paused = call.at("on_user_speech_start")[-1], call.at("on_false_interrupt_start")[0]
    assert call.at("on_agent_speech_start")[0] < voice < paused
    assert call.at("on_agent_speech_end")[0] == pytest.approx(paused, abs=MS)
    assert call.at("on_interrupted")[0] > paused


def test_a_false_interruption_is_a_pause_and_nothing_else(seen: dict[str, Seen]) -> None:
    call = seen["false_interruption"].call
    assert call.order("on_false_interrupt_start", "on_false_interrupt_resume", "on_interrupted") == [
        *("on_false_interrupt_start", "on_false_interrupt_resume")
    ]
    assert call.of("on_false_interrupt_start") == [{"pause_duration": 0.4}]
    assert len(call.of("on_agent_speech_start")) == 2  # the voice that paused is one
    assert len(call.of("on_user_speech_start")) == 3  # the noise is a voice
    assert call.of("on_stt_complete")[1]["transcript"] == "Make it short please."


def test_a_filler_said_by_a_tool_tears_nothing(seen: dict[str, Seen]) -> None:
    """Two speeches answer one question; the turn is not over with the first of them."""
    call = seen["filler"].call
    order = call.order("set_user_transcript", "set_agent_response", "start_turn", "complete_turn")
    assert order == ["set_user_transcript", "set_agent_response", "set_agent_response", "complete_turn"]
    assert [args["response"] for args in call.of("set_agent_response")] == ["One moment please.", "It has shipped."]
    first, _second = call.at("on_agent_speech_start")
    assert call.at("tool_started")[0] < first < call.at("tool_ended")[0]


def test_preemptive_runs_are_superseded_and_what_they_used_is_kept(seen: dict[str, Seen]) -> None:
    call = seen["changed_mind"].call
    assert [run.status for run in call.runs("llm")] == ["superseded", "done"]
    (usage,) = call.framework("session_usage")
    (spent,) = [used for used in usage["model_usage"] if used["type"] == "llm_usage"]
    ours = [run.usage[0] for run in call.runs("llm")]
    assert sum(used["prompt_tokens"] for used in ours) == spent["input_tokens"]
    assert sum(used["completion_tokens"] for used in ours) == spent["output_tokens"]


def test_a_metric_that_is_emitted_twice_is_one_run(seen: dict[str, Seen]) -> None:
    call = seen["metrics_twice"].call
    assert len(seen["metrics_twice"].metrics("llm_metrics")) == 2
    (run,) = call.runs("llm")
    assert run.usage[0] == run.usage[1]
    assert len(call.of("on_llm_complete")) == len(call.of("on_tts_complete")) == 1


def test_tools(seen: dict[str, Seen]) -> None:
    call = seen["preamble"].call
    ((started, ended),) = call.tools().values()
    assert (started[0], ended[0]) == ("started", "done")
    assert ended[1] - started[1] >= 0.2
    (tool,) = call.of("add_function_tool_call")
    assert (tool["tool_name"], tool["tool_params"]) == ("order_status", {"order_id": "A17"})
    assert tool["tool_response"] == {"output": "A17 has shipped", "is_error": False}
    assert [args["response"] for args in call.of("set_agent_response")][-2:] == ["Let me look.", "It has shipped."]


def test_a_tool_that_reports_progress_and_one_that_is_cancelled(seen: dict[str, Seen]) -> None:
    events = [what for what, _at in seen["telling"].call.tools()["order_status"]]
    assert events == ["started", "progress", "done"]
    cut = [what for what, _at in seen["hang_up_while_it_works"].call.tools()["order_status"]]
    assert cut[0] == "started"
    assert cut[-1] == "cancelled"


def test_a_handoff_and_the_new_agents_own_model(seen: dict[str, Seen]) -> None:
    call = seen["handoff"].call
    assert [args["name"] for args in call.of("agent_active")] == ["reception", "sales"]
    assert call.of("set_system_instructions")[-1] == {"instructions": "Sell."}
    assert len(call.of("set_a2a_handoff")) == 1
    assert "sales-1" in [info["model_name"] for info in call.of("set_provider_info")]


def test_errors(seen: dict[str, Seen]) -> None:
    for name, source, text in (("failing_llm", "LLM", "the LLM is down"), ("failing_tts", "TTS", "TTS is down")):
        (error,) = seen[name].call.of("add_error")
        assert error["source"] == source
        assert text in error["message"]
        assert seen[name].call.of("on_interrupted") == []


@pytest.mark.parametrize(("name", "component"), [("fallback_llm", "llm"), ("fallback_stt", "stt")])
def test_a_fallback_names_who_failed_and_who_serves(seen: dict[str, Seen], name: str, component: str) -> None:
    events = [args["event_data"] for args in seen[name].call.of("on_fallback_event")]
    assert [event["component_type"] for event in events if not event["is_recovery"]] == [component.upper()]
    if component == "llm":
        assert [s["model_name"] for s in seen[name].call.of("update_provider_class")] == ["backup"]


def test_a_voice_that_the_hang_up_cut_off_has_no_end_that_was_not_said(seen: dict[str, Seen]) -> None:
    call = seen["hang_up_while_speaking"].call
    assert len(call.of("on_user_speech_start")) - len(call.of("on_user_speech_end")) in (0, 1)
    assert len(call.of("on_user_speech_end")) == [s["old_state"] for s in call.framework("user_state_changed")].count(
        "speaking"
    )


def test_realtime_models(seen: dict[str, Seen]) -> None:
    for name in ("realtime_early", "realtime_late"):
        call = seen[name].call
        said = [args["transcript"] for args in call.of("set_user_transcript")]
        assert said == ["Hello there.", "Tell me all.", "Stop please."]
        assert len(call.of("on_interrupted")) == 1
        named = [args["run_id"] for args in call.of("name_run")]
        assert len(named) == 3
        assert [args["run_id"] for args in call.of("name_usage")] == named
        assert [args["usage"]["input_audio_tokens"] for args in call.of("set_realtime_usage")] == [7, 7, 7]
    assert seen["realtime_late"].call.order("set_user_transcript", "on_agent_speech_start")[:2] == [
        *("on_agent_speech_start", "set_user_transcript")
    ]


# guests --------------------------------------------------------------------------------------------------------------


def test_events_that_cannot_be_read_are_counted_and_the_call_goes_on(seen: dict[str, Seen]) -> None:
    broken = seen["broken_events"]
    assert broken.adapter.failed == 3
    assert broken.adapter.last_error == "RuntimeError: no type here"
    assert broken.call.of("set_agent_response")[-1] == {"response": "We are, from ten to four."}
    (unknown,) = broken.call.framework("overlapping_speech")
    assert unknown == {"text": "namespace(type='overlapping_speech', detected_at=1.0)"}
    assert all(s.adapter.failed == 0 for name, s in seen.items() if name != "broken_events")


def test_a_store_that_is_down_is_not_the_calls_business(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/calls.db")

    def down(_events: object) -> list[int]:
        raise StoreUnavailable("the store is down")

    async def call() -> LiveKitAdapter:
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
    call = Recorded(list(store.read("down")))
    assert call.of("set_user_transcript") == [{"transcript": "Make it short please."}]
    assert call.of("set_agent_response") == [{"response": "Thirty days."}]


KILLED = """
import asyncio, sys
from eventstore import open_store
from livekit.agents import Agent
from turnlog.adapters.livekit.demo.agent import wait_for_state, new_session
from turnlog.adapters.livekit.demo.parts import Caller, Reply, ScriptedLLM
from turnlog.adapters.livekit import attach

async def call():
    caller = Caller()
    session = new_session(caller, llm=ScriptedLLM(Reply("", "This takes a while to say, and nobody will hear it all.")))
    attach(session, open_store(sys.argv[1]), session_id="killed")
    await session.start(Agent(instructions=""), record=False)
    await caller.say("What is your return policy?")
    await wait_for_state(session, "speaking")
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
    call = Recorded(list(store.read("killed")))
    assert call.of("set_user_transcript") == [{"transcript": "What is your return policy?"}]
    assert call.order("on_agent_speech_start", "on_agent_speech_end", "session_ended") == ["on_agent_speech_start"]
    (run,) = call.runs("llm")
    assert run.first is not None
    assert run.first - run.start > 0.09


def test_the_demo_has_what_it_promises(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/calls.db")
    asyncio.run(asyncio.wait_for(run(store, "demo"), 30))
    call = Recorded(list(store.read("demo")))
    assert len(call.of("set_user_transcript")) == 4
    assert len(call.of("on_interrupted")) == 1
    assert [args["tool_name"] for args in call.of("tool_started")] == ["order_status"]
