"""Every switch, off and on, on a minimal log that shows its effect; names and combinations of rule sets.

That a rule set is what a release does is shown by ``tests/differential``, against the release itself.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import HOOKS, Event
from eventstore.hooks.later import LaterHooks
from projections import State, UnknownRules, begin, call_dict, fold, replay
from projections.readings import RELEASES
from projections.reference.replay import Call
from projections.reference.rules import RULE_SETS, SWITCHES, find_rules
from projections.turns.decisions import DECISIONS
from support.examples import examples
from support.program import FIXTURES, Program
from support.strategies import streams
from turnlog.cli.commands.rules import decisions_markdown, markdown
from turnlog.conformance import expected_shape
from turnlog.recordings import events_of, read_recordings

Log = list[tuple[int, str, dict[str, Any]]]


class Case(NamedTuple):
    """A log (milliseconds, hook, arguments), the inspected value, and its values without and with the switch."""

    log: Log
    seen: Callable[[Call], Any]
    off: Any
    on: Any
    under: str = "videosdk-1.0"


def sent(field: str) -> Callable[[Call], Any]:
    return lambda call: call.payloads[-1].get(field)


DOCS = Path(__file__).resolve().parents[3] / "docs" / "rules.md"


def events(log: Log) -> list[Event]:
    return [
        Event("s", "o", seq, hook, HOOKS[hook].version, (1000 + ms) * 10**6, (1000 + ms) * 10**6, json.dumps(args))
        for seq, (ms, hook, args) in enumerate(log)
    ]


def signalled(call: Call) -> list[dict[str, Any]]:
    return [emit.data for emit in call.emits]


WAIT: Log = [
    (0, "on_eou_start", {}), (100, "on_eou_complete", {}),
    (100, "on_wait_for_additional_speech", {"duration": 0.5, "eou_probability": 0.25}), (200, "complete_turn", {}),
]  # fmt: skip
OPEN_TURN = (0, "start_turn", {})
SPOKEN = "emit_user_transcript_transport"
CASES = {
    "playground_gone": Case(
        [(0, "set_playground_manager", {"attached": True}), OPEN_TURN, (0, "complete_turn", {})],
        lambda call: len(call.playground), 1, 0,
    ),
    "component_signals": Case(
        [OPEN_TURN, (0, "on_llm_start", {}), (100, "on_llm_complete", {})],
        lambda call: [(data["component"], data["metrics"]["llm_duration"]) for data in signalled(call)],
        [], [("llm", 100.0)],
    ),
    "typed_transcripts": Case(
        [OPEN_TURN, (0, SPOKEN, {"text": " h ", "type": "interim"}), (0, "set_user_transcript", {"transcript": "hi"}),
         (0, "set_agent_response", {"response": "yes", "emit_transport": False})],
        signalled, [{"text": "hi"}, {"text": "yes"}],
        [{"text": "h", "type": "interim"}, {"text": "hi", "type": "final"}],
    ),
    "eou_wait_in_ms": Case(
        WAIT, lambda call: (call.turns[0].eou_metrics[0].wait_for_additional_speech_duration, sent("eouWaitMs")(call)),
        (0.5, None), (msgspec.UNSET, 500.0),
    ),
    "eou_wait_in_e2e": Case(WAIT, sent("e2eLatency"), 100.0, 600.0),
    "eou_wait_needs_entry": Case(
        [OPEN_TURN, WAIT[2]], lambda call: call.current_turn is not None and len(call.current_turn.eou_metrics), 1, 0
    ),
    "eou_wait_actual": Case(
        [*WAIT[:3], (300, "on_wait_for_additional_speech_complete", {"actual_duration": 0.2}), WAIT[3]],
        lambda call: call.turns[0].eou_metrics[0].wait_for_additional_speech_duration, 0.5, 0.2,
    ),
    "finalize_resets": Case(
        [(0, "set_provider_info", {"component_type": "llm", "provider_class": "A", "model_name": "a"}), OPEN_TURN,
         (0, "finalize_session", {}), OPEN_TURN, (0, "complete_turn", {})],
        lambda call: (sent("llmProviderClass")(call), len(call.turns), len(expected_shape(call)["turns"])),
        ("A", 1, 1), (None, 2, 1),
    ),
    "stt_from_last_interim": Case(
        [OPEN_TURN, (0, "on_stt_start", {}), (300, "on_stt_interim_end", {}), (400, "on_stt_complete", {}),
         (400, "complete_turn", {})],
        sent("sttLatency"), 400.0, 100.0,
    ),
    "stt_first_final_wins": Case(
        [OPEN_TURN, (0, "on_stt_start", {}), (100, "on_stt_complete", {}), (300, "on_stt_complete", {}),
         (300, "complete_turn", {})],
        sent("sttLatency"), 300.0, 100.0, "videosdk-1.0+stt_from_last_interim",
    ),
    "stt_final_opens_turn": Case(
        [(0, "on_stt_complete", {"transcript": "hi"})], lambda call: call.current_turn is not None, False, True
    ),
    "stt_measured_entry_sent": Case(
        [OPEN_TURN, (0, "on_stt_start", {}), (100, "on_stt_complete", {}), (200, "on_stt_start", {}),
         (300, "complete_turn", {})],
        sent("sttLatency"), None, 100.0,
    ),
    "vad_window_optional": Case(
        [(0, "set_traces_flow_manager", {"attached": True}),
         (0, "traces.start_agent_joined_meeting", {"attributes": {}}),
         (0, "traces.start_agent_session", {"attributes": {}}),
         (0, "set_provider_info", {"component_type": "vad", "provider_class": "V", "model_name": "v"}),
         (0, "on_user_speech_start", {}), (0, "complete_turn", {})],
        lambda call: [span.name for span in call.spans if "VAD" in span.name], [], ["V: VAD Processing"],
    ),
    "agent_first_start_wins": Case(
        [(0, "on_agent_speech_start", {}), (500, "on_agent_speech_start", {}), (500, "complete_turn", {})],
        sent("agentSpeechStartTime"), 1.5, 1.0,
    ),
    "realtime_ttfb_frozen": Case(
        [(0, "configure_pipeline", {"pipeline_mode": "realtime", "realtime_mode": "full_s2s"}),
         (0, "on_user_speech_start", {}), (100, "on_user_speech_end", {}), (300, "on_agent_speech_start", {}),
         (250, "on_user_speech_end", {}), (900, "finalize_realtime_turn", {})],
        sent("e2eLatency"), 50.0, 200.0,
    ),
    "realtime_negatives_skipped": Case(
        [(0, "on_user_speech_start", {}), (100, "on_agent_speech_start", {}), (300, "on_user_speech_end", {}),
         (900, "finalize_realtime_turn", {})],
        lambda call: call.turns[0].e2e_latency, -200.0, None,
    ),
    "local_vad_wins": Case(
        [(0, "set_local_vad_user_speech", {"owns": True}), (0, "on_user_speech_start", {}),
         (100, "on_user_speech_start", {"local_vad": True})],
        lambda call: call.current_turn and call.current_turn.user_speech_start_time, 1.0, 1.1,
    ),
    "user_speech_end_given": Case(
        [(0, "on_user_speech_start", {}), (900, "on_user_speech_end", {"at": 1.5}), (900, "complete_turn", {})],
        sent("userSpeechDuration"), 900.0, 500.0,
    ),
    "turn_holds": Case(
        [OPEN_TURN, (0, "hold_turn", {}), (0, "finalize_realtime_turn", {})], lambda call: len(call.turns), 1, 0
    ),
    "kb_retrievals": Case(
        [OPEN_TURN, (0, "on_knowledge_base_start", {}),
         (0, "on_knowledge_base_complete", {"documents": [], "scores": [], "retrievals": [{"id": "d"}]}),
         (0, "complete_turn", {})],
        sent("kbRetrievals"), None, [{"id": "d"}],
    ),
    "llm_beside_realtime": Case(
        [(0, "set_provider_info", {"component_type": each, "provider_class": each, "model_name": each})
         for each in ("realtime", "llm")]
        + [OPEN_TURN, (0, "complete_turn", {})],
        lambda call: (sent("realtimeProviderClass")(call), sent("llmProviderClass")(call)),
        ("realtime", None), ("realtime", "llm"),
    ),
    "utterance_named": Case(
        [(0, SPOKEN, {"text": "h", "type": "interim", "utterance_ts": 7})], signalled,
        [{"text": "h", "type": "interim"}], [{"text": "h", "type": "interim", "utterance_ts": 7}],
        "videosdk-1.0+typed_transcripts",
    ),
}  # fmt: skip


@pytest.mark.parametrize("switch", CASES)
def test_a_switch_off_and_on(switch: str) -> None:
    """Break: remove the check of a switch in its handler, or invert it; only its case fails."""
    case = CASES[switch]
    assert case.seen(replay(events(case.log), case.under)) == case.off
    assert case.seen(replay(events(case.log), f"{case.under}+{switch}")) == case.on


def test_what_a_turn_held_is_completed_when_it_is_released() -> None:
    log: Log = [OPEN_TURN, (0, "hold_turn", {}), (0, "hold_turn", {})]
    timer = (0, "finalize_realtime_turn", {})
    for releases, completed in ((1, 0), (2, 1), (3, 1)):
        released: Log = [(0, "release_turn", {})] * releases
        assert len(replay(events([*log, *released, timer]), "videosdk-1.0.30").turns) == completed
    again: Log = [*log, *([(0, "release_turn", {})] * 3), (0, "hold_turn", {}), timer]
    assert replay(events(again), "videosdk-1.0.30").turns == [], "one release too many is none in reserve"


def test_a_realtime_agent_that_speaks_first_has_no_ttfb() -> None:
    """Break: in reference/handlers/realtime.py, `freeze_ttfb`, leave out the comparison with the user's start."""
    log: Log = [
        (0, "configure_pipeline", {"pipeline_mode": "realtime", "realtime_mode": "full_s2s"}),
        (0, "on_user_speech_start", {}), (100, "on_user_speech_end", {}), (100, "complete_turn", {}),
        (200, "on_user_speech_start", {}), (300, "on_agent_speech_start", {}),
    ]  # fmt: skip
    turn = replay(events(log), "videosdk-1.0.27").current_turn
    assert turn is not None
    assert turn.realtime_metrics == []
    answered = replay(events([*log[:4], log[5]]), "videosdk-1.0.27").current_turn
    assert answered is not None
    assert answered.e2e_latency == 200.0, "without a start, the last end counts, though it was in another turn"


