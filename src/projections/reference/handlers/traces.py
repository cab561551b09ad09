"""Hooks of the traces manager: the session-level spans that contain those of the turns."""

from __future__ import annotations

from typing import Any

import msgspec

from eventstore.hooks.arguments import Args
from projections.reference.registry import traces_with_args, traces_without_args
from projections.reference.spans.lifecycle import end_span, point_span, start_span
from projections.reference.spans.session import background_audio_span, thinking_audio_span
from projections.reference.state import State


@traces_without_args
def set_session_metrics(s: State, now: float) -> None:
    """No effect: there is one session, and the fold has it."""


@traces_with_args
def set_session_id(s: State, now: float, args: Args) -> None:
    """No effect on the trace."""


@traces_with_args
def start_agent_joined_meeting(s: State, now: float, args: Args) -> None:
    attributes = args["attributes"]
    if s.traces.root is not None:
        return
    agent, peer = attributes.get("agent_name", "UnknownAgent"), attributes.get("peerId", "UnknownID")
    name = f"Agent Session: agentName_{agent}_agentId_{peer}"
    s.traces.root = start_span(s, now, name, attributes, None, attributes.get("start_time", now))


def _in_root(s: State, now: float, name: str, attributes: Args) -> int | None:
    return start_span(s, now, name, attributes, s.traces.root, attributes.get("start_time", now))


@traces_with_args
def start_agent_session_config(s: State, now: float, args: Args) -> None:
    """A span that ends at once."""
    if s.traces.root is None or s.traces.config_span is not None:
        return
    s.traces.config_span = _in_root(s, now, "Session Configuration", args["attributes"])
    end_agent_session_config(s, now)


@traces_without_args
def end_agent_session_config(s: State, now: float) -> None:
    end_span(s, now, s.traces.config_span, now)
    s.traces.config_span = None


@traces_with_args
def start_agent_session_closed(s: State, now: float, args: Args) -> None:
    if s.traces.root is not None and s.traces.closed_span is None:
        s.traces.closed_span = _in_root(s, now, "Agent Session Closed", args["attributes"])


@traces_without_args
def end_agent_session_closed(s: State, now: float) -> None:
    end_span(s, now, s.traces.closed_span, now)
    s.traces.closed_span = None


@traces_with_args
def start_agent_session(s: State, now: float, args: Args) -> None:
    if s.traces.root is None or s.traces.session_span is not None:
        return
    attributes = dict(args["attributes"])
    people: list[dict[str, Any]] = [msgspec.to_builtins(p) for p in s.traces.participants]
    attributes["participant_metrics"] = [p for p in people if p["kind"] == "user"]
    attributes["agent_participant_metrics"] = [p for p in people if p["kind"] != "user"]
    s.traces.session_span = _in_root(s, now, "Session Started", attributes)
    start_main_turn(s, now)


@traces_without_args
def start_main_turn(s: State, now: float) -> None:
    if s.traces.session_span is not None and s.traces.main_turn is None:
        s.traces.main_turn = start_span(s, now, "User & Agent Turns", None, s.traces.session_span, now)


@traces_without_args
def end_main_turn(s: State, now: float) -> None:
    end_span(s, now, s.traces.main_turn, now)
    s.traces.main_turn = None


@traces_with_args
def agent_say_called(s: State, now: float, args: Args) -> None:
    _agent_speaks(s, now, "Agent Say", {"Agent Say Message": args["message"]})


@traces_with_args
def agent_reply_called(s: State, now: float, args: Args) -> None:
    _agent_speaks(s, now, "Agent Reply", {"Agent Reply Instructions": args["instructions"]})


def _agent_speaks(s: State, now: float, name: str, attributes: Args) -> None:
    """A root span: the reference intends the session's span as parent, but passes an empty context."""
    if s.traces.session_span is not None:
        point_span(s, now, name, attributes, None, now)


