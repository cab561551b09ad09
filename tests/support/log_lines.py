"""A turn with log lines."""

from __future__ import annotations

from typing import Any

import orjson

from eventstore import Event


def line(seq: int, message: str = "hello", origin: str = "o", **more: Any) -> Event:
    args = {"level": "INFO", "logger": "agent", "message": message, **more}
    return Event("s", origin, seq, "log_record", 1, seq * 10**9, 10**18 + seq * 10**9, orjson.dumps(args).decode())


def hook(seq: int, name: str, **args: Any) -> Event:
    return Event("s", "o", seq, name, 1, seq * 10**9, 10**18 + seq * 10**9, orjson.dumps(args).decode())


TURN = ["start_turn", "on_llm_start", "on_llm_first_token", "complete_turn"]