def test_in_the_default_rules_every_switch_is_off_and_every_later_set_has_more() -> None:
    on = [{switch for switch in SWITCHES if getattr(rules, switch)} for rules in RULE_SETS.values()]
    assert on[0] == set()
    assert all(one < other for one, other in pairwise(on))
    assert on[-1] == set(SWITCHES), "a switch that no release has is none of theirs"
    assert set(CASES) == set(SWITCHES)
    assert all(name == rules.name for name, rules in RULE_SETS.items())


def test_switches_are_put_on_by_name() -> None:
    """Break: in projections/reference/rules.py, `find_rules`, return the name as it was passed."""
    both = find_rules("videosdk-1.0+turn_holds+stt_final_opens_turn")
    assert both.name == "videosdk-1.0+stt_final_opens_turn+turn_holds"
    assert both == find_rules("videosdk-1.0+stt_final_opens_turn+turn_holds+turn_holds") == find_rules(both)
    assert both.turn_holds
    assert not both.eou_wait_in_ms
    assert find_rules("videosdk-1.0.30+turn_holds") == RULE_SETS["videosdk-1.0.30"]
    assert replay([], both).rules == both.name
    with pytest.raises(UnknownRules, match="unknown rule set 'best'; known: videosdk-1.0, "):
        find_rules("best+turn_holds")
    with pytest.raises(UnknownRules, match="did you mean 'turn_holds'"):
        find_rules("videosdk-1.0+turn_hold")
    with pytest.raises(UnknownRules, match="`turnlog rules` lists"):
        find_rules("videosdk-1.0+")
    with pytest.raises(UnknownRules, match="'corrected' was replaced by 'turnlog', the default"):
        find_rules("corrected+turn_holds")


