"""What ran when, and which events say so: a session's events folded into activities."""

from projections.timeline.activity import Activity, Kind, Status
from projections.timeline.fold import extend, timeline
from projections.timeline.state import Step, Timeline

__all__ = ["Activity", "Kind", "Status", "Step", "Timeline", "extend", "timeline"]
