"""The waterfall of a turn: the bars are those of its spans, with what was cut off marked."""

from __future__ import annotations

from typing import Any

from projections.caller import read
from support.logs import QUESTION, RECORDED, Log, events
from turnlog.waterfall import Bar, turn_waterfall


def bars(log: Log, number: int = 1) -> dict[str, Bar]:
    return {bar.label: bar for bar in turn_waterfall(read(events(log)), number)}


def times(bar: Bar) -> tuple[float, float | None, bool]:
    return bar.start, bar.end, bar.cut


def test_the_bars_of_an_answer_that_is_interrupted() -> None:
    """Break: in turnlog/waterfall.py, ``_span_bars``, do not check whether it was interrupted."""
    start: Log = [(0, "set_vad_config", {"vad_config": {}})]
    found = bars([*start, *QUESTION, (4000, "on_user_speech_start", {}), (4300, "on_interrupted", {}),
                  (4500, "on_agent_speech_end", {}), (5000, "finalize_session", {})])  # fmt: skip
    assert times(found["user speaks"]) == (1.0, 2.0, False)
    assert times(found["STT"]) == (2.0, 2.2, False)
    assert times(found["LLM first token"]) == (2.5, 2.8, False)
    assert times(found["LLM (rest)"]) == (2.8, 2.9, False)
    assert times(found["TTS first byte"]) == (2.8, 3.0, False)
    assert times(found["agent speaks"]) == (3.0, 4.5, True)
    assert times(found["interrupted"]) == (4.0, 4.5, False)


def test_what_never_ended_has_no_end_and_is_marked() -> None:
    found = bars([*QUESTION[:6], (2600, "tool_started", {"call_id": "c", "tool_name": "look"}),
                  (2700, "add_error", {"source": "LLM", "message": "no capacity"}),
                  (2750, "on_thinking_audio_start", {"file_path": "f", "looping": True})])  # fmt: skip
    assert times(found["tool look"]) == (1.6, None, True)
    assert times(found["LLM first token"]) == (1.5, None, True)
    assert (found["LLM Error"].detail, found["LLM Error"].kind) == ("no capacity", "error")
    assert found["sound"].end is None


def test_every_turn_of_the_recordings_is_drawn_within_its_span() -> None:
    drawn: list[Any] = []
    for made in RECORDED.values():
        r = read(made)
        zero = r.timeline.began + r.timeline.wall_shift
        for span in r.spans:
            if span.kind == "turn" and span.turn is not None:
                found = [bar for bar in turn_waterfall(r, span.turn) if bar.kind != "audio"]
                assert all(bar.start >= (span.start_ns - zero) / 1e9 for bar in found)
                assert all(bar.end is None or bar.start <= bar.end <= (span.end_ns - zero) / 1e9 for bar in found)
                drawn += found
    assert {bar.kind for bar in drawn} == {"user", "agent", "wait", "tool", "error"}
