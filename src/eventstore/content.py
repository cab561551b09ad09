"""Which of a hook's arguments are what people said or what is known about them, and what stands in their place.

The rest (times, counts, providers, configuration) is what metrics are made of. A known hook that is not in `CONTENT`
has no content; `tests/test_privacy.py` lists those, so that a new hook has to be thought about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from eventstore.arguments import ALTERED, RAW, Args
from eventstore.vocabulary import HOOKS

HIDDEN = "[sealed]"


def whole(value: Any) -> Any:
    """Nothing but whether there is something, and how many."""
    if isinstance(value, dict):
        return {}
    if isinstance(value, list):
        return [HIDDEN] * len(value)
    return HIDDEN if value not in (None, "") else value


def words(value: Any) -> Any:
    """The structure, its names and numbers stay; text goes."""
    if isinstance(value, dict):
        return {name: words(item) for name, item in value.items()}
    if isinstance(value, list):
        return list(map(words, value))
    return HIDDEN if isinstance(value, str) and value else value


_TOOL = {"tool_params": whole, "tool_response": whole}
_ATTRIBUTES = {"attributes": words}
CONTENT: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "set_system_instructions": {"instructions": whole},
    "add_participant_metrics": {"participant_id": whole, "sip_user": whole, "meta": whole},
    "on_stt_complete": {"transcript": whole},
    "on_stt_preflight_end": {"transcript": whole},
    "set_llm_input": {"text": whole},
    "set_user_transcript": {"transcript": whole},
    "set_agent_response": {"response": whole},
    "add_function_tool_call": _TOOL,
    "add_mcp_tool_call": {**_TOOL, "tool_url": whole},
    "emit_user_transcript_transport": {"text": whole},
    "emit_agent_transcript_transport": {"text": whole},
    "on_knowledge_base_complete": {"documents": whole, "retrievals": whole},
    "add_error": {"message": whole},
    "framework_event": {"arguments": words},
    "log_record": {"message": whole, "attributes": whole},
    "set_realtime_model_error": {"error": words},
    "traces.start_agent_joined_meeting": _ATTRIBUTES,
    "traces.start_agent_session_config": _ATTRIBUTES,
    "traces.start_agent_session_closed": _ATTRIBUTES,
    "traces.start_agent_session": _ATTRIBUTES,
    "traces.agent_say_called": {"message": whole},
    "traces.agent_reply_called": {"instructions": whole},
    "traces.create_a2a_trace": {"name": whole, **_ATTRIBUTES},
    "traces.end_a2a_trace": {"message": whole},
}


def without_content(hook: str, payload: str) -> bytes | None:
    """The payload as it may stay readable; None if there is nothing in it to hide.

    Of a hook that this turnlog does not know, everything is hidden, and of what is not a JSON object.
    """
    try:
        args: Args = orjson.loads(payload)
        known = CONTENT.get(hook, {}) if hook in HOOKS else dict.fromkeys(args, whole)
        hide = {**known, ALTERED: whole, RAW: words}
        hidden = {name: hide[name](value) if name in hide else value for name, value in args.items()}
    except (ValueError, TypeError, AttributeError):
        return b"{}"
    return None if hidden == args else orjson.dumps(hidden)
