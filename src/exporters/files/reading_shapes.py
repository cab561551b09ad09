"""The caller's reading on a timeline: one shape per span, on the track of its kind."""

from __future__ import annotations

from typing import Any

from exporters.files.shapes import Arrow, Shape
from projections.caller import Reading
from projections.spans import Span
from projections.spans.tree import turn_id

TRACK_OF_KIND = {
    "session": "session",
    "note": "session",
    "hold": "session",
    "turn": "turns",
    "response": "response",
    "interruption": "interruptions",
    "doubt": "interruptions",
    "voice": "user",
    "stt": "STT",
    "eou": "EOU",
    "eou_wait": "EOU",
    "knowledge_base": "knowledge base",
    "llm": "LLM",
    "tool": "tools",
    "tts": "TTS",
    "realtime": "realtime",
    "agent": "agent",
    "sound": "audio",
    "error": "errors",
    "fallback": "errors",
}


def read_shapes(r: Reading) -> list[Shape]:
    """A slice for each span with a duration, and an instant for each other span and each log line."""
    zero_ns = r.timeline.began + r.timeline.wall_shift
    found = []
    for span in r.spans:
        name = f"turn {span.turn}" if span.kind == "turn" else span.name
        end = None if span.end_ns == span.start_ns and span.kind != "turn" else span.end_ns - zero_ns
        found.append(Shape(TRACK_OF_KIND[span.kind], span.kind, name, span.start_ns - zero_ns, end, _args(span)))
        for event in span.events:
            if event["name"] == "log":
                at, attributes = event["time_ns"] - zero_ns, event["attributes"]
                found.append(Shape("log", "log", str(attributes.get("message", "")), at, None, attributes))
    return found


def _args(span: Span) -> dict[str, Any]:
    return ({} if span.turn is None else {"turn": span.turn}) | span.attributes


def read_arrows(r: Reading, shapes: list[Shape]) -> list[Arrow]:
    """An arrow from each turn that was cut off to the turn that answers the interrupting speech."""
    drawn = {shape.args["turn"]: shape for shape in shapes if shape.category == "turn"}
    numbers = {turn_id(x): number for number, x in enumerate(r.exchanges, 1)}
    found = []
    for number, x in enumerate(r.exchanges, 1):
        home = r.assembly.owners.get(x.cut_by.at) if x.cut_by is not None else None
        if home is None or home is x or x.cut is None:
            continue
        tail, head = drawn[number], drawn[numbers[turn_id(home)]]
        leaves = (x.cut.start or 0) - r.timeline.began
        # An arrow must start and end within its slices, and cannot point into the past.
        leaves = min(max(leaves, tail.start), (tail.end or 0) - 1, (head.end or 0) - 1)
        if tail.start <= leaves and head.start < (head.end or 0):
            found.append(Arrow(number, tail, leaves, head, max(leaves, head.start)))
    return found
