"""Span trees as OpenTelemetry spans, sent over OTLP.

Trace and span ids are derived from the session and the span's place in it: whoever stores spans by id has them once,
however often they are sent. Profile ``reference`` has the names, string attributes and times of the replay, so those of
the reference; ``semconv`` the same spans with the attributes of `exporters.semconv`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from exporters import semconv
from exporters.destination import NotConfigured
from exporters.http import TIMEOUT_SECONDS
from projections.replay import Call
from projections.span import identities
from projections.state import Span

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Profile = Literal["reference", "semconv"]
Wire = Literal["http/protobuf", "grpc"]
REFERENCE_RESOURCE = Resource(
    {"sdk.name": "AGENTS", "sdk.version": "1.0.2", "service.name": "videosdk-otel-telemetry-agents"}
)
"""As the reference's: its traces and ours belong to one service."""
SCOPE = InstrumentationScope("turnlog")
LARGEST = 3 << 20
"""Bytes in one request; of more, it is two. Over gRPC a collector takes 4 MiB, if it was not told otherwise."""
_LATEST_NS = (1 << 64) - 1
"""OTLP's times are unsigned; one that an agent handed over may be anything."""


class Sender(Protocol):
    """One way to a collector: `exporters.otlp_http`, `exporters.otlp_grpc`."""

    address: str
    """As it may be shown."""

    def send(self, request: ExportTraceServiceRequest) -> None:
        """Raises `Busy` or `Refused`."""
        ...

    def close(self) -> None: ...


class Spans:
    """A `Destination`: a call's ended spans, to one collector."""

    batch = 512

    def __init__(self, sender: Sender, profile: Profile = "reference", resource: Resource = REFERENCE_RESOURCE) -> None:
        self.name = f"otlp {sender.address}" + (" semconv" if profile == "semconv" else "")
        self._sender = sender
        self._profile = profile
        self._resource = resource

    def items(self, call: Call) -> Sequence[ReadableSpan]:
        """The spans in the order in which they ended, so that later ones come after those that were there."""
        return otel_spans(call, self._profile, self._resource)

    def encode(self, item: ReadableSpan) -> bytes:
        """All that a span says; where it comes from (its resource) is not its content."""
        context, parent = item.get_span_context(), item.parent
        assert context is not None
        return msgspec.json.encode(
            (
                f"{context.trace_id:032x}", f"{context.span_id:016x}", f"{parent.span_id:016x}" if parent else None,
                item.name, item.start_time, item.end_time, dict(item.attributes or {}),
                [(event.name, event.timestamp, dict(event.attributes or {})) for event in item.events],
                item.status.status_code.name, item.status.description,
            )
        )  # fmt: skip

    def send(self, items: Sequence[ReadableSpan]) -> None:
        """One request, or more if it is too large. Raises `Busy` or `Refused`; all of it may be sent again."""
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        request = encode_spans(items)
        if request.ByteSize() > LARGEST and len(items) > 1:
            half = len(items) // 2
            self.send(items[:half])
            self.send(items[half:])
        elif items:
            self._sender.send(request)

    def close(self) -> None:
        self._sender.close()


def destination(
    endpoint: str,
    wire: Wire = "http/protobuf",
    headers: Mapping[str, str] | None = None,
    *,
    profile: Profile = "reference",
    service_name: str | None = None,
    project: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Spans:
    """The collector at ``endpoint``, as its manual gives it: ``http://localhost:4318/v1/traces``, or for gRPC
    ``http://localhost:4317`` or ``localhost:4317``; ``https`` means TLS.

    ``project`` is what Arize Phoenix files the spans under. Raises `NotConfigured`.
    """
    sender: Sender
    try:
        if wire == "grpc":
            from exporters.otlp_grpc import GrpcSender

            sender = GrpcSender(endpoint, headers or {}, timeout_seconds)
        else:
            from exporters.otlp_http import HttpSender

            sender = HttpSender(endpoint, headers or {}, timeout_seconds)
    except ModuleNotFoundError as error:
        raise NotConfigured(f"OTLP needs the extra: pip install 'turnlog[otlp]' ({error})") from error
    return Spans(sender, profile, resource(service_name, project))


def resource(service_name: str | None = None, project: str | None = None) -> Resource:
    """Where the spans come from: the reference's service, if no other is named."""
    named = {"service.name": service_name, "openinference.project.name": project}
    return Resource({**REFERENCE_RESOURCE.attributes, **{name: value for name, value in named.items() if value}})


def otel_spans(
    call: Call, profile: Profile = "reference", resource: Resource = REFERENCE_RESOURCE
) -> list[ReadableSpan]:
    """The call's spans that have ended, as OpenTelemetry has them, in the order in which they ended.

    A span whose parent has not ended (the call goes on, or was cut off) names it all the same.
    """
    ids = identities(call.session_name, [*call.spans, *call.open_spans])
    contexts = {number: _context(*pair) for number, pair in ids.items()}
    described = semconv.attributes(call) if profile == "semconv" else {}
    return [_readable(span, contexts, described.get(span.id), resource) for span in call.spans]


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _readable(
    span: Span, contexts: dict[int, SpanContext], described: semconv.Attributes | None, resource: Resource
) -> ReadableSpan:
    start_ns, end_ns = (min(max(ns, 0), _LATEST_NS) for ns in (span.start_ns, span.end_ns or span.start_ns))
    return ReadableSpan(
        name=span.name,
        context=contexts[span.id],
        parent=None if span.parent is None else contexts.get(span.parent),
        resource=resource,
        attributes=span.attributes if described is None else described,
        events=[_event(event, end_ns, described is None) for event in span.events],
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode[span.status], span.status_message or None),
        start_time=start_ns,
        end_time=end_ns,
        instrumentation_scope=SCOPE,
    )


def _event(event: dict[str, Any], end_ns: int, by_reference: bool) -> SpanEvent:
    """The reference stamps a span's events when it builds the span, which is when it ends."""
    name, values = event["name"], event["attributes"]
    name, values = (name, _attributes(values)) if by_reference else semconv.event(name, values)
    return SpanEvent(name, values, min(max(event.get("time_ns", end_ns), 0), _LATEST_NS))


def _attributes(values: dict[str, Any]) -> dict[str, str | bool | int | float]:
    return {k: v if isinstance(v, (str, bool, float)) else str(v) for k, v in values.items() if v is not None}
