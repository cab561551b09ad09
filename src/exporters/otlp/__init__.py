"""OTLP: spans over HTTP and gRPC, and log records over HTTP."""

from exporters.otlp.logs import OtelLogs
from exporters.otlp.spans import Spans, destination

__all__ = ["OtelLogs", "Spans", "destination"]