LATER = [name for name in vars(LaterHooks) if not name.startswith("_")]
ARGUMENTS = {"actual_duration": 0.5, "owns": True, "text": "t", "type": "final", "utterance_ts": 1}


@st.composite
def mixed(draw: st.DrawFn) -> list[Event]:
    """A stream in which every other event is a later hook, or the end of the session."""
    made = []
    for event in draw(streams(max_size=40)):
        hook = draw(st.none() | st.sampled_from([*LATER, "finalize_session"]))
        args = {name: ARGUMENTS[name] for name in HOOKS[hook].arguments} if hook else {}
        given = {"hook": hook, "version": 1, "payload": json.dumps(args)} if hook else {}
        made.append(msgspec.structs.replace(event, **given))
    return made


@settings(max_examples=examples(60))
@given(mixed())
def test_under_the_default_rules_the_later_hooks_change_nothing(made: list[Event]) -> None:
    """Break: in projections/reference/handlers/realtime.py, `hold_turn`, count a turn."""
    nothing = {"hook": "set_framework", "payload": "{}", "version": 1}
    without = [msgspec.structs.replace(e, **nothing) if e.hook in LATER else e for e in made]
    assert expected_shape(replay(made)) == expected_shape(replay(without))


@settings(max_examples=examples(60))
@given(mixed(), st.sampled_from([*RULE_SETS, "videosdk-1.0+eou_wait_in_ms+kb_retrievals"]), st.data())
def test_law_3_holds_under_every_rule_set(made: list[Event], rules: str, data: st.DataObject) -> None:
    """Break: in projections/reference/fold.py, ``fold``, begin with ``s.local_vad = False``."""
    whole = fold(begin(find_rules(rules)), made)
    cut = data.draw(st.integers(0, len(made)))
    head = fold(begin(find_rules(rules)), made[:cut])
    read_back = msgspec.json.decode(msgspec.json.encode(head), type=State)
    assert read_back.rules == find_rules(rules)
    assert msgspec.json.encode(fold(read_back, made[cut:])) == msgspec.json.encode(whole)
    assert msgspec.json.encode(fold(copy.deepcopy(head), made[cut:])) == msgspec.json.encode(whole)


