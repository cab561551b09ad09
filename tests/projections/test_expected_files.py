"""The expectation files agree with the recordings they were made from: times, arithmetic, and nothing left over."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from typing import Any

import pytest

from support.expected_calls import RESPONSE, certain, expected_calls
from support.program import FIXTURES

EXPECTED = {call["name"]: call for call in expected_calls()}
with gzip.open(FIXTURES / "recordings.jsonl.gz", "rt") as lines:
    RECORDED: dict[str, list[dict[str, Any]]] = {
        session["name"]: session["calls"] for session in map(json.loads, lines)
    }
SAME_TICK = 6_000_000
"""Two reports of one start stand at most this many ns apart (realtime models report twice)."""


def ms(name: str, index: int) -> float:
    hooks = RECORDED[name]
    elapsed: int = hooks[index]["perf_ns"] - hooks[0]["perf_ns"]
    return elapsed / 1e6


def starts(name: str, hook: str) -> list[int]:
    """The indices of a hook's calls, without the second of two in one tick."""
    found: list[int] = []
    last = -SAME_TICK
    for index, one in enumerate(RECORDED[name]):
        if one["hook"] == hook:
            if one["perf_ns"] - last >= SAME_TICK:
                found.append(index)
            last = one["perf_ns"]
    return found


def test_every_recorded_call_is_there() -> None:
    assert list(EXPECTED) == list(RECORDED)


@pytest.mark.parametrize("name", EXPECTED)
def test_times_are_those_of_the_hooks_named(name: str) -> None:
    for turn in EXPECTED[name]["turns"]:
        for field in ("user_started", "user_stopped", "agent_started"):
            if field in turn["hooks"]:
                assert turn[field] == pytest.approx(ms(name, turn["hooks"][field]) / 1000, abs=0.000501), (turn, field)
            else:
                assert turn[field] is None, (turn, field)
        if turn["response_ms"] is None:
            assert turn["no_response"], turn
        else:
            wait = ms(name, turn["hooks"]["agent_started"]) - ms(name, turn["hooks"]["user_stopped"])
            assert turn["response_ms"] == pytest.approx(wait, abs=0.0501), turn
            assert turn["no_response"] is None, turn


@pytest.mark.parametrize("name", EXPECTED)
def test_every_voice_has_one_place(name: str) -> None:
    call = EXPECTED[name]
    placed = [start for turn in call["turns"] for start, _ in turn["hooks"].get("voices", ())]
    placed += [voice["hooks"][0] for voice in call["voices_of_no_question"]]
    # The one voice that holds two questions: the caller went on talking while the first was cancelled.
    twice = {"soak_seed2": {624}}.get(name, set())
    voices = [index for index in placed if RECORDED[name][index]["hook"] == "on_user_speech_start"]
    assert Counter(voices) == Counter([*starts(name, "on_user_speech_start"), *twice])


@pytest.mark.parametrize("name", EXPECTED)
def test_every_agent_speech_has_one_place(name: str) -> None:
    placed = [
        index
        for turn in EXPECTED[name]["turns"]
        for index in (turn["hooks"].get("agent_started"), *turn["hooks"].get("agent_started_again", ()))
        if index is not None
    ]
    assert sorted(placed) == [i for i, one in enumerate(RECORDED[name]) if one["hook"] == "on_agent_speech_start"]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_word_has_a_place(name: str) -> None:
    call = EXPECTED[name]
    words = [turn["user_speech"] or "" for turn in call["turns"]]
    words += [voice["why"] for voice in call["voices_of_no_question"]]
    for one in RECORDED[name]:
        if one["hook"] in {"on_stt_complete", "set_user_transcript"}:
            assert any(one["args"]["transcript"] in place for place in words), one


def test_a_doubt_names_its_fields() -> None:
    for call in EXPECTED.values():
        for turn in call["turns"]:
            assert bool(turn["doubt"]) == bool(turn.get("doubtful")), turn


def test_the_counts_of_the_readme() -> None:
    turns = [turn for call in EXPECTED.values() for turn in call["turns"]]
    counts = {
        "turns": len(turns),
        "turns without question": sum(turn["no_response"] == "no question" for turn in turns),
        "turns with a response": sum(turn["response_ms"] is not None for turn in turns),
        "turns beyond doubt in every field": sum(not turn["doubt"] for turn in turns),
        "responses beyond doubt": sum(
            turn["response_ms"] is not None and certain(turn).keys() >= RESPONSE for turn in turns
        ),
        "reasons for no response beyond doubt": sum(
            turn["response_ms"] is None and certain(turn).keys() >= RESPONSE for turn in turns
        ),
        "voices of no question": sum(len(call["voices_of_no_question"]) for call in EXPECTED.values()),
    }
    readme = (FIXTURES / "README.md").read_text()
    for what, count in counts.items():
        assert f"| {what} | {count} |" in readme, (what, count)
