"""OTLP over HTTP (OpenTelemetry protocol 1.x: ``OTLP/HTTP``), in protobuf."""

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
    """Keeps its connections. ``url`` is the whole address, its path included."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout_seconds: float) -> None:
        """Raises `NotConfigured`."""
        check_address(url, headers)
        self.address = redact_url(url)
        self._url = url
        self._headers = {**headers, "content-type": PROTOBUF, "content-encoding": "gzip", "accept": PROTOBUF}
        self._client = client(timeout_seconds)

    def send(self, request: ExportTraceServiceRequest) -> None:
        """Raises `Busy` or `Refused`."""
        answer = post(self._client, self._url, gzip.compress(request.SerializeToString(), 6), self._headers)
        if answer.content_type != PROTOBUF:
            return  # it was taken, and no more is said
        try:
            if answer.content is None:
                raise DecodeError
            said = ExportTraceServiceResponse.FromString(answer.content)
        except DecodeError:
            raise Busy(f"{self.address}: {answer.status}, but what it answers is not OTLP") from None
        check_partial_success(said, self.address, self._headers)

    def close(self) -> None:
        self._client.close()
