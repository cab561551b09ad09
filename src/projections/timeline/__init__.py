"""The timeline: a session's events folded into activities, each with the events it comes from."""

from projections.timeline.activity import Activity, Kind, Status
from projections.timeline.fold import extend, timeline
from projections.timeline.state import Step, Timeline

__all__ = ["Activity", "Kind", "Status", "Step", "Timeline", "extend", "timeline"]
