"""OTLP over gRPC, with every status told apart: taken, `Busy`, `Refused`."""

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
"""OTLP's retryable codes (OTLP 1.x, "OTLP/gRPC Response"), and the two that a connection dies with, as HTTP's 5xx."""
CHANNEL = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
             ("grpc.max_reconnect_backoff_ms", 1000),
           ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
           ("grpc.max_metadata_size", 8192), ("grpc.absolute_max_metadata_size", 16384))  # fmt: skip
"""gRPC's own pause grows to two minutes, in which every send would fail at once; pauses are made by the deliverer. An
answer is a few bytes; what is larger, or has more headers and trailers, is RESOURCE_EXHAUSTED."""
_NAME, _VALUE = re.compile(r"[0-9a-z_.-]+"), re.compile(r"[\x20-\x7e]*")


class GrpcSender:
    """Connects when it first sends, and anew in a process that was forked since: a channel does not outlive a fork."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], timeout_seconds: float) -> None:
        """Raises `NotConfigured`."""
        scheme, _, rest = endpoint.rpartition("://")
        self.address = redact_url(endpoint if scheme else f"http://{endpoint}")
        self._target = rest.partition("/")[0].rpartition("@")[2]
        self._tls = scheme.lower() == "https"
        self._headers = {name.lower(): value for name, value in headers.items()}
        for name, value in self._headers.items():
            if not _fits(name, value):
                raise NotConfigured(f"the value of the header {name!r} cannot be sent: it has to be printable ASCII")
        self._timeout = timeout_seconds
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._pid = 0

    def send(self, request: ExportTraceServiceRequest) -> None:
        """Raises `Busy` or `Refused`."""
        export = TraceServiceStub(self._connected()).Export  # type: ignore[no-untyped-call]
        try:
            answer = export(request, timeout=self._timeout, metadata=tuple(self._headers.items()))
        except grpc.RpcError as error:
            raise self._told_apart(error) from None  # never its chain: a call in it has the headers
        check_partial_success(answer, self.address, self._headers)

    def close(self) -> None:
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _connected(self) -> grpc.Channel:
        with self._lock:
            if self._channel is None or self._pid != os.getpid():
                to, how = self._target, grpc.Compression.Gzip
                self._channel = (
                    grpc.secure_channel(to, grpc.ssl_channel_credentials(), CHANNEL, how)
                    if self._tls
                    else grpc.insecure_channel(to, CHANNEL, how)
                )
                self._pid = os.getpid()
            return self._channel

    def _told_apart(self, error: Any) -> Busy | Refused:
        code = error.code()
        reason = f"{self.address}: {code.name}: {excerpt(self._headers, error.details() or '')}".rstrip(": ")
        return Busy(reason, _retry_after(error.trailing_metadata())) if code in BUSY else Refused(reason)


def _fits(name: str, value: str) -> bool:
    """Whether gRPC can carry it as text (its HTTP/2 mapping: "Custom-Metadata")."""
    return bool(_NAME.fullmatch(name) and _VALUE.fullmatch(value)) and not name.endswith("-bin")


def _retry_after(metadata: Any) -> float | None:
    """Seconds, from the status' ``RetryInfo``. `Busy` bounds them."""
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
