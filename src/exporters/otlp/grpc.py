"""OTLP over gRPC, with classified outcomes: accepted, `Busy` or `Refused`."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from exporters.delivery.destination import Busy, NotConfigured, Refused
from exporters.delivery.http import MAX_RESPONSE_BYTES, excerpt, redact_url
from exporters.otlp.partial_success import check_partial_success

BUSY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL,
    }
)  # fmt: skip
"""OTLP's retryable codes (OTLP 1.x, "OTLP/gRPC Response"), and the two of a broken connection, like HTTP's 5xx."""
CHANNEL = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
             ("grpc.max_reconnect_backoff_ms", 1000),
           ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
           ("grpc.max_metadata_size", 8192), ("grpc.absolute_max_metadata_size", 16384))  # fmt: skip
"""gRPC's own backoff would grow to two minutes, in which every send fails at once; it is bounded, as the delivery does
the waiting. A response is a few bytes; a larger body or more metadata is RESOURCE_EXHAUSTED."""
_NAME, _VALUE = re.compile(r"[0-9a-z_.-]+"), re.compile(r"[\x20-\x7e]*")


class GrpcSender:
    """Sends spans. Connects on the first send, and again after a fork, which a channel does not survive."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], timeout_seconds: float) -> None:
        """Raises `NotConfigured`."""
        scheme, _, rest = endpoint.rpartition("://")
        self.address = redact_url(endpoint if scheme else f"http://{endpoint}")
        self._target = rest.partition("/")[0].rpartition("@")[2]
        self._tls = scheme.lower() == "https"
        self._headers = {name.lower(): value for name, value in headers.items()}
        for name, value in self._headers.items():
            if not _is_text_metadata(name, value):
                raise NotConfigured(f"the value of the header {name!r} cannot be sent: it must be printable ASCII")
        self._timeout = timeout_seconds
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._pid = 0

    def send(self, request: ExportTraceServiceRequest) -> None:
        """Send a request. Raises `Busy` or `Refused`."""
        export = TraceServiceStub(self._connect()).Export  # type: ignore[no-untyped-call]
        try:
            response = export(request, timeout=self._timeout, metadata=tuple(self._headers.items()))
        except grpc.RpcError as error:
            raise self._classify(error) from None  # suppress the chain: a call in it has the headers
        check_partial_success(response, self.address, self._headers)

    def close(self) -> None:
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _connect(self) -> grpc.Channel:
        with self._lock:
            if self._channel is None or self._pid != os.getpid():
                target, compression = self._target, grpc.Compression.Gzip
                self._channel = (
                    grpc.secure_channel(target, grpc.ssl_channel_credentials(), CHANNEL, compression)
                    if self._tls
                    else grpc.insecure_channel(target, CHANNEL, compression)
                )
                self._pid = os.getpid()
            return self._channel

    def _classify(self, error: Any) -> Busy | Refused:
        code = error.code()
        reason = f"{self.address}: {code.name}: {excerpt(self._headers, error.details() or '')}".rstrip(": ")
        return Busy(reason, _retry_after(error.trailing_metadata())) if code in BUSY else Refused(reason)


def _is_text_metadata(name: str, value: str) -> bool:
    """True if gRPC can send the header as text (its HTTP/2 mapping: "Custom-Metadata")."""
    return bool(_NAME.fullmatch(name) and _VALUE.fullmatch(value)) and not name.endswith("-bin")


def _retry_after(metadata: Any) -> float | None:
    """The retry delay in seconds from the status' ``RetryInfo``, if any. `Busy` clamps it."""
    for name, value in metadata or ():
        if name == "grpc-status-details-bin":
            try:
                for detail in Status.FromString(value).details:
                    info = RetryInfo()
                    if detail.Unpack(info):
                        return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
            except DecodeError:
                return None
    return None
