"""Span trees as OpenTelemetry spans, sent over OTLP.

Names, string attributes and times are those of the replay, so those of the reference. Trace and span ids are derived
from the session and the span's place in it: whoever stores spans by id has them once, however often they are sent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from eventstore.errors import TurnlogError
from projections.replay import Call
from projections.span import identities
from projections.state import Span

RESOURCE = Resource({"sdk.name": "AGENTS", "sdk.version": "1.0.2", "service.name": "videosdk-otel-telemetry-agents"})
"""As the reference's: its traces and ours belong to one service."""
SCOPE = InstrumentationScope("turnlog")
BATCH = 512
"""So many spans go in one request."""
Protocol = Literal["http/protobuf", "grpc"]


class NotExported(TurnlogError):
    """The collector did not take the spans."""


def otel_spans(call: Call, session_id: str) -> list[ReadableSpan]:
    """The call's spans that have ended, as OpenTelemetry has them; parents before their children.

    A span whose parent has not ended (the call goes on, or was cut off) names it all the same.
    """
    ids = identities(session_id, [*call.spans, *call.open_spans])
    contexts = {number: _context(*pair) for number, pair in ids.items()}
    return [_readable(span, contexts) for span in sorted(call.spans, key=lambda span: span.id)]


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _readable(span: Span, contexts: dict[int, SpanContext]) -> ReadableSpan:
    end_ns = span.end_ns or span.start_ns
    # the reference stamps a span's events when it builds the span, which is when it ends
    events = [SpanEvent(event["name"], _attributes(event["attributes"]), end_ns) for event in span.events]
    return ReadableSpan(
        name=span.name,
        context=contexts[span.id],
        parent=None if span.parent is None else contexts.get(span.parent),
        resource=RESOURCE,
        attributes=span.attributes,
        events=events,
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode[span.status], span.status_message or None),
        start_time=span.start_ns,
        end_time=end_ns,
        instrumentation_scope=SCOPE,
    )


def _attributes(values: dict[str, object]) -> dict[str, str | bool | int | float]:
    return {k: v if isinstance(v, (str, bool, int, float)) else str(v) for k, v in values.items() if v is not None}


def exporter(endpoint: str, protocol: Protocol, headers: dict[str, str], timeout_seconds: float = 10.0) -> SpanExporter:
    """An exporter of OpenTelemetry's own, which retries what may pass. ``endpoint`` as the collector documents it."""
    try:
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc
        from opentelemetry.exporter.otlp.proto.http import trace_exporter as http
    except ModuleNotFoundError as error:
        raise NotExported(f"OTLP needs the extra: pip install 'turnlog[otlp]' ({error})") from error
    if protocol == "grpc":
        insecure = not endpoint.startswith("https://")
        return grpc.OTLPSpanExporter(
            endpoint=endpoint, insecure=insecure, headers=tuple(headers.items()), timeout=timeout_seconds
        )
    return http.OTLPSpanExporter(endpoint=endpoint, headers=headers, timeout=timeout_seconds)


def send(spans: Iterable[ReadableSpan], to: SpanExporter) -> int:
    """Send all spans in bounded batches; returns how many.

    Raises `NotExported` with the collector's reason; what was sent before stays sent, and sending all again is right.
    """
    count = 0
    with _Overheard() as said:
        for batch in _batches(spans):
            if to.export(batch) is not SpanExportResult.SUCCESS:
                raise NotExported("; ".join(said[-1:]) or "the collector did not take the spans")
            count += len(batch)
    return count


def _batches(spans: Iterable[ReadableSpan]) -> Iterator[list[ReadableSpan]]:
    rest = iter(spans)
    while batch := list(islice(rest, BATCH)):
        yield batch


class _Overheard(logging.Handler):
    """OpenTelemetry's exporters say why they failed in their log only."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []
        self._logger = logging.getLogger("opentelemetry.exporter.otlp")

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())

    def __enter__(self) -> list[str]:
        self._logger.addHandler(self)
        self._propagates, self._logger.propagate = self._logger.propagate, False
        return self.said

    def __exit__(self, *_error: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagates
