"""Analytics payloads: their schema, and where they are posted."""

from exporters.analytics.destination import Analytics, Routing, routing

__all__ = ["Analytics", "Routing", "routing"]
