"""What a collector says of a request that it took: all of it, or a part."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from exporters.delivery.destination import Refused
from exporters.delivery.http import excerpt

log = logging.getLogger("turnlog")


def check_partial_success(answer: ExportTraceServiceResponse, address: str, headers: Mapping[str, str]) -> None:
    """Raises `Refused` if spans were rejected, as they would be again (OTLP: partial success is never retried)."""
    rejected = answer.partial_success.rejected_spans
    reason = excerpt(headers, answer.partial_success.error_message)
    if rejected:
        raise Refused(f"{address}: {rejected} spans rejected: {reason}".rstrip(": "))
    if reason:
        log.warning("%s took the spans and says: %s", address, reason)
