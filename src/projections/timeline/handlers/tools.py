"""Tool calls, with their actual times where the framework reports them."""

from __future__ import annotations

from typing import Any

from eventstore.hooks.arguments import Args
from projections.timeline.registry import text, to_session_time, with_args
from projections.timeline.state import Timeline


@with_args
def tool_started(t: Timeline, now: int, args: Args) -> None:
    call_id = text(args.get("call_id"))
    call = t.calls.get(call_id)
    if call is not None:
        call.add_source("start", t.at)
        return
    call = t.begin("tool", now, name=args.get("tool_name"), params=args.get("tool_params"))
    call.id, call.data["run_id"] = call_id, text(args.get("run_id"))
    t.calls[call_id] = call
    t.unreported.append(call)
    t.step("tool started", call)


@with_args
def tool_progress(t: Timeline, now: int, args: Args) -> None:
    call = t.calls.get(text(args.get("call_id")))
    if call is None:
        t.ignore("unknown tool call")
        return
    call.set_first_output(now, t.at)
    call.data["response"] = args.get("tool_response")
    call.add_source("response", t.at)


@with_args
def tool_ended(t: Timeline, now: int, args: Args) -> None:
    call, status = t.calls.get(text(args.get("call_id"))), args.get("status")
    if call is None or status not in ("done", "cancelled", "failed"):
        t.ignore("unknown tool call or status")
        return
    if call.end is None:
        call.finish(now, status, t.at, reported=True)
    if args.get("tool_response") is not None:
        call.data["response"] = args["tool_response"]
        call.add_source("response", t.at)


@with_args
def add_function_tool_call(t: Timeline, now: int, args: Args) -> None:
    """Report of a finished call; it completes the fields of a call that ``tool_started`` has begun."""
    name, response = args.get("tool_name"), args.get("tool_response")
    calls = [call for call in t.unreported if call.data["name"] == name]
    known = max(calls, key=lambda call: (call.end is not None, call.end or 0, -call.at), default=None)
    if known is not None:
        t.unreported.remove(known)
        known.data.setdefault("response", response)
        if known.data["params"] is None:
            known.data["params"] = args.get("tool_params")
        known.add_source("report", t.at)
        return
    _add_finished_call(t, now, args, name=name, params=args.get("tool_params"), response=response)


@with_args
def add_mcp_tool_call(t: Timeline, now: int, args: Args) -> None:
    fields = {name: args.get(f"tool_{name}") for name in ("type", "url", "params", "response")}
    _add_finished_call(t, now, args, name=args.get("tool_url") or args.get("tool_type"), mcp=True, **fields)


def _add_finished_call(t: Timeline, now: int, args: Args, **data: Any) -> None:
    start, end = to_session_time(t, args.get("start_time")), to_session_time(t, args.get("end_time"))
    call = t.begin("tool", now if start is None else start, **data)
    finished = end if end is not None and (start is None or end >= start) else None
    if start is None and finished is not None:
        call.start = finished
    call.finish(now if finished is None else finished, "done", t.at, reported=finished is not None)
    t.step("tool started", call, call.start)
