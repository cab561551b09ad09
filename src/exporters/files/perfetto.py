"""Calls as a Chrome trace, for ui.perfetto.dev and chrome://tracing.

The format is the "JSON Object Format" of the Trace Event Format: a process per session, a thread per track of
`exporters.files.framework_activities`. Times are microseconds from the session's first event. The caller's reading is
drawn from its spans (`exporters.files.reading_shapes`). In a framework's reading, an activity without an end is an
instant at its start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from exporters.files.framework_activities import TRACKS, FrameworkActivity, activities_of, extent
from exporters.files.reading_shapes import read_arrows, read_shapes
from exporters.files.shapes import Arrow, Shape, lay_out
from projections.caller import Reading
from projections.reference.metrics import Turn
from projections.reference.replay import Call, latency_of
from projections.reference.state import Interrupted

HEAD, BETWEEN, TAIL = b'{"displayTimeUnit":"ms","traceEvents":[\n', b",\n", b"\n]}\n"
"""Text before, between and after the sessions of a file."""
FLOWS_PER_SESSION = 1_000_000
"""Size of each session's range of arrow ids, which must be unique in a file."""


def trace(sessions: Iterable[tuple[Call | Reading, int]]) -> Iterator[bytes]:
    """Yield the file in chunks. Each call comes with its first event's monotonic time in nanoseconds."""
    yield HEAD
    for pid, (call, zero_ns) in enumerate(sessions, 1):
        yield (BETWEEN if pid > 1 else b"") + session_text(call, zero_ns, pid)
    yield TAIL


def session_text(call: Call | Reading, zero_ns: int, pid: int) -> bytes:
    """The session's part of the file; ``pid`` counts the sessions in it, from 1."""
    events = session_events(call, zero_ns, pid)
    return BETWEEN.join(orjson.dumps(event, option=orjson.OPT_NON_STR_KEYS) for event in events)


def session_events(call: Call | Reading, zero_ns: int, pid: int) -> Iterator[dict[str, Any]]:
    """The session's trace events: names first, then slices, instants and arrows by time."""
    if isinstance(call, Reading):
        shapes = read_shapes(call)
        arrows = read_arrows(call, shapes)
    else:
        turns = _turns(call, zero_ns)
        shapes = [shape for shape in turns.values() if shape is not None]
        arrows = list(_arrows(call, turns, zero_ns))
        shapes += _activities(call, zero_ns)
    shapes.sort(key=lambda shape: (shape.start, shape.start if shape.end is None else shape.end))
    lay_out(shapes)
    threads = sorted({(shape.track, shape.lane) for shape in shapes}, key=lambda t: (TRACKS.index(t[0]), t[1]))
    tids = {thread: tid for tid, thread in enumerate(threads, 1)}
    yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": call.session_name}}
    for (track, _lane), tid in tids.items():
        yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": track}}
        yield {"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": {"sort_index": tid}}
    events = [(shape, shape.start, _shape_event(shape)) for shape in shapes]
    for arrow in arrows:
        flow = {"cat": "interruption", "name": "carried over", "id": pid * FLOWS_PER_SESSION + arrow.number}
        events.append((arrow.tail, arrow.leaves, {"ph": "s"} | flow))
        events.append((arrow.head, arrow.arrives, {"ph": "f", "bp": "e"} | flow))
    events.sort(key=lambda event: event[1])  # stable: a slice stays before its arrow, an arrow's tail before its head
    for shape, time, event in events:
        yield event | {"pid": pid, "tid": tids[shape.track, shape.lane], "ts": time / 1000}


def _shape_event(shape: Shape) -> dict[str, Any]:
    event = {"name": shape.name, "cat": shape.category, "args": shape.args}
    if shape.end is None:
        return {"ph": "i", "s": "t"} | event  # scope: thread
    return {"ph": "X", "dur": (shape.end - shape.start) / 1000} | event


# shapes -------------------------------------------------------------------------------------------------------------


