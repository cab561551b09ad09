"""OTLP: spans and log records, over HTTP and gRPC."""

from exporters.otlp.logs import OtelLogs
from exporters.otlp.spans import Spans, destination

__all__ = ["OtelLogs", "Spans", "destination"]
