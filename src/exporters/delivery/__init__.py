"""Delivery of sessions to destinations: at least once, in order, resuming at the cursor."""

from exporters.delivery.destination import Busy, Destination, NotConfigured, Refused
from exporters.delivery.live import Attached, attach, follow
from exporters.delivery.outbox import DeliveryOutcome, deliver, due_cursors

__all__ = [
    "Attached",
    "Busy",
    "DeliveryOutcome",
    "Destination",
    "NotConfigured",
    "Refused",
    "attach",
    "deliver",
    "due_cursors",
    "follow",
]
