"""The VideoSDK adapter beside the real framework: what it replays is what the framework itself sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("videosdk.agents")

from videosdk.agents.job import JobContext
from videosdk.agents.metrics import MetricsCollector, TracesFlowManager

from projections import replay
from turnlog import Call, Event, Store, open_store, recover
from turnlog.adapters import videosdk
from turnlog.adapters.videosdk.payload_check import payload_differences, rules_of, sent_payloads

HERE = Path(__file__).parent
VERSION = metadata.version("videosdk-agents")
OLD = VERSION == "1.0.2"
REPLAYED_EXACTLY = [
    "normal",
    "barge_in",
    "barge_in_while_thinking",
    "false_interruption",
    "tool_call",
    "llm_error",
    "fallback",
    "hang_up_while_speaking",
    "hang_up_while_thinking",
    "without_vad",
    "realtime",
    "unknown_method",
    "hostile",
    "listener",
    *(["two_at_once"] if OLD else []),  # newer releases have a collector, and a log, for each
]
only_1_0_2 = pytest.mark.skipif(not OLD, reason="looks at what only 1.0.2 does")


class Ran:
    """A scenario of `videosdk_scenarios` that has run."""

    def __init__(self, folder: Path, name: str) -> None:
        assert not (folder / f"{name}.failed").exists(), (folder / f"{name}.failed").read_text()
        self.url = f"sqlite:///{folder / name}.db"
        self.store: Store = open_store(self.url)
        self.name = name
        report = folder / f"{name}.json"
        self.result: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}

    @property
    def events(self) -> list[Event]:
        return list(self.store.read(self.name))

    @property
    def call(self) -> Call:
        return replay(self.events, rules_of(VERSION))

    def framework_events(self) -> dict[str, Any]:
        kept = [json.loads(event.payload) for event in self.events if event.hook == "framework_event"]
        return {event["name"]: event["arguments"] for event in kept}


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("videosdk")
    command = [sys.executable, str(HERE / "videosdk_scenarios.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return lambda name: Ran(folder, name)


@pytest.mark.parametrize("name", REPLAYED_EXACTLY)
def test_the_replay_is_what_the_framework_sent(ran: Any, name: str) -> None:
    scenario = ran(name)
    assert scenario.result["posted"], "the framework sent nothing, so this compares nothing"
    assert scenario.call.payloads == scenario.result["posted"]
    assert sent_payloads(scenario.events) == scenario.result["posted"]
    assert scenario.result["compared"] == 1
    assert scenario.result["differences"] == 0
    assert scenario.result["failed"] == 0, scenario.result["last_error"]


@only_1_0_2
def test_the_spans_are_those_of_the_framework(ran: Any) -> None:
    scenario = ran("spans")
    assert len(scenario.result["spans"]) > 10
    assert [[s.name, s.start_ns, s.end_ns] for s in scenario.call.spans] == scenario.result["spans"]


@only_1_0_2
def test_without_the_lent_clock_they_differ_by_jitter(ran: Any) -> None:
    scenario = ran("clock_not_lent")
    assert scenario.call.payloads != scenario.result["posted"]
    assert payload_differences(scenario.events) != []
    assert payload_differences(scenario.events, jitter_ms=1000.0) == []  # 5 would do, if nothing else ran here


def test_a_barge_in(ran: Any) -> None:
    call = ran("barge_in").call
    assert [turn.is_interrupted for turn in call.turns] == [True, False]
    assert [turn.user_speech for turn in call.turns] == [
        "What is your return policy?",
        "Stop, the short version please.",
    ]


def test_a_tool_call(ran: Any) -> None:
    (turn,) = ran("tool_call").call.turns
    assert turn.function_tools_called == ["get_order_status"]
    assert turn.agent_speech == "Order A17 has shipped."


def test_a_provider_error_and_a_fallback(ran: Any) -> None:
    failed, _answered = ran("llm_error").call.turns
    assert [error["source"] for error in failed.errors] == ["LLM"]
    first, _second = ran("fallback").call.turns
    assert first.fallback_events[0].component_type == "LLM"


def test_hanging_up_in_mid_turn(ran: Any) -> None:
    call = ran("hang_up_while_speaking").call
    assert call.current_turn is None
    assert [turn.user_speech for turn in call.turns] == ["Hi, where is my order?"]
    assert ran("hang_up_while_thinking").result["late"] >= 0


def test_the_framework_and_its_version_come_first(ran: Any) -> None:
    first = ran("normal").events[0]
    version = metadata.version("videosdk-agents")
    assert (first.hook, json.loads(first.payload)) == ("set_framework", {"name": "videosdk-agents", "version": version})


def test_which_agent_speaks_and_why_the_session_ended(ran: Any) -> None:
    kept = [(event.hook, json.loads(event.payload)) for event in ran("normal").events]
    assert [args for hook, args in kept if hook == "agent_active"] == [{"name": "DemoAgent"}]
    reasons = [args["reason"] for hook, args in kept if hook == "session_ended"]
    assert len(reasons) == 1
    assert reasons[0]
    hooks = [hook for hook, _args in kept]
    assert hooks.index("session_ended") < hooks.index("finalize_session")


def test_an_unknown_method_is_kept(ran: Any) -> None:
    assert ran("unknown_method").framework_events()["on_mood"] == {"level": 7, "mood": "calm"}


def test_what_a_listener_calls_is_recorded_though_it_is_inside_another_call(ran: Any) -> None:
    assert [json.loads(e.payload) for e in ran("listener").events if e.hook == "add_error"] == [
        {"source": "LLM", "message": "noted"}
    ]


def test_what_is_hostile_is_kept_as_well_as_can_be(ran: Any) -> None:
    payloads = [json.loads(e.payload) for e in ran("hostile").events if e.hook == "set_system_instructions"]
    assert [list(payload["$altered"]) for payload in payloads if "$altered" in payload] == [["instructions"]]


def test_an_adapter_that_fails_does_not_fail_the_call(ran: Any) -> None:
    scenario = ran("failing")
    assert [
        payload["agentSpeech"] if "agentSpeech" in payload else payload["agent_speech"]
        for payload in scenario.result["posted"]
    ] == ["It arrives on Tuesday."]
    assert scenario.result["failed"] > 20
    assert scenario.result["last_error"] == "OSError: no recorder today"
    assert scenario.events == []


@only_1_0_2
def test_what_a_store_that_was_down_did_not_take_is_in_the_journal(ran: Any) -> None:
    scenario = ran("store_down")
    assert scenario.events == []
    assert scenario.result["failed"] == scenario.result["compared"] == 0
    recover(scenario.store, scenario.store.journal)
    assert scenario.call.payloads == scenario.result["posted"] != []


def test_an_agent_killed_in_mid_call_leaves_its_open_turn(ran: Any) -> None:
    scenario = ran("killed")
    assert not scenario.result
    recover(scenario.store, scenario.store.journal)
    call = scenario.call
    assert call.current_turn is not None
    assert call.current_turn.user_speech == "What is your return policy?"
    assert call.current_turn.e2e_latency is None
    assert call.current_turn.tts_metrics[-1].ttfb is not None, "the last hook that returned is not there"
    assert len(call.turns) == 1


def test_in_replace_mode_the_recorder_makes_the_turns(ran: Any) -> None:
    scenario = ran("replaced")
    call = scenario.call
    assert scenario.result["posted"] == []
    assert [turn.is_interrupted for turn in call.turns] == [True, False]
    assert scenario.result["turns_read"] == [turn.user_speech for turn in call.turns]
    assert scenario.result["session_read"] == call.session.session_id
    assert scenario.result["framework_heard"] is None
    hooks, shadowed = (
        [e.hook for e in ran(name).events if e.hook != "framework_event"] for name in ("replaced", "barge_in")
    )
    # newer releases call these themselves while they make what is not made here
    assert set(hooks) - {"emit_agent_transcript_transport"} == set(shadowed)


@pytest.mark.parametrize("name", ["realtime", "realtime_replaced"])
def test_a_realtime_turn_ends_by_one_timer(ran: Any, name: str) -> None:
    """The framework's, or in replace mode the recorder's."""
    events = ran(name).events
    hooks = [event.hook for event in events]
    assert hooks.count("schedule_turn_complete") == hooks.count("finalize_realtime_turn") == 2
    assert [turn.e2e_latency > 0 for turn in replay(events).turns] == [True, True]


def test_two_jobs_after_each_other_have_a_log_each(ran: Any) -> None:
    scenario = ran("one_after_the_other")
    second = list(scenario.store.read("one_after_the_other-2"))
    assert len(scenario.call.turns) == len(replay(second).turns) == 1
    if OLD:
        assert scenario.result["compared"] == 2
        assert scenario.result["differences"] == 0
        # the collector has completed a turn before, so it leaves out what only a first turn has
        assert {found.path for found in payload_differences(second)} >= {"systemInstructions"}


def test_two_jobs_at_once_share_the_log_if_they_share_the_collector(ran: Any) -> None:
    sessions = ran("two_at_once").store.sessions()
    assert len(sessions) == (1 if OLD else 2)


def wrapped() -> list[str]:
    methods = [*vars(MetricsCollector).items(), *vars(TracesFlowManager).items(), *vars(JobContext).items()]
    return [name for name, value in methods if hasattr(value, "__wrapped__")]


def test_uninstall(store: Store) -> None:
    before = wrapped()
    adapter = videosdk.install(store)
    assert "on_llm_start" in wrapped()
    with pytest.raises(videosdk.AdapterInstalled, match="uninstall it first"):
        videosdk.install(store)
    adapter.uninstall()
    assert wrapped() == before


def test_only_two_modes(store: Store) -> None:
    with pytest.raises(ValueError, match="'shadow' or 'replace', not 'both'"):
        videosdk.install(store, mode="both")  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = open_store(f"sqlite:///{tmp_path / 'calls.db'}")
    yield store
    store.close()
