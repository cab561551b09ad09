"""The lanes of the axis: overlapping spans of a lane in rows."""

from __future__ import annotations

from typing import Any

from exporters.files.framework_activities import TRACKS
from exporters.files.shapes import Shape, lay_out

OPEN_SECONDS = 2.0
"""A span whose end is not known keeps its row for at least this long, and until the next one in its row."""
ROWS = 6
"""Maximum number of rows of a lane; spans beyond it share the last one."""
NOT_DRAWN = ("turns", "session")
"""Tracks that the page draws as bands, or not at all."""


def lay_out_spans(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort the spans by start, set the row of each and until when it is drawn, and return the lanes, top to bottom."""
    spans.sort(key=lambda span: (span["start"], span["end"]))
    shapes = [Shape(s["lane"], "", "", round(s["start"] * 1e9), round(_end(s) * 1e9), {}) for s in spans]
    lay_out(shapes)
    rows: dict[str, int] = {}
    for span, shape in zip(spans, shapes, strict=True):
        span["row"] = min(shape.lane, ROWS - 1)
        rows[span["lane"]] = max(rows.get(span["lane"], 0), span["row"] + 1)
    following: dict[tuple[str, int], float] = {}
    for span in reversed(spans):
        row = span["lane"], span["row"]
        span["until"] = min(span["end"], following.get(row, span["end"])) if _is_open(span) else span["end"]
        following[row] = span["start"]
    return [{"name": track, "rows": rows[track]} for track in TRACKS if track in rows and track not in NOT_DRAWN]


def _is_open(span: dict[str, Any]) -> bool:
    return bool(span["status"] == "unfinished")


def _end(span: dict[str, Any]) -> float:
    end: float = span["end"]
    return min(end, span["start"] + OPEN_SECONDS) if _is_open(span) else end
