"""Session-level hooks of the framework's traces manager, kept as notes for the span tree.

The spans of turns and components are made from activities, so the manager's hooks for those are ignored.
"""

from __future__ import annotations

from typing import Any

from eventstore.hooks.arguments import Args
from projections.timeline.activity import Activity
from projections.timeline.registry import text, to_session_time, traces
from projections.timeline.state import Timeline


def _add_note(t: Timeline, now: int, name: str, attributes: Any, end: int | None = None) -> Activity:
    found = Activity("note", t.at, now, data={"name": name, "attributes": attributes}, provenance=["start", t.at])
    if end is not None:
        found.finish(max(now, end), "done", t.at, reported=True)
    t.notes.append(found)
    return found


@traces
def start_agent_joined_meeting(t: Timeline, now: int, args: Args) -> None:
    t.joined = True
    if not t.meeting and isinstance(args.get("attributes"), dict):
        t.meeting = args["attributes"]


@traces
def start_agent_session_config(t: Timeline, now: int, args: Args) -> None:
    _add_note(t, now, "Session Configuration", args.get("attributes"), now)


@traces
def start_agent_session_closed(t: Timeline, now: int, args: Args) -> None:
    _add_note(t, now, "Agent Session Closed", args.get("attributes"))


@traces
def end_agent_session_closed(t: Timeline, now: int, args: Args) -> None:
    closed = next((n for n in reversed(t.notes) if n.data["name"] == "Agent Session Closed" and n.end is None), None)
    if closed is not None:
        closed.finish(max(now, closed.start or now), "done", t.at, reported=True)


@traces
def agent_meeting_end(t: Timeline, now: int, args: Args) -> None:
    t.left = True


@traces
def agent_say_called(t: Timeline, now: int, args: Args) -> None:
    t.say_pending = True
    t.step("scripted speech", text=text(args.get("message")))
    _add_note(t, now, "Agent Say", {"Agent Say Message": args.get("message")}, now)


@traces
def agent_reply_called(t: Timeline, now: int, args: Args) -> None:
    t.step("reply", text=text(args.get("instructions")))
    _add_note(t, now, "Agent Reply", {"Agent Reply Instructions": args.get("instructions")}, now)


@traces
def create_components_change_trace(t: Timeline, now: int, args: Args) -> None:
    _add_change(t, now, "Components Change", args, args.get("components_change_data"))


@traces
def create_pipeline_change_trace(t: Timeline, now: int, args: Args) -> None:
    configs = {name: args.get(name) for name in ("original_pipeline_config", "new_pipeline_config")}
    _add_change(t, now, "Pipeline Change", args, configs)


def _add_change(t: Timeline, now: int, name: str, args: Args, attributes: Any) -> None:
    times = args.get("time_data")
    times = times if isinstance(times, dict) else {}
    start, end = to_session_time(t, times.get("start_time")), to_session_time(t, times.get("end_time"))
    _add_note(t, now if start is None else start, name, attributes, now if end is None else end)


@traces
def create_a2a_trace(t: Timeline, now: int, args: Args) -> None:
    """Message to a different agent; `end_a2a_trace` refers to it by its number at this origin."""
    found = _add_note(t, now, f"A2A: {args.get('name')}", args.get("attributes"))
    t.messages.setdefault(t.origin or "", []).append(found)


@traces
def end_a2a_trace(t: Timeline, now: int, args: Args) -> None:
    sent, index = t.messages.get(t.origin or "", []), args.get("index")
    if type(index) is not int or not 0 <= index < len(sent) or sent[index].end is not None:
        t.ignore("unknown message to a different agent")
        return
    sent[index].finish(max(now, sent[index].start or now), "done", t.at, reported=True)
