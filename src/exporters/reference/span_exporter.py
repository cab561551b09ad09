"""An OpenTelemetry span exporter over OTLP/HTTP that uses our bounded requests (`exporters.delivery.http`)."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_HEADERS,
    OTEL_EXPORTER_OTLP_TIMEOUT,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_HEADERS,
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.util.re import parse_env_headers

from exporters.delivery.destination import Busy, Refused
from exporters.delivery.http import TIMEOUT_SECONDS, check_sendable, client, post
from exporters.delivery.retry import Patience, retrying

log = logging.getLogger("turnlog")

DEFAULT_ENDPOINT = "http://localhost:4318"


class BoundedSpanExporter(SpanExporter):
    """Posts each batch until it is accepted, refused or out of time; a batch that is lost is logged."""

    def __init__(self, endpoint: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        """The defaults are those of OpenTelemetry's variables (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``…_HEADERS``,
        ``…_TIMEOUT``, and their ``…_TRACES_…`` variants). Raises `NotConfigured`.
        """
        base = os.environ.get(OTEL_EXPORTER_OTLP_ENDPOINT) or DEFAULT_ENDPOINT
        traces = os.environ.get(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) or f"{base.removesuffix('/')}/v1/traces"
        self._url = endpoint or traces
        defaults = _environment(OTEL_EXPORTER_OTLP_TRACES_HEADERS, OTEL_EXPORTER_OTLP_HEADERS)
        own = {name.lower(): value for name, value in (headers or {}).items()}
        self._headers = {**parse_env_headers(defaults, liberal=True), **own, "content-type": "application/x-protobuf"}
        check_sendable(self._url, self._headers)
        seconds = float(_environment(OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT) or TIMEOUT_SECONDS)
        self._patience = Patience(in_all=seconds)
        self._client, self._stop = client(seconds), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            body = encode_spans(spans).SerializeToString()
            retrying(self._patience, self._stop)(post, self._client, self._url, body, self._headers)
        except (Busy, Refused) as error:
            log.warning("%d spans were not sent: %s", len(spans), error)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._stop.set()
        self._client.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return True: nothing is buffered."""
        return True


def _environment(*names: str) -> str:
    """The value of the first variable that is set, else an empty string."""
    return next((value for name in names if (value := os.environ.get(name))), "")
