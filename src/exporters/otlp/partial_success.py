"""OTLP partial success: the collector accepted a request, but perhaps not all of its spans."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from exporters.delivery.destination import Refused
from exporters.delivery.http import excerpt

log = logging.getLogger("turnlog")


def check_partial_success(response: ExportTraceServiceResponse, address: str, headers: Mapping[str, str]) -> None:
    """Raise `Refused` if spans were rejected (OTLP: a partial success is never retried)."""
    rejected = response.partial_success.rejected_spans
    reason = excerpt(headers, response.partial_success.error_message)
    if rejected:
        raise Refused(f"{address}: {rejected} spans rejected: {reason}".rstrip(": "))
    if reason:
        log.warning("%s accepted the spans with a warning: %s", address, reason)
