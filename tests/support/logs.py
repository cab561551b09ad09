"""Recorded calls, and logs written as hooks at milliseconds."""

from __future__ import annotations

from typing import Any

import orjson

from eventstore import HOOKS, Event
from support.program import FIXTURES
from turnlog.recordings import events_of, read_recordings

RECORDED = {found[0].session_id: found for found in (
    events_of(*recording) for recording in read_recordings(FIXTURES / "recordings.jsonl.gz")
)}  # fmt: skip


Log = list[tuple[int, str, dict[str, Any]]]


def events(log: Log) -> list[Event]:
    """Events at milliseconds."""
    return [
        Event("s", "o", n, hook, HOOKS[hook].version, 10**9 + at * 10**6, 10**18 + at * 10**6, encoded(args))
        for n, (at, hook, args) in enumerate(log)
    ]


def encoded(args: dict[str, Any]) -> str:
    return orjson.dumps(args).decode()


QUESTION: Log = [
    (1000, "on_user_speech_start", {}),
    (2000, "on_user_speech_end", {}),
    (2000, "on_stt_start", {}),
    (2200, "on_stt_complete", {"transcript": "Hi."}),
    (2500, "set_user_transcript", {"transcript": "Hi."}),
    (2500, "on_llm_start", {}),
    (2800, "on_llm_first_token", {}),
    (2800, "on_tts_start", {}),
    (2900, "on_llm_complete", {}),
    (2900, "set_agent_response", {"response": "Good day."}),
    (3000, "on_tts_first_byte", {}),
    (3000, "on_agent_speech_start", {}),
]
