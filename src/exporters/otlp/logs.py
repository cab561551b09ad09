"""A call's log lines as OpenTelemetry log records over OTLP/HTTP, each with the span of its turn.

The messages use OTLP's own protobuf types, as the SDK's log classes are still private. Needs the extra ``otlp``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from exporters.delivery.http import check_sendable, client, post, redact_url
from exporters.logs.body import identity
from exporters.otlp.spans import REFERENCE_RESOURCE, Profile
from projections.caller import RULES as TURNLOG
from projections.caller import Reading
from projections.model import LogLine
from projections.reference.replay import Call
from projections.reference.spans.lifecycle import identities
from projections.spans import identities as read_identities

SEVERITY: Mapping[str, SeverityNumber.ValueType] = {
    "TRACE": SeverityNumber.SEVERITY_NUMBER_TRACE,
    "DEBUG": SeverityNumber.SEVERITY_NUMBER_DEBUG,
    "INFO": SeverityNumber.SEVERITY_NUMBER_INFO,
    "WARN": SeverityNumber.SEVERITY_NUMBER_WARN,
    "WARNING": SeverityNumber.SEVERITY_NUMBER_WARN,
    "ERROR": SeverityNumber.SEVERITY_NUMBER_ERROR,
    "CRITICAL": SeverityNumber.SEVERITY_NUMBER_FATAL,
    "FATAL": SeverityNumber.SEVERITY_NUMBER_FATAL,
}
"""Severity numbers by Python level name; other levels have none."""
_INT64 = range(-(2**63), 2**63)


class SessionLine(NamedTuple):
    """A log line with its session and span."""

    line: LogLine
    session: str
    span: tuple[str, str] | None
    """Trace and span id of its turn in hex; None until the turn is completed, or if it is not traced."""


class OtelLogs:
    """A `Destination` for log lines. ``endpoint`` includes the path, as in ``http://localhost:4318/v1/logs``.

    A line is sent as soon as it is recorded, without a span if its turn is still open: the last lines of a call that
    breaks off must be delivered too.
    """

    batch = 512
    rules = TURNLOG

    def __init__(
        self, endpoint: str, headers: Mapping[str, str] | None = None, *, profile: Profile = "reference"
    ) -> None:
        """``profile`` must be that of the spans, as trace ids depend on it. Raises `NotConfigured`."""
        check_sendable(endpoint, headers or {})
        self.name = f"logs-otlp {redact_url(endpoint)}"
        self._endpoint = endpoint
        self._profile = profile
        self._headers = {"Content-Type": "application/x-protobuf", **(headers or {})}
        self._client = client()

    def items(self, call: Call | Reading) -> list[SessionLine]:
        spans = span_ids_of_turns(call, self._profile)
        return [
            SessionLine(line, call.session_name, None if line.turn is None else spans.get(line.turn))
            for line in call.logs
        ]

    def encode(self, item: SessionLine) -> bytes:
        return identity(item.line)

    def send(self, items: Sequence[SessionLine]) -> None:
        post(self._client, self._endpoint, request(items).SerializeToString(), self._headers)

    def close(self) -> None:
        self._client.close()


def span_ids_of_turns(call: Call | Reading, profile: Profile = "reference") -> dict[int, tuple[str, str]]:
    """Trace and span ids of the turns' own spans, by turn number; turns that are not traced are missing."""
    if not call.logs:
        return {}
    if isinstance(call, Reading):
        by_number = read_identities(call.session_name, call.spans, by_turn=profile == "semconv")
        return {span.turn: by_number[span.id] for span in call.spans if span.kind == "turn" and span.turn is not None}
    ids = identities(call.session_name, [*call.spans, *call.open_spans])
    ended = {span.at: ids[span.id] for span in call.spans if span.name.startswith("Turn #")}
    return {number: ended[at] for number, at in enumerate(call.payloads_at, 1) if at in ended}


def request(items: Sequence[SessionLine]) -> ExportLogsServiceRequest:
    """The export request: the lines in order, with their loggers as scopes."""
    scopes = [
        ScopeLogs(scope=InstrumentationScope(name=logger), log_records=map(_record, lines))
        for logger, lines in groupby(items, key=lambda item: item.line.logger)
    ]
    resource = Resource(attributes=_pairs(REFERENCE_RESOURCE.attributes))
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(resource=resource, scope_logs=scopes)])


def _record(item: SessionLine) -> LogRecord:
    line, (trace_id, span_id) = item.line, item.span or ("", "")
    about = {"session.id": item.session} | ({} if line.turn_id is None else {"turn.id": line.turn_id})
    return LogRecord(
        time_unix_nano=round(line.created * 1_000_000) * 1000,  # the precision of a float of seconds
        severity_number=SEVERITY.get(line.level, SeverityNumber.SEVERITY_NUMBER_UNSPECIFIED),
        severity_text=line.level,
        body=AnyValue(string_value=line.message),
        attributes=_pairs({**about, **line.attributes}),
        trace_id=bytes.fromhex(trace_id),
        span_id=bytes.fromhex(span_id),
    )


def _pairs(values: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in values.items()]


def _value(value: Any) -> AnyValue:
    """A JSON value as OTLP's ``AnyValue``; an integer beyond 64 bits becomes text."""
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int() if value in _INT64:
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=_pairs(value)))
        case list() | tuple():
            return AnyValue(array_value=ArrayValue(values=map(_value, value)))
        case _:
            return AnyValue(string_value=str(value))
