"""The lanes of the axis: overlapping spans of a lane in rows."""

from __future__ import annotations

from typing import Any

from exporters.files.framework_activities import TRACKS
from exporters.files.shapes import Shape, lay_out

NOT_DRAWN = ("turns", "session")
"""Tracks that the page draws as bands, or not at all."""


def lay_out_spans(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort the spans by start, set the row of each, and return the lanes that are in use, from top to bottom."""
    spans.sort(key=lambda span: (span["start"], span["end"]))
    shapes = [Shape(s["lane"], "", "", round(s["start"] * 1e9), round(s["end"] * 1e9), {}) for s in spans]
    lay_out(shapes)
    rows: dict[str, int] = {}
    for span, shape in zip(spans, shapes, strict=True):
        span["row"] = shape.lane
        rows[span["lane"]] = max(rows.get(span["lane"], 0), shape.lane + 1)
    return [{"name": track, "rows": rows[track]} for track in TRACKS if track in rows and track not in NOT_DRAWN]
