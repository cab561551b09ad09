"""Analytics payloads: their schema and the HTTP destination."""

from exporters.analytics.destination import Analytics, Routing, routing

__all__ = ["Analytics", "Routing", "routing"]
