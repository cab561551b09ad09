"""The timeline: a session's events folded into activities, each with the events it comes from."""

from projections.timeline.activity import Activity, Kind, Status, elapsed_ms
from projections.timeline.fold import extend, timeline
from projections.timeline.state import Step, Timeline

__all__ = ["Activity", "Kind", "Status", "Step", "Timeline", "elapsed_ms", "extend", "timeline"]
