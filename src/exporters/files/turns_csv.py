"""Turns as CSV, one per row, for a spreadsheet or a data frame.

Latencies and durations are milliseconds. A cell is empty where nothing was measured or said. Text is written as it is;
with ``defused``, text that a spreadsheet would run as a formula gets an apostrophe in front, as OWASP recommends.
Each reading has its own columns, as they measure different things.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from projections.caller import RULES as TURNLOG
from projections.caller import Reading
from projections.measures import TurnMeasures
from projections.measures.reading import measures_of_reading
from projections.measures.row import Speech
from projections.reference.metrics import Turn
from projections.reference.replay import Call, Latency, latency_of

TURNLOG_COLUMNS = (
    "session_id", "turn", "opened_at", "user_speech", "agent_speech",
    "response_ms", "time_to_answer_ms", "no_response", "framework_e2e_ms",
    "stt_ms", "eou_ms", "eou_wait_ms", "llm_ttft_ms", "tts_first_byte_ms",
    "user_speech_ms", "agent_speech_ms", "interrupted", "tools", "errors", "fallbacks",
    "input_tokens", "output_tokens", "agent",
)  # fmt: skip
"""Columns of the caller's reading."""
COLUMNS = (
    "session_id", "turn", "turn_id", "opened_at", "user_speech", "agent_speech",
    "e2e_ms", "stt_ms", "eou_ms", "llm_ttft_ms", "tts_ms", "tts_first_byte_ms", "realtime_ms",
    "user_speech_ms", "agent_speech_ms", "interrupted", "tools", "errors", "fallbacks",
    "eou_wait_ms",
)  # fmt: skip
"""Columns of a framework's reading. New ones are appended, so that column positions stay stable."""


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Prefixes of text that a spreadsheet may evaluate as a formula."""


def header(rules: str = TURNLOG) -> bytes:
    return _line(TURNLOG_COLUMNS if rules == TURNLOG else COLUMNS)


def rows_of(call: Reading | Call, *, defused: bool = False) -> Iterator[bytes]:
    """Yield one line per turn of the session."""
    if not isinstance(call, Reading):
        yield from rows(call.session_name, call.turns, defused=defused)
        return
    said = [(x.words or None, x.answer or None) for x in call.exchanges]
    yield from measured_rows(measures_of_reading(call, ""), said, defused=defused)


def measured_rows(turns: Iterable[TurnMeasures], said: Iterable[Speech], *, defused: bool = False) -> Iterator[bytes]:
    """Yield one line per turn of the caller's reading, from its measures and what was said in each turn."""
    for turn, speech in zip(turns, said, strict=True):
        cells = _measured_cells(turn, *speech)
        yield _line(map(_defuse, cells) if defused else cells)


def rows(session_id: str, turns: Iterable[Turn], *, defused: bool = False) -> Iterator[bytes]:
    """Yield one line per turn of a framework's reading; ``session_id`` is the session's name in the log."""
    for number, turn in enumerate(turns, 1):
        cells = _cells(session_id, turn, latency_of(turn, number))
        yield _line(map(_defuse, cells) if defused else cells)


def _defuse(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _measured_cells(turn: TurnMeasures, user_speech: str | None, agent_speech: str | None) -> Iterable[object]:
    return (
        turn.session, turn.turn, _timestamp(turn.opened_at), user_speech, agent_speech,
        turn.response_ms, turn.time_to_answer_ms, turn.no_response, turn.framework_e2e_ms,
        turn.stt_ms, turn.eou_ms, turn.eou_wait_ms or None,
        turn.llm_ttft_ms, turn.tts_first_byte_ms,
        turn.user_speech_ms, turn.agent_speech_ms, "true" if turn.interrupted else "false",
        turn.tools, turn.errors, turn.fallbacks, int(turn.input_tokens or 0), int(turn.output_tokens or 0), turn.agent,
    )  # fmt: skip


def _cells(session_id: str, turn: Turn, found: Latency) -> Iterable[object]:
    return (
        session_id, found.turn, turn.turn_id, _timestamp(turn.timestamp), turn.user_speech, turn.agent_speech,
        found.e2e, found.stt, found.eou, found.ttft, found.tts, found.ttfb, found.realtime,
        turn.user_speech_duration, turn.agent_speech_duration, "true" if turn.is_interrupted else "false",
        len(turn.function_tool_metrics) + len(turn.mcp_tool_metrics), len(turn.errors), len(turn.fallback_events),
        found.eou_wait,
    )  # fmt: skip


def _timestamp(seconds: float) -> str:
    """UTC in ISO 8601 with microseconds, the precision of a float of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def _line(cells: Iterable[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()
