"""A call's log lines go to a collector, or to a log endpoint, with all they say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from exporters.delivery.destination import Busy, Refused
from exporters.logs.destination import HttpLogs
from exporters.otlp.logs import OtelLogs, SessionLine, request
from exporters.otlp.spans import otel_spans
from projections import replay
from support.http_receiver import Receiver
from support.log_bodies import bodies, texts
from support.log_lines import TURN, hook, line
from support.strategies import JSON

OPENED = [
    hook(0, "set_traces_flow_manager", attached=True),
    hook(1, "traces.start_agent_joined_meeting", attributes={}),
    hook(2, "traces.start_agent_session", attributes={}),
    hook(3, "traces.start_main_turn"),
]
EVENTS = [
    *OPENED,
    line(4, "before"),
    hook(5, "start_turn"),
    hook(6, "on_llm_start"),
    line(7, "slow", level="WARNING", logger="agent.llm", attributes={"order": 7, "deep": {"a": [1.5, None, True]}}),
    hook(8, "on_llm_first_token"),
    hook(9, "complete_turn"),
    hook(10, "start_turn"),
    line(11, "open", level="CHATTY", created=1_700_000_000.25),
]


def test_a_collector_gets_them_with_the_span_of_their_turn() -> None:
    """Break: in otel_logs.py, ``turn_spans``, count turns from 0; or ``SEVERITY``."""
    call = replay(EVENTS)
    with Receiver() as endpoint:
        to = OtelLogs(endpoint.url, {"authorization": "key"})
        to.send(to.items(call))
        to.close()
    (got,) = endpoint.requests
    assert got.headers["content-type"] == "application/x-protobuf"
    assert got.headers["authorization"] == "key"
    (resource,) = ExportLogsServiceRequest.FromString(got.body).resource_logs
    assert {a.key: a.value.string_value for a in resource.resource.attributes} == {
        "sdk.name": "AGENTS", "sdk.version": "1.0.2", "service.name": "videosdk-otel-telemetry-agents",
    }  # fmt: skip
    records = [(scope.scope.name, record) for scope in resource.scope_logs for record in scope.log_records]
    assert [(name, r.body.string_value, r.severity_text, r.severity_number) for name, r in records] == [
        ("agent", "before", "INFO", 9), ("agent.llm", "slow", "WARNING", 13), ("agent", "open", "CHATTY", 0),
    ]  # fmt: skip
    (turn,) = [span for span in otel_spans(call, "s") if span.name == "Turn #1"]
    assert turn.context is not None
    linked = records[1][1]
    assert int.from_bytes(linked.trace_id, "big") == turn.context.trace_id
    assert int.from_bytes(linked.span_id, "big") == turn.context.span_id
    assert [record.span_id for _name, record in records[::2]] == [b"", b""]
    assert [record.time_unix_nano for _name, record in records] == [
        10**18 + 4 * 10**9, 10**18 + 7 * 10**9, 1_700_000_000_250_000_000,
    ]  # fmt: skip
    about = {a.key: a.value for a in linked.attributes}
    assert about["session.id"].string_value == "s"
    assert about["turn.id"].string_value == call.turns[0].turn_id
    assert about["order"].int_value == 7
    half, nothing, true = about["deep"].kvlist_value.values[0].value.array_value.values
    assert (half.double_value, nothing.WhichOneof("value"), true.bool_value) == (1.5, None, True)


@given(JSON)
def test_any_attribute_can_be_sent(value: Any) -> None:
    """Break: in otel_logs.py, ``_value``, take integers of any size."""
    (found,) = replay([line(0, attributes={"x": value, "big": 2**63})]).logs
    sent = request([SessionLine(found, "s", None)]).SerializeToString()
    assert ExportLogsServiceRequest.FromString(sent).resource_logs[0].scope_logs[0].log_records[0].attributes


@pytest.mark.parametrize("arrays", [False, True])
def test_an_endpoint_gets_the_reference_s_body(arrays: bool) -> None:
    """Break: in http_logs.py, leave the context out."""
    call = replay([*EVENTS, hook(12, "set_session_id", session_id="framework-1")])
    with Receiver() as endpoint:
        to = HttpLogs(endpoint.url, "room", "peer", jwt_key="key", arrays=arrays)
        items = to.items(call)
        for at in range(0, len(items), to.batch):
            to.send(items[at : at + to.batch])
        to.close()
    assert len(endpoint.requests) == (1 if arrays else 3)
    assert texts(endpoint) == ["before", "slow", "open"]
    assert endpoint.requests[0].headers["authorization"] == "key"
    slow = bodies(*endpoint.requests)[1]
    assert len(slow["attributes"].pop("dateTime")) == 23
    assert slow == {
        "logType": "WARNING", "logText": "slow", "debugMode": False, "dashboardLog": False,
        "serviceName": "videosdk-otel-telemetry-agents",
        "attributes": {
            "roomId": "room", "peerId": "peer", "sessionId": "framework-1", "sdk.name": "AGENTS",
            "sdk.version": "1.0.2", "service.name": "videosdk-otel-telemetry-agents", "origin": "agent.llm",
            "level": "WARNING", "order": 7, "deep": {"a": [1.5, None, True]},
        },
    }  # fmt: skip


@pytest.mark.parametrize("kind", [OtelLogs, HttpLogs])
def test_what_was_delivered_stays_what_it_was(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However far the call has gone, and in whatever time zone. Break: in log_body.py, put ``turn`` in the identity."""
    import time

    events = [*EVENTS, hook(12, "complete_turn"), hook(13, "set_session_id", session_id="x"), *turn(14), line(20)]
    to = kind("http://user:secret-pw@h/logs?key=secret-key")
    assert "secret" not in to.name + repr(to)
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    whole = [to.encode(item) for item in to.items(replay(events))]
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for at in range(len(events)):
        part = [to.encode(item) for item in to.items(replay(events[:at]))]
        assert part == whole[: len(part)]
    assert len(set(whole)) == 4
    to.close()


def turn(at: int) -> list[Any]:
    return [hook(at + n, name) for n, name in enumerate(TURN)]


@pytest.mark.parametrize("kind", [OtelLogs, HttpLogs])
def test_it_says_what_went_wrong(kind: Any) -> None:
    with Receiver((503, {"retry-after": "7"}), 400) as endpoint:
        to = kind(endpoint.url)
        items = to.items(replay([line(0)]))
        with pytest.raises(Busy, match="503") as busy:
            to.send(items)
        assert busy.value.retry_after_seconds == 7
        with pytest.raises(Refused, match="400"):
            to.send(items)
        to.close()


def test_a_call_of_no_lines_has_nothing_to_send() -> None:
    to = OtelLogs("http://x")
    assert to.items(replay(OPENED)) == []
    to.close()
    assert orjson.loads(to.encode(to.items(replay([line(0)]))[0]))[2] == "hello"
