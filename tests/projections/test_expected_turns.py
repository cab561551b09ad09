"""The caller's reading of the 53 recorded calls, compared with expectations made by hand from the recordings."""

from __future__ import annotations

from typing import Any

import pytest

from projections.caller import read
from projections.outputs.turn import Turn
from support.expected_calls import allowed, certain, expected_calls
from support.program import FIXTURES
from turnlog.recordings import events_of, read_recordings

RECORDED = {found[0].session_id: found for found in (
    events_of(*recording) for recording in read_recordings(FIXTURES / "recordings.jsonl.gz")
)}  # fmt: skip
WITHIN = {"user_started": 0.002, "user_stopped": 0.002, "agent_started": 0.002, "response_ms": 2.0}


def value(turn: Turn, field: str) -> Any:
    return turn.e2e_latency if field == "response_ms" else getattr(turn, field)


CUT_SHORT = "withdrawn", "cut off before it was heard"
"""Equivalent here: the expectations say withdrawn if the user continued, and cut off if the program did it."""


def same(field: str, expected: Any, found: Any) -> bool:
    if field == "no_response" and expected in CUT_SHORT:
        return found in CUT_SHORT
    if isinstance(expected, str) and isinstance(found, str):
        return " ".join(expected.split()) == " ".join(found.split()) or (
            field == "agent_speech" and expected[:30] == found[:30]
        )
    if expected is None or found is None or field not in WITHIN:
        return bool(expected == found)
    return bool(abs(expected - found) <= WITHIN[field])


def differences(call: dict[str, Any]) -> list[str]:
    """Differences in the certain fields; turns are matched by the time of their question or voice."""
    turns = read(RECORDED[call["name"]]).turns
    wrong = []
    for number, expected in enumerate(call["turns"], 1):
        fields = certain(expected)
        if not fields:
            continue
        key = next(k for k in ("user_stopped", "agent_started", "user_started") if expected[k] is not None)
        at = expected[key]
        asked = expected["user_started"] is not None
        near = [t for t in turns if value(t, key) is not None and asked == (t.user_started is not None)]
        found = min(
            near, key=lambda t: (abs(value(t, key) - at), t.user_speech != expected["user_speech"]), default=None
        )
        if found is None:
            wrong.append(f"turn {number} ({expected['user_speech']!r}): there is none")
            continue
        for field in fields:
            if not any(same(field, one, value(found, field)) for one in allowed(expected, field)):
                wrong.append(f"turn {number} {field}: {expected[field]!r} expected, {value(found, field)!r} found")
    return wrong


@pytest.mark.parametrize("call", expected_calls(), ids=lambda call: str(call["name"]))
def test_each_turn_beyond_doubt_is_read_as_by_hand(call: dict[str, Any]) -> None:
    assert differences(call) == []


def main() -> None:
    for call in expected_calls():
        for line in differences(call):
            print(call["name"], line)


if __name__ == "__main__":
    main()
