"""Sessions to a destination, at least once and in order, from the cursor on; and how they are sent."""

from exporters.delivery.destination import Busy, Destination, NotConfigured, Refused
from exporters.delivery.live import Attached, attach, follow
from exporters.delivery.outbox import DeliveryOutcome, deliver, due

__all__ = [
    "Attached",
    "Busy",
    "DeliveryOutcome",
    "Destination",
    "NotConfigured",
    "Refused",
    "attach",
    "deliver",
    "due",
    "follow",
]