def _turns(call: Call, zero_ns: int) -> dict[tuple[str, int], Shape | None]:
    """Turn shapes by category and number; None for a turn without any recorded time."""
    interrupted = {found.turn: found for found in call.interruptions}
    drawn: dict[tuple[str, int], Shape | None] = {}
    for number, turn in enumerate(call.turns, 1):
        found = interrupted.get(number)
        shape = _turn(call, "turn", f"turn {number}", turn, zero_ns, found.time if found is not None else None)
        if shape is not None and found is not None:
            shape.args["carried_over"] = found.carried_over
        drawn["turn", number] = shape
    for number, discarded in enumerate(call.discarded, 1):
        shape = _turn(call, "discarded turn", "discarded turn", discarded.turn, zero_ns)
        if shape is not None:
            shape.args["reason"] = discarded.reason
        drawn["discarded turn", number] = shape
    if call.current_turn is not None:
        shape = _turn(call, "open turn", "open turn", call.current_turn, zero_ns)
        if shape is not None:
            shape.end = None  # still in progress
        drawn["open turn", 1] = shape
    return drawn


def _turn(
    call: Call, category: str, name: str, turn: Turn, zero_ns: int, interrupted_at: float | None = None
) -> Shape | None:
    times = extent(turn, interrupted_at)
    if times is None:
        return None
    start, end = (_ns(time, zero_ns) for time in times)
    return Shape("turns", category, name, start, end, _turn_args(turn))


def _turn_args(turn: Turn) -> dict[str, Any]:
    """The turn's texts and latencies in milliseconds, as far as known."""
    latencies = latency_of(turn, 0)._asdict()
    del latencies["turn"]  # already the slice's name
    args: dict[str, Any] = {"turn_id": turn.turn_id, "user_speech": turn.user_speech, "agent_speech": turn.agent_speech}
    args |= {f"{part}_ms": value for part, value in latencies.items()}
    args["interrupted"] = turn.is_interrupted
    return {name: value for name, value in args.items() if value is not None}


def _activities(call: Call, zero_ns: int) -> Iterator[Shape]:
    """The activities of all turns, including discarded and open ones, and the interruptions."""
    named: list[tuple[int | str, Turn]] = list(enumerate(call.turns, 1))
    named += [("discarded", discarded.turn) for discarded in call.discarded]
    named += [("open", call.current_turn)] if call.current_turn is not None else []
    for name, turn in named:
        yield from (_activity(activity, name, zero_ns) for activity in activities_of(turn))
    for found in call.interruptions:
        args = {"turn": found.turn, "carried_over": found.carried_over}
        yield Shape("interruptions", "interruption", "interrupted", _ns(found.time, zero_ns), None, args)


def _activity(activity: FrameworkActivity, turn: int | str, zero_ns: int) -> Shape:
    track, start = activity.track, _ns(activity.start, zero_ns)
    end = None if activity.end is None else _ns(activity.end, zero_ns)
    return Shape(track, track, activity.name, start, end, {"turn": turn} | activity.args)


def _ns(seconds: float, zero_ns: int) -> int:
    """Nanoseconds since ``zero_ns``, rounded to the clock's own values so that adjacent slices stay adjacent."""
    return round(seconds * 1_000_000_000) - zero_ns


# arrows -------------------------------------------------------------------------------------------------------------


def _arrows(call: Call, turns: dict[tuple[str, int], Shape | None], zero_ns: int) -> Iterator[Arrow]:
    """An arrow from each interrupted turn to the turn that its last speech was carried over to, if any was."""
    for found in call.interruptions:
        tail, head = turns["turn", found.turn], turns.get(_receiver(call, found))
        if not found.carried_over or tail is None or tail.end is None or head is None or head.end is None:
            continue  # an open turn has no slice
        # An arrow must start and end within its slices, and cannot point into the past.
        leaves = min(max(_ns(found.time, zero_ns), tail.start), tail.end - 1, head.end - 1)
        if tail.start <= leaves and head.start < head.end:
            yield Arrow(found.turn, tail, leaves, head, max(leaves, head.start))


def _receiver(call: Call, found: Interrupted) -> tuple[str, int]:
    """The turn opened after the interruption: the next one completed or discarded, else the open one."""
    ended = [(at, ("turn", number)) for number, at in enumerate(call.payloads_at, 1)]
    ended += [(discarded.at, ("discarded turn", number)) for number, discarded in enumerate(call.discarded, 1)]
    return min((turn for turn in ended if turn[0] > found.at), default=(0, ("open turn", 1)))[1]
