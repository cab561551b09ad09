"""Tool calls, and hand-offs to a different agent."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.reference.metrics import FunctionTool, McpTool
from projections.reference.registry import with_args, without_args
from projections.reference.signals import send_playground
from projections.reference.state import State
from projections.reference.timing import milliseconds


def _latency(tool: FunctionTool | McpTool) -> float | None:
    return milliseconds(tool.end_time - tool.start_time) if tool.start_time and tool.end_time else None


def _time_of_day(wall_ns: int) -> str:
    """HH:MM:SS in UTC; the reference uses the agent's local time, which a replay must not depend on."""
    seconds = wall_ns // 1_000_000_000 % 86_400
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


@with_args
def add_function_tool_call(s: State, now: float, args: Args) -> None:
    turn = s.turn
    if turn is None:
        return
    name, start = args["tool_name"], args.get("start_time") or now
    turn.function_tools_called.append(name)
    params, response = args.get("tool_params") or {}, args.get("tool_response") or {}
    tool = FunctionTool(name, params, response, start, args.get("end_time"))
    tool.latency = _latency(tool)
    turn.function_tool_metrics.append(tool)
    turn.function_tool_timestamps.append(
        {"tool_name": name, "timestamp": start, "readable_time": _time_of_day(s.wall_ns)}
    )
    send_playground(s, "function_tool_timestamps", turn.function_tool_timestamps)


@with_args
def add_mcp_tool_call(s: State, now: float, args: Args) -> None:
    if s.turn is None:
        return
    tool = McpTool(
        args.get("tool_type", "local"),
        args.get("tool_url"),
        args.get("tool_params") or {},
        args.get("tool_response") or {},
        args.get("start_time") or now,
        args.get("end_time"),
    )
    tool.latency = _latency(tool)
    s.turn.mcp_tool_metrics.append(tool)


@without_args
def set_a2a_handoff(s: State, now: float) -> None:
    if s.turn is not None:
        s.turn.is_a2a_enabled = s.turn.handoff_occurred = True
        send_playground(s, "handoff_occurred", True)
