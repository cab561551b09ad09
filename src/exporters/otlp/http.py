"""OTLP over HTTP in protobuf (OpenTelemetry protocol 1.x: ``OTLP/HTTP``)."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from exporters.delivery.destination import Busy
from exporters.delivery.http import check_sendable as check_address
from exporters.delivery.http import client, post, redact_url
from exporters.otlp.partial_success import check_partial_success

PROTOBUF = "application/x-protobuf"


class HttpSender:
    """Sends spans over persistent connections. ``url`` includes the path."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout_seconds: float) -> None:
        """Raises `NotConfigured`."""
        check_address(url, headers)
        self.address = redact_url(url)
        self._url = url
        self._headers = {**headers, "content-type": PROTOBUF, "content-encoding": "gzip", "accept": PROTOBUF}
        self._client = client(timeout_seconds)

    def send(self, request: ExportTraceServiceRequest) -> None:
        """Send a request. Raises `Busy` or `Refused`."""
        response = post(self._client, self._url, gzip.compress(request.SerializeToString(), 6), self._headers)
        if response.content_type != PROTOBUF:
            return  # accepted, without details
        try:
            if response.content is None:
                raise DecodeError
            result = ExportTraceServiceResponse.FromString(response.content)
        except DecodeError:
            raise Busy(f"{self.address}: {response.status}, but the response is not OTLP") from None
        check_partial_success(result, self.address, self._headers)

    def close(self) -> None:
        self._client.close()
