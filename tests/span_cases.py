"""The switches that change spans, each on the smallest log that shows it; `test_rules` has those of the others."""

from __future__ import annotations

from typing import Any

from corrected_cases import Case, Log
from projections.reference.replay import Call

OPEN: Log = [
    (0, "set_traces_flow_manager", {"attached": True}),
    (0, "traces.start_agent_joined_meeting", {"attributes": {}}),
    (0, "traces.start_agent_session", {"attributes": {}}),
]


def provider(component: str) -> tuple[int, str, dict[str, Any]]:
    return 0, "set_provider_info", {"component_type": component, "provider_class": "P", "model_name": "p"}


def parents(call: Call) -> dict[str, str | None]:
    names = {span.id: span.name for span in (*call.spans, *call.open_spans)}
    return {names[span.id]: names.get(-1 if span.parent is None else span.parent) for span in call.spans}


def configured(call: Call) -> Any:
    return next(span.attributes for span in call.spans if span.name == "Session Configuration")


CASES = {
    "spans_of_records": Case(
        [*OPEN, provider("llm"), (0, "start_turn", {}), (0, "on_llm_start", {}),
         (100, "add_error", {"source": "LLM", "message": "no"}), (200, "on_llm_complete", {}),
         (300, "complete_turn", {})],
        lambda call: [(span.name, span.status) for span in call.spans],
        [("LLM Error", "OK"), ("P: LLM Processing", "OK"), ("LLM Error span", "ERROR"), ("Turn #1", "OK")],
        [("LLM Error", "ERROR"), ("P: LLM Processing", "ERROR"), ("Turn #1", "OK")],
    ),
    "typed_attributes": Case(
        [*OPEN[:2], (0, "traces.start_agent_session_config", {"attributes": {
            "count": 3, "score": 0.5, "on": True, "name": "n", "none": None, "tools": ["a", "b"], "mixed": [1, "b"],
            "object": {"k": 1}, "start_time": 1.0}})],
        configured,
        {"count": "3", "score": "0.5", "on": "True", "name": "n", "none": "None", "tools": "['a', 'b']",
         "mixed": "[1, 'b']", "object": "{'k': 1}", "start_time": "1.0"},
        {"count": 3, "score": 0.5, "on": True, "name": "n", "tools": ["a", "b"], "mixed": "[1, 'b']",
         "object": "{'k': 1}", "start_time": 1.0},
    ),
    "spans_contained": Case(
        [*OPEN, (100, "traces.create_a2a_trace", {"name": "ask", "attributes": {}}),
         (200, "traces.end_a2a_communication", {}), (300, "traces.end_a2a_trace", {"index": 0, "message": ""})],
        lambda call: {span.name: round(((span.end_ns or 0) - span.start_ns) / 1e6, 3) for span in call.spans},
        {"Agent-to-Agent Communications": 100.0, "A2A 1: ask": 200.0},
        {"Agent-to-Agent Communications": 200.0, "A2A 1: ask": 200.0},
    ),
    "say_in_session_trace": Case(
        [*OPEN, (100, "traces.agent_say_called", {"message": "hi"}),
         (200, "traces.agent_reply_called", {"instructions": "be kind"})],
        parents,
        {"Agent Say": None, "Agent Reply": None},
        {"Agent Say": "Session Started", "Agent Reply": "Session Started"},
    ),
}  # fmt: skip
