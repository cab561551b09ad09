"""The reference's telemetry functions: spans arrive at a real endpoint, with its attributes, times and token."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode
from opentelemetry.util._once import Once

from exporters.reference import telemetry
from exporters.reference.telemetry import (
    auto_initialize_telemetry_and_logs,
    complete_span,
    create_span,
    shutdown_telemetry,
)
from support.http_receiver import Receiver
from support.strategies import Evil

KEY = "jwt-77aa31"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(telemetry, "_warned", set())
    yield
    shutdown_telemetry()


@pytest.fixture
def endpoint() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found
        shutdown_telemetry()


def begin(url: str, **more: Any) -> None:
    attributes = {"observability": KEY, "traces": {"enabled": True, "pbEndPoint": url}} | more.pop("attributes", {})
    auto_initialize_telemetry_and_logs("room", "peer", attributes, **more)


def arrived(endpoint: Receiver) -> list[Any]:
    assert shutdown_telemetry()
    return [
        (resource.resource, scope.scope.name, span)
        for request in endpoint.requests
        for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def texts(attributes: Any) -> dict[str, str]:
    return {attribute.key: attribute.value.string_value for attribute in attributes}


def test_spans_arrive(endpoint: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Break: in telemetry.py, leave the numbers as they are; forget the parent; or end a span twice."""
    begin(endpoint.url, sdk_metadata={"sdk": "agents", "sdk_version": "9.9"})
    given = {"count": 7, "odd": Evil()}
    parent = create_span("parent", given)
    child = create_span("child", parent_span=parent)
    complete_span(child, StatusCode.ERROR, "no answer")
    complete_span(parent, StatusCode.OK, "done")
    complete_span(parent, StatusCode.ERROR, "again")
    assert list(given) == ["count", "odd"], "the caller's attributes are the caller's"
    assert caplog.text == "", "OpenTelemetry has nothing to complain of"
    (resource, scope, first), (_, _, second) = arrived(endpoint)
    assert texts(resource.attributes) == {
        "sdk.name": "AGENTS", "sdk.version": "9.9", "service.name": "videosdk-otel-telemetry-agents",
    }  # fmt: skip
    assert scope == "peer"
    assert [span.name for span in (first, second)] == ["child", "parent"]
    assert first.parent_span_id == second.span_id
    assert (first.status.code, first.status.message) == (StatusCode.ERROR.value, "no answer")
    assert (second.status.code, second.status.message) == (StatusCode.OK.value, "")
    said, also = texts(first.attributes), texts(second.attributes)
    assert said.pop("attiribute_id") != also.pop("attiribute_id")
    assert said == {"message": "no answer"}
    assert also == {"count": "7", "odd": "<unprintable Evil>", "message": "done"}
    assert endpoint.requests[0].headers["authorization"] == KEY


def test_times_are_on_the_monotonic_clock(endpoint: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break: in telemetry.py, take ``start_time`` as seconds since the epoch."""
    begin(endpoint.url)
    monkeypatch.setattr(time, "perf_counter", lambda: 100.0)
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    earlier = create_span("earlier", start_time=97.5)
    complete_span(earlier, StatusCode.OK, end_time=98.0)
    now = create_span("now")
    monkeypatch.setattr(time, "perf_counter", lambda: 101.0)
    complete_span(now, StatusCode.OK)
    monkeypatch.undo()
    (_, _, first), (_, _, second) = arrived(endpoint)
    assert first.start_time_unix_nano == 10**18 - 2_500_000_000
    assert first.end_time_unix_nano == 10**18 - 2_000_000_000
    assert second.start_time_unix_nano == 10**18
    assert second.end_time_unix_nano == 10**18 + 1_000_000_000


def test_headers_of_one_s_own_go_in_place_of_the_token(endpoint: Receiver) -> None:
    """Break: in telemetry.py, send both."""
    config = {"enabled": True, "pbEndPoint": endpoint.url, "export_headers": {"x-key": "mine"}}
    begin("http://127.0.0.1:9", custom_traces_config=config)
    complete_span(create_span("one"), StatusCode.OK)
    assert len(arrived(endpoint)) == 1
    assert endpoint.requests[0].headers["x-key"] == "mine"
    assert "authorization" not in endpoint.requests[0].headers


@pytest.mark.parametrize(
    "attributes", [None, {}, {"observability": KEY}, {"traces": {"enabled": False, "pbEndPoint": "http://x"}}]
)
def test_nothing_is_traced_unless_it_is_enabled(attributes: dict[str, Any] | None) -> None:
    auto_initialize_telemetry_and_logs("room", "peer", attributes)
    assert create_span("one") is None
    complete_span(None, StatusCode.OK)
    assert shutdown_telemetry()


def test_the_global_provider_is_set_only_if_there_is_none(endpoint: Receiver) -> None:
    """Break: in telemetry.py, set it always (OpenTelemetry then logs a warning)."""
    begin(endpoint.url)
    first = trace.get_tracer_provider()
    assert isinstance(first, TracerProvider)
    begin(endpoint.url)
    assert trace.get_tracer_provider() is first
    complete_span(create_span("one"), StatusCode.OK)
    assert len(arrived(endpoint)) == 1, "of the second, which is not the global one"
    first.shutdown()


def test_a_set_provider_is_left_alone(endpoint: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    mine = TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(mine)
    begin(endpoint.url)
    assert trace.get_tracer_provider() is mine
    assert caplog.text == ""


def test_what_goes_wrong_is_logged_once_and_never_raised(endpoint: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Break: in telemetry.py, ``_once``, log always; or in ``end``, without the ``finally``."""
    begin(endpoint.url)
    for _ in range(2):
        assert create_span("odd", start_time="soon") is None  # type: ignore[arg-type]
        complete_span(create_span("ended"), StatusCode.OK, end_time="later")  # type: ignore[arg-type]
        complete_span("no span", StatusCode.OK)  # type: ignore[arg-type]
        begin(endpoint.url, custom_traces_config=KEY)
    lines = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert lines == ["a span was not created", "a span was not ended properly", "traces are not exported"]
    assert KEY not in caplog.text
    assert [span.name for _, _, span in arrived(endpoint)] == ["ended", "ended"]


def test_without_the_extra_it_says_so(
    endpoint: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "exporters.reference.span_exporter", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.common.trace_encoder", None)
    with caplog.at_level(logging.WARNING):
        begin(endpoint.url)
    assert "pip install 'turnlog[otlp]'" in caplog.text
    assert create_span("one") is None
