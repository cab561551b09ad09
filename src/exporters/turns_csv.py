"""Turns as CSV, one a row, for a spreadsheet or a data frame.

Latencies and durations are milliseconds. A cell is empty where nothing was measured or said. Text is written as it is,
unless it is to be defused: then what a spreadsheet would run as a formula gets an apostrophe in front, as OWASP has it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from projections.model import Turn
from projections.replay import Latency, latency_of
from projections.rules import VIDEOSDK_1_0, Rules

COLUMNS = (
    "session_id", "turn", "turn_id", "opened_at", "user_speech", "agent_speech",
    "e2e_ms", "stt_ms", "eou_ms", "llm_ttft_ms", "tts_ms", "tts_first_byte_ms", "realtime_ms",
    "user_speech_ms", "agent_speech_ms", "interrupted", "tools", "errors", "fallbacks",
    "eou_wait_ms",
)  # fmt: skip
"""New ones come last, so that who counts columns is not misled."""


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How a text begins that a spreadsheet may take for a formula."""


def header() -> bytes:
    return _line(COLUMNS)


def rows(
    session_id: str, turns: Iterable[Turn], rules: str | Rules = VIDEOSDK_1_0, *, defused: bool = False
) -> Iterator[bytes]:
    """A line for each turn; ``session_id`` is the session's name in the log; ``rules`` made the turns."""
    for number, turn in enumerate(turns, 1):
        cells = _cells(session_id, turn, latency_of(turn, number, rules))
        yield _line(map(_defused, cells) if defused else cells)


def _defused(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _cells(session_id: str, turn: Turn, found: Latency) -> Iterable[object]:
    return (
        session_id, found.turn, turn.turn_id, _moment(turn.timestamp), turn.user_speech, turn.agent_speech,
        found.e2e, found.stt, found.eou, found.ttft, found.tts, found.ttfb, found.realtime,
        turn.user_speech_duration, turn.agent_speech_duration, "true" if turn.is_interrupted else "false",
        len(turn.function_tool_metrics) + len(turn.mcp_tool_metrics), len(turn.errors), len(turn.fallback_events),
        found.eou_wait,
    )  # fmt: skip


def _moment(seconds: float) -> str:
    """In UTC to the microsecond, more than which a float of seconds since the epoch does not hold."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def _line(cells: Iterable[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()