_COMPONENTS = ("new_stt", "new_tts", "new_llm", "new_vad", "new_turn_detector", "new_denoise")


@traces_with_args
def create_components_change_trace(s: State, now: float, args: Args) -> None:
    if s.traces.main_turn is None:
        return
    status, data, times = args["components_change_status"], args["components_change_data"], args["time_data"]
    attributes = {name: data[name] for name in _COMPONENTS if data.get(name) is not None}
    if status:
        attributes["components_change_status"] = status
    span = start_span(s, now, "Components Change", attributes, s.traces.main_turn, times.get("start_time", now))
    end_span(s, now, span, times.get("end_time", now))


@traces_with_args
def create_pipeline_change_trace(s: State, now: float, args: Args) -> None:
    if s.traces.main_turn is None:
        return
    times = args["time_data"]
    attributes = {name: args[name] for name in ("original_pipeline_config", "new_pipeline_config")}
    span = start_span(s, now, "Pipeline Change", attributes, s.traces.main_turn, times.get("start_time", now))
    end_span(s, now, span, times.get("end_time", now))


@traces_with_args
def create_a2a_trace(s: State, now: float, args: Args) -> None:
    """A span per message to a different agent, all under one; `end_a2a_trace` refers to it by its number per origin."""
    created = s.traces.a2a_by_origin.setdefault(s.origin or "", [])
    traces = s.traces
    if traces.main_turn is None:
        created.append(None)
        return
    if traces.a2a_span is None:
        traces.a2a_span = start_span(
            s, now, "Agent-to-Agent Communications", {"total_a2a_turns": traces.a2a_turns}, traces.main_turn, None
        )
    traces.a2a_turns += 1
    attributes = {
        **args["attributes"],
        "a2a_turn_number": traces.a2a_turns,
        "parent_span": "Agent-to-Agent Communications",
    }
    created.append(start_span(s, now, f"A2A {traces.a2a_turns}: {args['name']}", attributes, traces.a2a_span, now))


@traces_with_args
def end_a2a_trace(s: State, now: float, args: Args) -> None:
    created, index = s.traces.a2a_by_origin.get(s.origin or "", []), args["index"]
    if index < len(created):
        end_span(s, now, created[index], now)


@traces_without_args
def end_a2a_communication(s: State, now: float) -> None:
    end_span(s, now, s.traces.a2a_span, now)
    s.traces.a2a_span = None
    s.traces.a2a_turns = 0


@traces_with_args
def create_thinking_audio_start_span(s: State, now: float, args: Args) -> None:
    thinking_audio_span(
        s, now, "start", args.get("file_path"), args.get("looping", False), args.get("start_time") or now
    )


@traces_with_args
def create_thinking_audio_stop_span(s: State, now: float, args: Args) -> None:
    thinking_audio_span(s, now, "stop", None, None, args.get("end_time") or now)


@traces_with_args
def create_background_audio_start_span(s: State, now: float, args: Args) -> None:
    background_audio_span(
        s, now, "start", args.get("file_path"), args.get("looping", False), args.get("start_time") or now
    )


@traces_with_args
def create_background_audio_stop_span(s: State, now: float, args: Args) -> None:
    background_audio_span(
        s, now, "stop", args.get("file_path"), args.get("looping", False), args.get("end_time") or now
    )


@traces_without_args
def end_agent_session(s: State, now: float) -> None:
    if s.traces.main_turn is not None:
        end_main_turn(s, now)
    end_span(s, now, s.traces.session_span, now)
    s.traces.session_span = None


@traces_without_args
def agent_meeting_end(s: State, now: float) -> None:
    if s.traces.session_span is not None:
        end_agent_session(s, now)
    if s.traces.config_span is not None:
        end_agent_session_config(s, now)
    if s.traces.closed_span is not None:
        end_agent_session_closed(s, now)
    end_span(s, now, s.traces.root, now)
    s.traces.root = None