def test_a_turn_is_written_with_the_fields_that_its_release_has() -> None:
    """Break: in projections/reference/handlers/stt.py, `_new`, make the same entry always."""
    found: dict[str, set[str]] = {name: set() for name in RULE_SETS}
    for place, recording in read_recordings(FIXTURES / "recordings.jsonl.gz"):
        for name, fields in found.items():
            call: dict[str, Any] = orjson.loads(orjson.dumps(call_dict(replay(events_of(place, recording), name))))
            for turn in call["turns"]:
                for entry in turn["stt_metrics"] + turn["eou_metrics"] + turn["kb_metrics"]:
                    fields.update(entry)
    first, *rest = found.values()
    assert [later - first for later in rest][-1] >= {"eou_wait_ms", "stt_last_interim_time", "stt_interim_count"}
    assert first - found["videosdk-1.0.11"] == {"wait_for_additional_speech_duration"}
    assert found["videosdk-1.0.11"] - first == {"eou_wait_ms"}
    assert found["videosdk-1.0.24"] - found["videosdk-1.0.11"] == {"stt_last_interim_time", "stt_interim_count"}


def test_the_page_has_the_table_of_the_code() -> None:
    """Break: change a reason.

    To write it anew: ``print(turnlog.cli.commands.rules.markdown())``, or ``decisions_markdown``.
    """
    assert markdown() in DOCS.read_text()
    assert decisions_markdown() in DOCS.read_text()


def test_the_command_lists_them(program: Program) -> None:
    shown = program.run("rules").stdout
    listed = orjson.loads(program.run("rules", "--json").stdout)
    assert listed["rules"] == ["turnlog", *RELEASES]
    assert [(one["decision"], one["reason"]) for one in listed["decisions"]] == list(DECISIONS.items())
    assert shown.index("turnlog") < shown.index("videosdk-1.0")
    assert "corrected" not in shown
    listed = listed["switches"]
    assert [entry["switch"] for entry in listed] == list(SWITCHES)
    assert listed[0]["rules"][0] == "videosdk-1.0.11"
    for entry in listed:
        assert entry["switch"] in shown
        assert entry["reason"] == SWITCHES[entry["switch"]]


def test_conformance_and_replay_take_a_rule_set_and_switches(program: Program) -> None:
    """Break: in turnlog/cli/commands/rules.py, do not pass the rules on."""
    calls = [
        {"target": "collector", "hook": hook, "args": args, "perf_ns": (1000 + ms) * 10**6, "wall_ns": ms}
        for ms, hook, args in WAIT
    ]
    line = {"name": "s", "calls": calls, "expect": expected_shape(replay(events(WAIT), "videosdk-1.0+eou_wait_in_e2e"))}
    line["expect"] = {"payloads": line["expect"]["payloads"]}  # type: ignore[index]
    file = program.folder / "calls.jsonl"
    file.write_bytes(orjson.dumps(line))
    for options in ([], ["--fast"]):
        assert "e2eLatency: expected 600.0, got 100.0" in program.run("conformance", file, *options, code=1).stdout
        program.run("conformance", file, *options, "--rules", "videosdk-1.0+eou_wait_in_e2e")
    program.run("import", file)
    found = orjson.loads(program.run("replay", "s", "--rules", "videosdk-1.0.11", "--json").stdout)
    assert found["turns"][0]["e2e_latency"] == 600.0
    assert "did you mean 'turn_holds'" in program.fails("replay", "s", "--rules", "videosdk-1.0+turn_hold")
