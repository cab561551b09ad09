"""A call's log lines as OpenTelemetry log records, posted to a collector over OTLP; each with the span of its turn.

The messages are made of OTLP's own types, as the log classes of OpenTelemetry's SDK are still private. Needs the extra
``otlp``.
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
"""By the names that Python's levels have; others have no number."""
_INT64 = range(-(2**63), 2**63)


class SessionLine(NamedTuple):
    """A line with what is known of its surroundings now."""

    line: LogLine
    session: str
    span: tuple[str, str] | None
    """Trace and span id of its turn, in hex, once that is completed and if it is traced."""


class OtelLogs:
    """A destination. ``endpoint`` is the whole address, as in ``http://localhost:4318/v1/logs``.

    A line is sent as soon as it is there. If its turn is still open then, it has no span: a call that breaks off
    must not keep its last lines to itself.
    """

    batch = 512
    rules = TURNLOG

    def __init__(
        self, endpoint: str, headers: Mapping[str, str] | None = None, *, profile: Profile = "reference"
    ) -> None:
        """``profile``: that of the spans, which have others traces in each. Raises `NotConfigured`."""
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
    """Trace and span ids of the turns' own spans, by the number of the turn; only of traced turns."""
    if not call.logs:
        return {}
    if isinstance(call, Reading):
        by_number = read_identities(call.session_name, call.spans, by_turn=profile == "semconv")
        return {span.turn: by_number[span.id] for span in call.spans if span.kind == "turn" and span.turn is not None}
    ids = identities(call.session_name, [*call.spans, *call.open_spans])
    ended = {span.at: ids[span.id] for span in call.spans if span.name.startswith("Turn #")}
    return {number: ended[at] for number, at in enumerate(call.payloads_at, 1) if at in ended}


def request(items: Sequence[SessionLine]) -> ExportLogsServiceRequest:
    """The lines in their order, each under its logger as scope."""
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
        time_unix_nano=round(line.created * 1_000_000) * 1000,  # a float of seconds holds no more
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
    """Any JSON; an integer beyond 64 bits as text."""
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
