"""The response time by the wall, and its pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given

from conftest import FIXTURES, Program
from eventstore import Event, Recorder
from eventstore.memory_store import MemoryStore
from projections import replay
from projections.response import NAMES, UNACCOUNTED, Response, response
from strategies import streams
from turnlog import Clock
from turnlog.conformance import never
from turnlog.recordings import events_of, read_recordings

Call = tuple[float, str, *tuple[object, ...]]
ORDINARY: list[Call] = [
    (0.0, "on_user_speech_start"), (1.0, "on_user_speech_end"), (1.0, "on_stt_start"), (1.2, "on_stt_complete", "hi"),
    (1.3, "on_eou_start"), (1.4, "on_eou_complete"), (1.4, "on_wait_for_additional_speech", 0.5, 0.2),
    (1.7, "on_llm_start"), (2.0, "on_llm_first_token"), (2.1, "on_tts_start"), (2.3, "on_tts_first_byte"),
    (2.35, "on_agent_speech_start"), (3.0, "on_agent_speech_end"), (3.0, "complete_turn"),
]  # fmt: skip


def of(calls: list[Call]) -> Response | None:
    now = [0.0]
    clock = Clock(lambda: int((100 + now[0]) * 1e9), lambda: int((10**9 + now[0]) * 1e9))
    store = MemoryStore()
    with Recorder(store, "s", clock=clock, scheduler=never) as recorder:
        for now[0], hook, *args in calls:
            getattr(recorder, hook)(*args)
    call = replay(store.read("s"))
    (turn,) = call.turns
    return response(turn, call.session)


def pieces(calls: list[Call]) -> list[tuple[str, int]]:
    found = of(calls)
    assert found is not None
    return [(piece.name, round(piece.ms)) for piece in found.pieces]


def test_an_ordinary_turn() -> None:
    assert pieces(ORDINARY) == [
        ("STT finalisation", 200), (UNACCOUNTED, 100), ("EOU inference", 100), ("EOU wait", 300),
        ("LLM to first token", 300), ("text aggregation", 100), ("TTS to first byte", 200), ("playout", 50),
    ]  # fmt: skip
    found = of(ORDINARY)
    assert found is not None
    assert round(found.ms) == 1350


def test_an_llm_that_starts_early_is_not_what_is_waited_for() -> None:
    """Break: in projections/response.py, ``_tiled``, take the last of `NAMES`."""
    early = sorted(
        [(1.1, "on_llm_start"), *(call for call in ORDINARY if call[1] != "on_llm_start")], key=lambda c: c[0]
    )
    early = [call for call in early if call[1] != "on_wait_for_additional_speech"]
    assert pieces(early)[:4] == [
        ("STT finalisation", 200), ("LLM to first token", 100), ("EOU inference", 100), ("LLM to first token", 600),
    ]  # fmt: skip


def test_the_silence_that_the_vad_waits_for_is_waited_for() -> None:
    """Break: in projections/response.py, ``_silence``, return 0."""
    known = [(0.0, "start_turn"), (0.0, "set_vad_config", {"min_silence_duration": 0.4}), *ORDINARY]
    assert pieces(known)[0] == ("VAD hangover", 400)


def test_a_knowledge_base_and_a_tool() -> None:
    looked_up = [
        *ORDINARY[:7], (1.5, "on_knowledge_base_start", "kb"), (1.6, "on_knowledge_base_complete", [], []),
        (1.65, "add_function_tool_call", "find", {}, {}, 101.6, 101.65), *ORDINARY[7:],
    ]  # fmt: skip
    assert ("EOU wait", 300) in pieces(looked_up), "the wait goes on until the LLM is asked"
    at_once = [call for call in looked_up if call[1] != "on_wait_for_additional_speech"]
    assert pieces(at_once)[3:7] == [(UNACCOUNTED, 100), ("knowledge base", 100), ("tools", 50), (UNACCOUNTED, 50)]


def test_a_realtime_model_is_waited_for_when_nothing_else_is() -> None:
    calls: list[Call] = [
        (0.0, "set_provider_info", "realtime", "Gemini", "g"), (0.0, "on_user_speech_start"),
        (1.0, "on_user_speech_end"), (1.5, "on_agent_speech_start"), (2.0, "on_agent_speech_end"),
        (2.0, "finalize_realtime_turn"),
    ]  # fmt: skip
    assert pieces(calls) == [("realtime model", 500)]


def test_no_response_where_nobody_waited() -> None:
    without_end = [call for call in ORDINARY if call[1] != "on_user_speech_end"]
    assert of(without_end) is None
    assert of([call for call in ORDINARY if call[1] != "on_agent_speech_start"]) is None
    talked_over = [call for call in ORDINARY if call[1] != "on_user_speech_end"]
    assert of([*talked_over[:-2], (2.5, "on_user_speech_end"), *talked_over[-2:]]) is None


def tiles(found: Response) -> None:
    assert found.pieces or found.start == found.end
    for piece in found.pieces:
        assert piece.name in NAMES
        assert piece.start < piece.end
    assert all(one.end == two.start and one.name != two.name for one, two in pairwise(found.pieces))
    if found.pieces:
        assert (found.pieces[0].start, found.pieces[-1].end) == (found.start, found.end)


@given(streams(max_size=60))
def test_the_pieces_tile_it_whatever_was_called(events: list[Event]) -> None:
    """Break: in projections/response.py, ``response``, do not cut to the window."""
    call = replay(events)
    for turn in [*call.turns, *(discarded.turn for discarded in call.discarded)]:
        found = response(turn, call.session)
        if found is not None:
            tiles(found)


@pytest.mark.parametrize("name", ["recordings", "conformance"])
def test_the_pieces_tile_every_recorded_response(name: str) -> None:
    count = unaccounted = whole = 0.0
    for place, recording in read_recordings(FIXTURES / f"{name}.jsonl.gz"):
        call = replay(events_of(place, recording))
        for turn in call.turns:
            found = response(turn, call.session)
            if found is not None:
                tiles(found)
                count += 1
                whole += found.ms
                unaccounted += sum(piece.ms for piece in found.pieces if piece.name == UNACCOUNTED)
    assert count > 90
    if name == "recordings":
        assert unaccounted / whole < 0.06, "of real calls hardly anything is left unexplained"


def test_replay_says_what_was_waited_for(program: Program) -> None:
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    shown = program.run("replay", "normal_slow_providers").stdout
    assert "3,211 ms  LLM 1,200, STT 901, TTS to first byte 701, " in shown
