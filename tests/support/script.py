"""Small logs, written as lines of a script."""

from __future__ import annotations

from typing import Any

import orjson

from eventstore import HOOKS, Event
from projections.turns import answer, barge_in, question  # noqa: F401 - they enter their decisions

SHORT = {
    "voice+": "on_user_speech_start", "voice-": "on_user_speech_end", "stt+": "on_stt_start",
    "final": "on_stt_complete",
    "interim": "on_stt_interim_end", "preflight": "on_stt_preflight_end", "words": "set_user_transcript",
    "llm+": "on_llm_start", "token": "on_llm_first_token", "llm-": "on_llm_complete", "tts+": "on_tts_start",
    "byte": "on_tts_first_byte", "agent+": "on_agent_speech_start", "agent-": "on_agent_speech_end",
    "cut": "on_interrupted", "says": "set_agent_response", "say": "traces.agent_say_called", "end": "finalize_session",
    "tool": "add_function_tool_call", "realtime": "configure_pipeline",
}  # fmt: skip


TEXT = {"final": "transcript", "preflight": "transcript", "words": "transcript", "says": "response", "say": "message"}


def log(*lines: str) -> list[Event]:
    """Events of lines such as ``1.5 words How are you?``."""
    made = []
    for seq, line in enumerate(lines):
        at, name, *rest = line.split(" ", 2)
        hook = HOOKS[SHORT[name]]
        args: dict[str, Any] = {TEXT[name]: rest[0]} if name in TEXT and rest else {}
        if name == "tool":
            start, end = rest[0].split()
            args = {"tool_name": "lookup", "start_time": float(start), "end_time": float(end)}
        if name == "realtime":
            args = {"pipeline_mode": "realtime", "realtime_mode": "full_s2s"}
        ns = round(float(at) * 1e9)
        payload = orjson.dumps(hook.complete(args)).decode()
        made.append(Event("s", "o", seq, hook.name, hook.version, ns, 10**18 + ns, payload))
    return made


def answered(at: float, until: float | None = None) -> list[str]:
    lines = [
        f"{at} llm+",
        f"{at + 0.2} token",
        f"{at + 0.2} tts+",
        f"{at + 0.3} llm-",
        f"{at + 0.5} byte",
        f"{at + 0.5} agent+",
    ]
    return lines if until is None else [*lines, f"{until} agent-"]
