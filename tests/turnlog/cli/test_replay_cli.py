"""`turnlog replay`: the contract of its JSON, what it shows, and the rule sets it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer

from eventstore.stores.memory import MemoryStore
from projections.caller import Reading, read
from projections.framework_figures import add_figures
from projections.readings import reading, release
from projections.reference.replay import Call
from projections.reference.rules import UnknownRules
from support.program import FIXTURES, Program
from turnlog import Clock, Recorder, open_store, replay
from turnlog.cli.app import app
from turnlog.conformance import no_timers

CASES = [json.loads(line) for line in (FIXTURES / "cases.jsonl").read_text().splitlines()]
KEYS = {
    "turn", "user_speech", "agent_speech", "user_started", "user_stopped", "agent_started", "agent_stopped",
    "agent_speeches", "interrupted", "e2e_latency", "no_response", "response", "stt", "llm", "tts", "tools",
    "knowledge_base", "realtime", "tokens", "barge_ins", "framework_e2e",
}  # fmt: skip


def turnlog(*arguments: object) -> None:
    """The command line, in this process."""
    typer.main.get_command(app)(list(map(str, arguments)), standalone_mode=False)


# the cases of fixtures/cases.jsonl --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cases_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    db = tmp_path_factory.mktemp("cases") / "calls.db"
    turnlog("import", FIXTURES / "cases.jsonl", "--db", db)
    return db


def at(value: Any, path: str) -> Any:
    for key in filter(None, path.split(".")):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def found(call: dict[str, Any], path: str) -> Any:
    """What a case's path names; before a colon stands what is made of it."""
    how, _colon, rest = path.rpartition(":") if path.count(":") == 1 else ("", "", path)
    if path.count(":") == 2:
        how, rest, word = path.split(":")
        return sum(part["ms"] for part in at(call, rest) if word in part["name"])
    value = at(call, rest)
    if how == "len":
        return len(value)
    if how == "kinds":
        return [one["kind"] for one in value]
    return sum(one["end"] - one["start"] for one in value) * 1000 if how == "heard" else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_case_is_read_as_it_must_be(
    case: dict[str, Any], cases_db: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Break: in projections/latency/response.py, ``waits``, drop ``end <= first_audio`` of retrievals; 02 goes red."""
    turnlog("replay", case["name"], "--db", cases_db, "--json")
    call = orjson.loads(capfdbinary.readouterr().out)
    for expected in case["expect_turns"]:
        got, wanted = found(call, expected["path"]), expected["is"]
        if expected["path"].startswith("most:"):
            assert got <= wanted, expected
        elif "within" in expected:
            assert got == pytest.approx(wanted, abs=expected["within"]), expected
        else:
            assert got == wanted, expected


def test_each_kind_has_two_cases() -> None:
    kinds = [case["name"][:2] for case in CASES]
    assert {kind: kinds.count(kind) >= 2 for kind in kinds} == dict.fromkeys(
        ("01", "02", "03", "04", "07", "11", "12", "13", "14", "15", "16"), True
    )


# the contract, and what is shown --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Program:
    program = Program(tmp_path_factory.mktemp("replay"))
    program.run("import", FIXTURES / "recordings.jsonl.gz", FIXTURES / "cases.jsonl")
    return program


def test_the_contract(imported: Program) -> None:
    """Break: in turnlog/cli/commands/calls.py, ``replay``, do not call ``add_figures``."""
    call = orjson.loads(imported.run("replay", "barge_in_vad", "--json").stdout)
    assert call.keys() >= {"session", "rules", "turns", "discarded", "outside", "missing"}
    assert call["rules"] == "turnlog"
    for turn in call["turns"]:
        assert turn.keys() >= KEYS
        if turn["response"] is not None:
            assert sum(part["ms"] for part in turn["response"]["parts"]) == pytest.approx(turn["e2e_latency"])
    assert [turn["no_response"] for turn in call["turns"]] == ["no question", None, None, None]
    assert [round(turn["framework_e2e"]) for turn in call["turns"]] == [182, 449, 471, 630]
    assert orjson.loads(imported.run("replay", "barge_in_vad", "--turn", 2, "--json").stdout) == call["turns"][1]


def test_every_line_fits_80_columns(imported: Program) -> None:
    """Break: in turnlog/cli/render/drawing.py, ``show_bars``, leave out ``no_wrap``."""
    for session in ("barge_in_vad", "errors_llm", "16_two_tool_calls"):
        lines = imported.run("replay", session, COLUMNS="80").stdout.splitlines()
        assert [line for line in lines if len(line) > 80] == []
        assert [line for line in lines if line != line.rstrip()] == []  # as a pipe gets it
        assert any(line.startswith("turn 1 ") for line in lines)


def test_what_was_waited_for_comes_first(imported: Program) -> None:
    shown = imported.run("replay", "barge_in_vad", COLUMNS="200").stdout
    second = "1,281 ms  EOU wait 501, TTS to first byte 331, LLM 250, STT 181, EOU 19  interrupted"
    assert second in shown
    assert shown.index(second) < shown.index("user speaks")
    assert "(videosdk-agents reports 449 ms)" in shown
    assert "“What is your return policy?” → “Let me read you the full return policy." in shown
    assert "no response: no question" in shown


def test_what_is_of_no_turn_is_shown_with_its_reason(imported: Program) -> None:
    """Break: in turnlog/cli/render/reading.py, do not call ``_show_rest``."""
    shown = imported.run("replay", "backchannel_ignored").stdout
    assert "2 × voice +5.6 s “Okay.”, +8.1 s “Right.”: spoken before or during an answer, and not answered" in shown


REASONS: dict[str, list[tuple[float, str, tuple[object, ...]]]] = {
    "no question": [(0, "on_agent_speech_start", ()), (1, "on_agent_speech_end", ()), (2, "finalize_session", ())],
    "no answer heard": [
        (0, "on_user_speech_start", ()), (1, "on_user_speech_end", ()), (1.5, "set_user_transcript", ("Hi.",)),
        (1.5, "on_llm_start", ()), (2, "on_llm_first_token", ()), (2.1, "on_llm_complete", ()),
        (20, "on_tts_start", ()), (20.2, "on_agent_speech_start", ()), (21, "on_agent_speech_end", ()),
    ],
    "error": [
        (0, "on_user_speech_start", ()), (1, "on_user_speech_end", ()), (1.5, "set_user_transcript", ("Hi.",)),
        (1.5, "on_llm_start", ()), (2, "add_error", ("LLM", "down")), (3, "finalize_session", ()),
    ],
    "hang-up": [
        (0, "on_user_speech_start", ()), (1, "on_user_speech_end", ()), (1.5, "set_user_transcript", ("Hi.",)),
        (1.5, "on_llm_start", ()), (2, "finalize_session", ()),
    ],
    "still open": [
        (0, "on_user_speech_start", ()), (1, "on_user_speech_end", ()), (1.5, "set_user_transcript", ("Hi.",)),
        (1.5, "on_llm_start", ()),
    ],
    "cut off before it was heard": [
        (0, "on_user_speech_start", ()), (1, "on_user_speech_end", ()), (1.5, "set_user_transcript", ("Hi.",)),
        (1.5, "on_llm_start", ()), (2, "on_user_speech_start", ()), (2.2, "on_interrupted", ()),
        (3, "on_user_speech_end", ()), (3.5, "set_user_transcript", ("Stop.",)), (3.5, "on_llm_start", ()),
    ],
    "withdrawn": [
        (0, "on_user_speech_start", ()), (1, "on_user_speech_end", ()), (1.5, "set_user_transcript", ("Hi.",)),
        (1.5, "on_llm_start", ()), (9, "on_interrupted", ()), (10, "finalize_session", ()),
    ],
}  # fmt: skip


def log(calls: list[tuple[float, str, tuple[object, ...]]], *framework: str, store: Any = None) -> list[Any]:
    """The events of hook calls at those seconds."""
    now = [0.0]
    clock = Clock(lambda: round((100 + now[0]) * 1e9), lambda: round((10**9 + now[0]) * 1e9))
    kept = MemoryStore() if store is None else store
    with Recorder(kept, "s", clock=clock, scheduler=no_timers) as recorder:
        if framework:
            recorder.set_framework(*framework)
        for now[0], hook, args in calls:
            getattr(recorder, hook)(*args)
    return list(kept.read("s"))


@pytest.mark.parametrize("reason", REASONS)
def test_a_turn_without_a_response_says_why(
    reason: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Break: in turnlog/cli/render/reading.py, ``_show_answer``, leave out the reason."""
    store = open_store(tmp_path / "calls.db")
    log(REASONS[reason], store=store)
    store.close()
    turnlog("replay", "s", "--db", tmp_path / "calls.db")
    assert f"no response: {reason}" in capfdbinary.readouterr().out.decode()


# the framework's figure -----------------------------------------------------------------------------------------------

ANSWERED: list[tuple[float, str, tuple[object, ...]]] = [
    (0, "on_user_speech_start", ()), (1, "on_user_speech_end", ()), (1.2, "set_user_transcript", ("Hi.",)),
    (1.2, "on_llm_start", ()), (1.5, "on_llm_first_token", ()), (1.5, "on_tts_start", ()), (1.6, "on_llm_complete", ()),
    (1.75, "on_tts_first_byte", ()), (1.75, "on_agent_speech_start", ()),
]  # fmt: skip


def figure(events: list[Any]) -> float | None:
    r = read(events)
    add_figures(r, events)
    (turn,) = r.turns
    assert turn.e2e_latency == pytest.approx(750)
    return turn.framework_e2e


def test_videosdk_s_figure_is_that_of_its_release() -> None:
    """Break: in projections/framework_figures.py, ``_release_figures``, take a different release."""
    calls = [*ANSWERED, (3, "on_agent_speech_end", ()), (3, "complete_turn", ())]
    waited = [
        (1.0, "on_eou_start", ()),
        (1.1, "on_eou_complete", ()),
        (1.1, "on_wait_for_additional_speech", (0.1, 0.5)),
    ]
    calls = sorted([*calls, *waited], key=lambda call: call[0])
    assert figure(log(calls, "videosdk-agents", "1.0.2")) == pytest.approx(100 + 300 + 250)
    assert figure(log(calls, "videosdk-agents", "1.0.12")) == pytest.approx(100 + 100 + 300 + 250)


def test_livekit_s_figure_is_its_message_s() -> None:
    """Break: in projections/framework_figures.py, ``_livekit_figure``, leave out the factor of 1,000."""
    metrics = {"started_speaking_at": 10**9 + 1.751, "e2e_latency": 0.748}
    said = {"item": {"type": "message", "role": "assistant", "metrics": metrics}}
    call = (3.0, "framework_event", ("conversation_item_added", said))
    assert figure(log([*ANSWERED, call], "livekit-agents", "1.8.9")) == pytest.approx(748)
    assert figure(log(ANSWERED, "livekit-agents", "1.8.9")) is None


def test_pipecat_s_figure_is_its_observer_s() -> None:
    call = (1.76, "framework_event", ("user_bot_latency", {"seconds": 0.76}))
    assert figure(log([*ANSWERED, call], "pipecat-ai", "1.14.0")) == pytest.approx(760)
    late = (5.0, "framework_event", ("user_bot_latency", {"seconds": 0.76}))
    assert figure(log([*ANSWERED, late], "pipecat-ai", "1.14.0")) is None


# rule sets ------------------------------------------------------------------------------------------------------------


def test_the_framework_s_rules_are_those_of_the_release_that_the_session_names() -> None:
    """Break: in projections/readings.py, ``release``, take the last rule set always."""
    found = {
        version: reading(log(ANSWERED, "videosdk-agents", version), "framework").rules
        for version in ("1.0.2", "1.0.11", "1.0.26", "1.0.29", "2.0")
    }
    assert list(found.values()) == [
        "videosdk-1.0", "videosdk-1.0.11", "videosdk-1.0.24", "videosdk-1.0.27", "videosdk-1.0.30"
    ]  # fmt: skip
    assert reading(log(ANSWERED), "framework").rules == "videosdk-1.0"
    assert release("videosdk-agents", "0.9").name == "videosdk-1.0"
    for framework in ("livekit-agents", "pipecat-ai"):
        with pytest.raises(UnknownRules, match=f"{framework} has no rule sets of its own; known: turnlog, videosdk"):
            reading(log(ANSWERED, framework, "1.0"), "framework")


def test_the_library_reads_as_the_caller_by_default() -> None:
    """Break: in projections/readings.py, ``reading``, let another rule set be the default."""
    events = log(ANSWERED)
    read_as, framework = replay(events), replay(events, rules="videosdk-1.0")
    assert isinstance(read_as, Reading)
    assert isinstance(framework, Call)
    for call in (read_as, framework):
        for name in ("turns", "discarded", "payloads", "spans", "session", "emits", "playground"):
            assert getattr(call, name) is not None
    assert (read_as.emits, read_as.playground) == ([], [])


def test_corrected_says_what_replaced_it(imported: Program) -> None:
    """Break: in projections/readings.py, ``check_rules``, leave it out."""
    for command in ("replay", "payloads", "spans"):
        said = imported.fails(command, "barge_in_vad", "--rules", "corrected")
        assert "'corrected' was replaced by 'turnlog', the default" in said
