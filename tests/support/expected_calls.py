"""The hand-made expectations of `fixtures/`: what they say for certain, and what else a reader might say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[2] / "fixtures" / "expected_turns.json"

FIELDS = (
    "user_speech",
    "user_started",
    "user_stopped",
    "agent_speech",
    "agent_started",
    "response_ms",
    "no_response",
    "interrupted",
)
RESPONSE = {"user_stopped", "agent_started", "response_ms", "no_response"}


def expected_calls() -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = json.loads(FILE.read_text())["calls"]
    return calls


def certain(turn: dict[str, Any]) -> dict[str, Any]:
    """The fields of a turn that are beyond doubt; none where the turn itself is in doubt.

    `interrupted` says something only of an answer that was heard.
    """
    doubtful = set(turn.get("doubtful", ()))
    if "turn" in doubtful:
        return {}
    silent = {"interrupted"} if turn["agent_started"] is None else set()
    return {field: turn[field] for field in FIELDS if field not in doubtful | silent}


def allowed(turn: dict[str, Any], field: str) -> list[Any]:
    """Each value of a field that a reasonable reader may give, the likeliest first."""
    return [turn[field], *turn.get("alternatives", {}).get(field, [])]
