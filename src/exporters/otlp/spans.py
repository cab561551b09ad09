"""Span trees as OpenTelemetry spans, sent over OTLP.

Trace and span ids are derived from the session and the span's subject, so a backend that stores spans by id has each
once, however often it is sent. Profile ``reference`` exports the reading's own attributes (under a framework's rule set
those of the framework), ``semconv`` those of `exporters.otlp.semconv`. For the caller's reading, ``semconv`` makes each
turn a trace: backends take a conversation's input, output and latency from the roots of its traces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event as SpanEvent
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from exporters.delivery.destination import NotConfigured
from exporters.delivery.http import TIMEOUT_SECONDS
from exporters.otlp import semconv
from exporters.otlp.types import otlp_attributes
from projections.caller import RULES as TURNLOG
from projections.caller import Reading
from projections.reference.replay import Call
from projections.reference.spans.lifecycle import identities
from projections.reference.state import Span
from projections.spans import Span as ReadSpan
from projections.spans import identities as read_identities

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Describe = Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]]
Profile = Literal["reference", "semconv"]
Wire = Literal["http/protobuf", "grpc"]
REFERENCE_RESOURCE = Resource(
    {"sdk.name": "AGENTS", "sdk.version": "1.0.2", "service.name": "videosdk-otel-telemetry-agents"}
)
"""The reference's resource, so that its own traces and ours belong to one service."""
SCOPE = InstrumentationScope("turnlog")
MAX_REQUEST_BYTES = 3 << 20
"""A larger request is split. Over gRPC, collectors accept 4 MiB by default."""
_LATEST_NS = (1 << 64) - 1
"""OTLP's times are unsigned 64-bit; times from an agent are untrusted and clamped."""


class Sender(Protocol):
    """A connection to a collector: `exporters.otlp.http` or `exporters.otlp.grpc`."""

    address: str
    """The address without secrets."""

    def send(self, request: ExportTraceServiceRequest) -> None:
        """Send a request. Raises `Busy` or `Refused`."""
        ...

    def close(self) -> None: ...


class Spans:
    """A `Destination` for a call's ended spans."""

    batch = 512
    rules = TURNLOG

    def __init__(
        self, sender: Sender, profile: Profile = "reference", resource: Mapping[str, str] | None = None
    ) -> None:
        """``resource``: resource attributes that override the session's."""
        self.name = f"otlp {sender.address}" + (" semconv" if profile == "semconv" else "")
        self._sender = sender
        self._profile = profile
        self._resource = dict(resource or {})

    def items(self, call: Call | Reading) -> Sequence[ReadableSpan]:
        """The spans, in an order that later spans only extend."""
        return otel_spans(call, self._profile, resource_of(call, self._resource))

    def encode(self, item: ReadableSpan) -> bytes:
        """The span's whole content, without its resource."""
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
        """Send the spans, in several requests if need be. Raises `Busy` or `Refused`; all may be sent again."""
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        request = encode_spans(items)
        if request.ByteSize() > MAX_REQUEST_BYTES and len(items) > 1:
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
    """Return the destination for a collector. Raises `NotConfigured`.

    ``endpoint`` is as in the collector's manual: ``http://localhost:4318/v1/traces``, or for gRPC
    ``http://localhost:4317`` or ``localhost:4317``; ``https`` means TLS. ``project`` is the Arize Phoenix project.
    """
    sender: Sender
    try:
        if wire == "grpc":
            from exporters.otlp.grpc import GrpcSender

            sender = GrpcSender(endpoint, headers or {}, timeout_seconds)
        else:
            from exporters.otlp.http import HttpSender

            sender = HttpSender(endpoint, headers or {}, timeout_seconds)
    except ModuleNotFoundError as error:
        raise NotConfigured(f"OTLP needs the extra: pip install 'turnlog[otlp]' ({error})") from error
    resource = {"service.name": service_name, "openinference.project.name": project}
    return Spans(sender, profile, {name: value for name, value in resource.items() if value})


def resource_of(call: Call | Reading, overrides: Mapping[str, str]) -> Resource:
    """The spans' resource: the session's framework and its version, with ``overrides``."""
    if isinstance(call, Reading):
        framework, release = call.timeline.framework or "turnlog", call.timeline.framework_version
        own = {"service.name": framework, "sdk.name": framework, "sdk.version": release}
        own |= {"telemetry.sdk.name": "turnlog", "telemetry.sdk.version": version("turnlog")}
    else:
        release = call.rules.partition("+")[0].removeprefix("videosdk-")
        own = dict(REFERENCE_RESOURCE.attributes)  # type: ignore[arg-type]
        if release.count(".") > 1:  # the first rule set's version is that of the constant
            own["sdk.version"] = release
    return Resource({name: value for name, value in {**own, **overrides}.items() if value})


def otel_spans(
    call: Call | Reading, profile: Profile = "reference", resource: Resource = REFERENCE_RESOURCE
) -> list[ReadableSpan]:
    """The call's spans as OpenTelemetry spans; for a framework's reading the ended ones, in the order of their ends.

    A span names its parent even if that has not ended (the call is in progress, or broke off).
    """
    if isinstance(call, Reading):
        return _reading_spans(call, profile, resource)
    ids = identities(call.session_name, [*call.spans, *call.open_spans])
    contexts = {number: _context(*pair) for number, pair in ids.items()}
    described = semconv.attributes(call) if profile == "semconv" else {}
    return [_readable(span, contexts, described.get(span.id), resource) for span in call.spans]


def _reading_spans(r: Reading, profile: Profile, resource: Resource) -> list[ReadableSpan]:
    by_turn = profile == "semconv" and bool(r.turns)
    spans = semconv.turns_as_roots(r.spans) if by_turn else r.spans
    ids = read_identities(r.session_name, spans, by_turn=by_turn)
    contexts = {name: _context(*pair) for name, pair in ids.items()}
    found = []
    for span in spans:
        own = (
            otlp_attributes(span.attributes)
            if profile == "reference"
            else semconv.span_attributes(r.session_name, span)
        )
        found.append(_readable(span, contexts, own, resource))
    return found


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _readable(
    span: Span | ReadSpan, contexts: Mapping[Any, SpanContext], described: semconv.Attributes | None, resource: Resource
) -> ReadableSpan:
    describe = _describe(span, described)
    start_ns, end_ns = (min(max(ns, 0), _LATEST_NS) for ns in (span.start_ns, span.end_ns or span.start_ns))
    return ReadableSpan(
        name=span.name,
        context=contexts[span.id],
        parent=None if span.parent is None else contexts.get(span.parent),
        resource=resource,
        attributes=span.attributes if described is None else described,
        events=[_event(event, end_ns, describe) for event in span.events],
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode[span.status], span.status_message or None),
        start_time=start_ns,
        end_time=end_ns,
        instrumentation_scope=SCOPE,
    )


def _event(event: dict[str, Any], end_ns: int, describe: Describe) -> SpanEvent:
    """An event without a time gets the span's end, as the reference builds a span and its events at that moment."""
    name, values = describe(event["name"], event["attributes"])
    return SpanEvent(name, values, min(max(event.get("time_ns", end_ns), 0), _LATEST_NS))


def _describe(span: Span | ReadSpan, described: semconv.Attributes | None) -> Describe:
    if isinstance(span, ReadSpan):
        return lambda name, values: (name, otlp_attributes(values))
    return semconv.span_event if described is not None else lambda name, values: (name, _attributes(values))


def _attributes(values: dict[str, Any]) -> dict[str, str | bool | int | float]:
    return {k: v if isinstance(v, (str, bool, float)) else str(v) for k, v in values.items() if v is not None}
