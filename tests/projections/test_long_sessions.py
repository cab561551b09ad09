"""The cost of reading a session is linear in its turns: four times the turns take four times the lines executed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from eventstore import Event
from projections.caller import read
from turnlog.recordings import HookCall, Recording, events_of

Calls = list[tuple[float, str, dict[str, Any]]]
"""Seconds since the turn began, hook, arguments."""
SECONDS = 30.0
"""From one turn to the next."""
FEW = 12


def answered(number: int) -> Calls:
    words = f"What is number {number}?"
    return [
        (0, "on_user_speech_start", {}), (1, "on_stt_interim_end", {}), (2, "on_user_speech_end", {}),
        (2, "on_stt_start", {}), (2.2, "on_stt_complete", {"transcript": words}),
        (2.2, "set_user_transcript", {"transcript": words}), (2.3, "on_llm_start", {}),
        (2.6, "on_llm_first_token", {}), (2.7, "on_tts_start", {}), (3, "on_llm_complete", {}),
        (3.1, "on_tts_first_byte", {}), (3.1, "on_agent_speech_start", {}),
        (3.1, "set_agent_response", {"response": "It is."}),
        (9, "on_agent_speech_end", {}), (9, "complete_turn", {}),
    ]  # fmt: skip


def interrupted(number: int) -> Calls:
    barge_in = [(5.0, "on_user_speech_start", {}), (5.3, "on_interrupted", {}), (6.0, "on_user_speech_end", {})]
    return sorted([*answered(number), *barge_in], key=lambda call: call[0])


def doubted(number: int) -> Calls:
    doubt = [
        (5.0, "on_false_interrupt_start", {"pause_duration": 1.0}), (5.5, "on_false_interrupt_resume", {}),
    ]  # fmt: skip
    return sorted([*answered(number), *doubt], key=lambda call: call[0])


def noisy(number: int) -> Calls:
    """Noise that STT processes without recognising anything."""
    noise = [
        (4.0, "on_user_speech_start", {}), (4.2, "on_user_speech_end", {}), (4.2, "on_stt_start", {}),
        (4.4, "on_stt_complete", {"transcript": ""}),
    ]  # fmt: skip
    return sorted([*answered(number), *noise], key=lambda call: call[0])


def with_tools(number: int) -> Calls:
    call: Calls = [
        (2.65, "tool_started", {"call_id": f"c{number}", "tool_name": "look_up", "run_id": "no run has that id"}),
        (2.68, "tool_ended", {"call_id": f"c{number}", "status": "done"}),
    ]
    return sorted([*answered(number), *call], key=lambda call: call[0])


def realtime(number: int) -> Calls:
    """A speech-to-speech model with late transcripts; each answer calls a tool."""
    return [
        (0, "configure_pipeline", {"pipeline_mode": "realtime", "realtime_mode": "full_s2s"}),
        (0, "on_user_speech_start", {}), (2, "on_user_speech_end", {}),
        (2.5, "tool_started", {"call_id": f"c{number}", "tool_name": "look_up"}),
        (2.6, "tool_ended", {"call_id": f"c{number}", "status": "done"}), (3, "on_agent_speech_start", {}),
        (5, "on_user_speech_start", {}), (5.2, "on_agent_speech_end", {}), (6, "on_user_speech_end", {}),
        (8, "on_agent_speech_start", {}), (8.5, "set_user_transcript", {"transcript": f"Number {number}"}),
        (9, "on_agent_speech_end", {}), (9, "finalize_realtime_turn", {}),
    ]  # fmt: skip


def steps(made: list[Event]) -> int:
    """Number of Python lines executed to read the session and produce all output."""
    count = 0

    def line(_frame: FrameType, _what: str, _argument: object) -> Any:
        nonlocal count
        count += 1
        return line

    before = sys.gettrace()
    sys.settrace(line)
    try:
        r = read(made)
        made_of_it = r.turns, r.payloads, r.spans, r.barge_ins, r.logs
    finally:
        sys.settrace(before)
    assert all(part is not None for part in made_of_it)
    return count


def session(turn: Callable[[int], Calls], times: int) -> list[Event]:
    calls = [
        HookCall(target="collector", hook=hook, args=args, perf_ns=at, wall_ns=at + 10**18)
        for number in range(times)
        for seconds, hook, args in turn(number)
        for at in [round((number * SECONDS + seconds) * 1e9)]
    ]
    return events_of("", Recording(name="s", calls=calls))


@pytest.mark.parametrize("turn", [answered, interrupted, doubted, noisy, with_tools, realtime])
def test_four_times_the_turns_take_four_times_the_steps(turn: Callable[[int], Calls]) -> None:
    """Break: in projections/turns/answer.py, ``caller_of_tool``, search all exchanges for a run that none has."""
    once, four = (steps(session(turn, FEW * times)) for times in (4, 16))
    assert four < 4.4 * once


def test_log_lines_of_one_turn_take_steps_in_proportion() -> None:
    """Break: in projections/turns/exchange.py, ``_last_activity``, never prune ``other_parts``."""

    def lines(count: int) -> list[Event]:
        logged = [
            (
                2.3 + 3 * n / count,
                "log_record",
                {"level": "INFO", "logger": "agent", "message": str(n), "attributes": {}, "created": None},
            )
            for n in range(count)
        ]
        return session(lambda number: sorted([*answered(number)[:7], *logged], key=lambda call: call[0]), 1)

    once, four = (steps(lines(count)) for count in (100, 400))
    assert four < 4.4 * once


def test_one_turn_is_made_alone_as_it_is_among_all() -> None:
    """Break: in projections/caller.py, ``turn``, leave out ``last``."""
    made = session(interrupted, FEW)
    all_of_it, one = read(made), read(made)
    for number in (1, FEW // 2, len(all_of_it.turns)):
        assert one.turn(number) == all_of_it.turns[number - 1]
        assert one.spans_of(number) == [span for span in all_of_it.spans if span.turn == number]
    assert "turns" not in one.__dict__
    assert "spans" not in one.__dict__
