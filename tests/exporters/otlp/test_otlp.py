"""Span trees arrive at a real collector, in another process, as in the replay; every other outcome is reported."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from eventstore import Event, Store, open_store
from exporters.delivery.destination import Busy, Destination, NotConfigured, Refused
from exporters.delivery.outbox import deliver, due_cursors
from exporters.delivery.retry import Patience
from exporters.otlp import spans as otlp
from exporters.otlp.spans import Profile, Spans, Wire, destination, otel_spans
from exporters.otlp.types import otlp_attributes
from projections.caller import read
from projections.reference.fold import begin, fold
from projections.reference.replay import Call, call_of, replay
from projections.reference.rules import VIDEOSDK_1_0
from support.program import FIXTURES, TESTS, Program
from support.strategies import streams
from turnlog import Recorder
from turnlog.recordings import events_of, read_recordings

RECORDINGS = {r.name: events_of("", r) for _place, r in read_recordings(FIXTURES / "recordings.jsonl.gz")}
CALL = replay(RECORDINGS["barge_in_vad"])
TOKEN = "c0ffee-and-a-token"


class Collector:
    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.start()

    def start(self) -> None:
        """Again, on the same ports."""
        script = TESTS / "support" / "otlp_receiver.py"
        command = [sys.executable, script, *map(str, self.ports.values())]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.ports = self._lines.get(timeout=60)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):  # else it was killed while it wrote
                self._lines.put(json.loads(line))

    def url(self, wire: Wire) -> str:
        port = self.ports[wire.partition("/")[0]]
        return f"http://127.0.0.1:{port}" + ("" if wire == "grpc" else "/v1/traces")

    def request(self) -> list[dict[str, Any]]:
        """The spans of the next request."""
        return list(iter(partial(self._lines.get, timeout=60), None))

    def rest(self) -> list[dict[str, Any]]:
        """The spans that have come and were not looked at."""
        found = []
        while not self._lines.empty():
            found.append(self._lines.get())
        return [span for span in found if span is not None]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Collector]:
    """Of the tests that look only at what `send` says."""
    found = Collector()
    yield found
    found.kill()


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.kill()


WIRES: list[Wire] = ["http/protobuf", "grpc"]
PROFILES: list[Profile] = ["reference", "semconv"]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("wire", WIRES)
def test_spans_arrive_as_they_are(collector: Collector, wire: Wire, profile: Profile) -> None:
    to = destination(collector.url(wire), wire, profile=profile)
    items = to.items(CALL)
    to.send(items)
    got = collector.request()
    assert [span["name"] for span in got] == [span.name for span in CALL.spans]
    names = {span["span_id"]: span["name"] for span in got}
    by_number = {span.id: span.name for span in [*CALL.spans, *CALL.open_spans]}
    for arrived, item, span in zip(got, items, CALL.spans, strict=True):
        assert (arrived["start_ns"], arrived["end_ns"]) == (span.start_ns, span.end_ns)
        parent = None if span.parent is None else by_number[span.parent]
        assert names.get(arrived["parent_id"]) == parent
        assert arrived["attributes"] == dict(item.attributes or {})
        if profile == "reference":
            assert arrived["attributes"] == span.attributes
    assert {span["via"] for span in got} == {wire.partition("/")[0]}
    assert got[0]["resource"]["service.name"] == "videosdk-otel-telemetry-agents"
    to.send(to.items(replay(RECORDINGS["barge_in_vad"])))
    again = collector.request()
    assert sorted(s["span_id"] for s in again) == sorted(names), "the same spans, not more"
    to.close()


def test_every_recording_has_spans_of_its_own() -> None:
    seen: dict[int, str] = {}
    for name, events in RECORDINGS.items():
        call = replay(events)
        spans = otel_spans(call)
        assert len(spans) == len(call.spans)
        for span in spans:
            assert span.context is not None
            assert seen.setdefault(span.context.span_id, name) == name
            assert span.parent is None or span.parent.trace_id == span.context.trace_id
        assert len({span.context.span_id for span in spans if span.context}) == len(spans)


class Nowhere:
    """What has to be sent is looked at without sending it."""

    address = "nowhere"

    def send(self, request: object) -> None: ...

    def close(self) -> None: ...


TO: dict[Profile, Spans] = {profile: Spans(Nowhere(), profile) for profile in PROFILES}


def grows_at_its_end(events: list[Event], profile: Profile, every: int) -> None:
    """What there was to send after each few events is the beginning of what there is at the end."""
    to, state, parts = TO[profile], begin(VIDEOSDK_1_0), []
    for at in range(0, len(events), every):
        fold(state, events[at : at + every])
        parts.append([to.encode(item) for item in to.items(call_of(state))])
    whole = [to.encode(item) for item in to.items(replay(events))]
    for part in parts:
        assert part == whole[: len(part)]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_call_that_goes_on_keeps_its_spans(profile: Profile) -> None:
    """What was sent in the middle of a call is not sent again at its end, and has the same ids.

    Break: in exporters/otlp/spans.py, ``otel_spans``, leave the open spans out of what ids are made of.
    """
    for events in [RECORDINGS[name] for name in ("soak_seed3", "barge_in_vad", "realtime_hybrid_tts")]:
        grows_at_its_end(events, profile, 1 if len(events) < 200 else 7)


@given(streams(max_size=25))
def test_so_do_calls_that_make_no_sense(events: list[Event]) -> None:
    for profile in PROFILES:
        grows_at_its_end(events, profile, 1)
        encode_spans(TO[profile].items(replay(events)))  # whatever it is, OTLP can carry it


def test_the_same_spans_in_both_profiles() -> None:
    for events in RECORDINGS.values():
        call = replay(events)
        one, other = (
            [(s.name, s.context, s.parent, s.start_time, s.end_time, s.status.status_code) for s in TO[p].items(call)]
            for p in PROFILES
        )
        assert one == other


def test_content_is_what_a_span_says() -> None:
    """Another content, another encoding; so it is sent again."""
    spans = TO["reference"].items(CALL)
    assert len({TO["reference"].encode(span) for span in spans}) == len(spans)
    failed = msgspec.structs.replace(CALL.spans[0], status="ERROR")
    changed = TO["reference"].items(CALL._replace(spans=[failed, *CALL.spans[1:]]))
    before, after = ([TO["reference"].encode(span) for span in some] for some in (spans, changed))
    assert before[0] != after[0]
    assert before[1:] == after[1:]


def test_a_time_that_otlp_cannot_carry_is_the_nearest() -> None:
    odd = msgspec.structs.replace(CALL.spans[0], start_ns=-5, end_ns=1 << 70)
    items = TO["reference"].items(CALL._replace(spans=[odd]))
    assert (items[0].start_time, items[0].end_time) == (0, (1 << 64) - 1)
    encode_spans(items)


@pytest.mark.parametrize("wire", WIRES)
def test_a_large_request_is_more_than_one(collector: Collector, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    to = destination(collector.url(wire), wire)
    monkeypatch.setattr(otlp, "MAX_REQUEST_BYTES", encode_spans(to.items(CALL)).ByteSize() // 2)
    to.send(to.items(CALL))
    arrived = [collector.request() for _ in range(2)]
    while sum(map(len, arrived)) < len(CALL.spans):
        arrived.append(collector.request())
    assert [span["name"] for request in arrived for span in request] == [span.name for span in CALL.spans]
    to.close()


# what a collector may say -------------------------------------------------------------------------------------------


def outcome(to: Spans) -> Busy | Refused | None:
    """Of sending. Nothing that is said has the token in it, however it is shown."""
    try:
        to.send(to.items(CALL))
    except (Busy, Refused) as error:
        shown = f"{error} {error!r} {vars(to)} {''.join(traceback.format_exception(error))}"
        assert TOKEN not in shown
        assert "\n" not in str(error)
        return error
    finally:
        to.close()
    return None


HTTP: list[tuple[str, type[Exception] | None, float | None, str]] = [
    ("400", Refused, None, "400 Bad Request: you said"),
    ("401", Refused, None, "401 Unauthorized: you said"),
    ("429", Busy, 7.0, "429 Too Many Requests"),
    ("503", Busy, None, "503 Service Unavailable"),
    ("partial", Refused, None, "3 spans rejected: you said"),
    ("garbage", Busy, None, "is not OTLP"),
    ("hang", Busy, None, "no response within"),
    ("page", None, None, ""),
    ("v1/traces", None, None, ""),
]


@pytest.mark.parametrize(("path", "kind", "retry_after", "said"), HTTP, ids=[case[0] for case in HTTP])
def test_what_http_says(
    shared: Collector, path: str, kind: type[Exception] | None, retry_after: float | None, said: str
) -> None:
    url = shared.url("http/protobuf").replace("v1/traces", path)
    seconds = 0.3 if path == "hang" else 10.0
    error = outcome(destination(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout_seconds=seconds))
    assert type(error) is (kind or type(None))
    assert said in str(error)
    if error is not None:
        assert str(error).startswith(url)
        assert getattr(error, "retry_after_seconds", None) == retry_after


GRPC: list[tuple[str, type[Exception], float | None, str]] = [
    ("UNAVAILABLE", Busy, None, "UNAVAILABLE: you said"),
    ("RESOURCE_EXHAUSTED", Busy, 7.5, "RESOURCE_EXHAUSTED: you said"),
    ("ABORTED", Busy, None, "ABORTED"),
    ("INTERNAL", Busy, None, "INTERNAL"),
    ("hang", Busy, None, "DEADLINE_EXCEEDED"),
    ("INVALID_ARGUMENT", Refused, None, "INVALID_ARGUMENT: you said"),
    ("UNAUTHENTICATED", Refused, None, "UNAUTHENTICATED: you said"),
    ("PERMISSION_DENIED", Refused, None, "PERMISSION_DENIED"),
    ("UNIMPLEMENTED", Refused, None, "UNIMPLEMENTED"),
    ("partial", Refused, None, "3 spans rejected: you said"),
]


@pytest.mark.parametrize(("answer", "kind", "retry_after", "said"), GRPC, ids=[case[0] for case in GRPC])
def test_what_grpc_says(
    shared: Collector, answer: str, kind: type[Exception], retry_after: float | None, said: str
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "x-answer": answer}
    seconds = 0.3 if answer == "hang" else 10.0
    error = outcome(destination(shared.url("grpc"), "grpc", headers, timeout_seconds=seconds))
    assert type(error) is kind
    assert said in str(error)
    assert str(error).startswith(shared.url("grpc"))
    assert getattr(error, "retry_after_seconds", None) == retry_after


@pytest.mark.parametrize("wire", WIRES)
def test_a_warning_is_logged(shared: Collector, wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"authorization": TOKEN} | ({"x-answer": "warning"} if wire == "grpc" else {})
    with caplog.at_level(logging.WARNING, "turnlog"):
        assert outcome(destination(shared.url(wire).replace("v1/traces", "warning"), wire, headers)) is None
    assert "accepted the spans with a warning: you said ***" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("header", [{"authorization": f"{TOKEN}\n"}, {"authorization": f"{TOKEN} für"}])
def test_a_header_that_cannot_be_sent(shared: Collector, wire: Wire, header: Mapping[str, str]) -> None:
    with pytest.raises(NotConfigured, match="header 'authorization' cannot be sent") as caught:
        destination(shared.url(wire), wire, header).send(otel_spans(CALL))
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_its_name_is_the_address() -> None:
    def name(endpoint: str, wire: Wire, profile: Profile = "reference") -> str:
        to: Destination[Any] = destination(endpoint, wire, profile=profile)
        to.close()
        return to.name

    assert name("https://u:p@host/v1/traces?key=k", "http/protobuf") == "otlp https://host/v1/traces"
    assert name("http://host:4318/v1/traces", "http/protobuf", "semconv") == "otlp http://host:4318/v1/traces semconv"
    assert name("host:4317", "grpc") == name("http://host:4317", "grpc") == "otlp http://host:4317"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("missing", ["opentelemetry.proto", "grpc"])
def test_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch, wire: Wire, missing: str) -> None:
    for module in [
        name for name in sys.modules if name.startswith(("exporters.otlp.http", "exporters.otlp.grpc", missing))
    ]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "grpc" and wire != "grpc":
        destination("http://localhost:4318/v1/traces", wire).close()
        return
    with pytest.raises(NotConfigured, match=r"pip install 'turnlog\[otlp\]'"):
        destination("http://localhost:4317", wire)


# a collector that dies ----------------------------------------------------------------------------------------------


def until_taken(to: Spans, call: Call) -> None:
    """gRPC tries to connect again after a pause, which nothing tells."""
    for _ in range(600):
        try:
            return to.send(to.items(call))
        except Busy:
            threading.Event().wait(0.05)
    raise AssertionError("the collector is back, and is never reached")


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
def test_a_collector_that_is_killed_and_comes_back(collector: Collector, wire: Wire) -> None:
    to = destination(collector.url(wire), wire, timeout_seconds=30.0)
    said: list[BaseException | None] = []
    busy = threading.Event()

    def keep_sending() -> None:
        while not busy.is_set():
            try:
                to.send(to.items(CALL))
                said.append(None)
            except Busy as error:
                said.append(error)
                busy.set()
            except BaseException as error:
                said.append(error)
                raise

    threads = [threading.Thread(target=keep_sending) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        collector.request()
    collector.kill()
    for thread in threads:
        thread.join()
    assert {type(found) for found in said} == {type(None), Busy}, said
    with pytest.raises(Busy):
        to.send(to.items(CALL))
    collector.start()
    until_taken(to, CALL)
    assert len(collector.request()) == len(CALL.spans)
    to.close()


# the command --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("wire", WIRES)
def test_a_collector_that_is_killed_five_times_in_the_middle_of_a_delivery(
    collector: Collector, sqlite: Store, wire: Wire
) -> None:
    """Every span is there in the end, and the cursors say so.

    Break: in exporters/delivery/outbox.py, ``_advance``, go on to the next batch whatever became of the last.
    """
    for events in RECORDINGS.values():
        sqlite.append(events)
    to = destination(collector.url(wire), wire)
    to.batch = 10
    got: set[str] = set()
    patience = Patience(first=0.01, longest=0.2, in_all=120)
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(lambda: list(deliver(sqlite, to, due_cursors(sqlite, to.name), patience=patience)))
        for _ in range(5):
            for _ in range(20):
                got |= {span["span_id"] for span in collector.request()}
            collector.kill()
            got |= {span["span_id"] for span in collector.rest()}
            collector.start()
        outcomes = sent.result()
    got |= {span["span_id"] for span in collector.rest()}
    assert [outcome for outcome in outcomes if outcome.left or outcome.parked] == []
    items = {name: to.items(read(events)) for name, events in RECORDINGS.items()}
    assert got == {f"{span.context.span_id:016x}" for spans in items.values() for span in spans if span.context}
    assert {c.session_id: c.done for c in sqlite.ledger.cursors(to.name)} == {n: len(s) for n, s in items.items()}
    to.close()


def test_the_command(collector: Collector, program: Program) -> None:
    program.run("import", FIXTURES / "demo.jsonl.gz")
    url = collector.url("http/protobuf")
    count = len(read(RECORDINGS["barge_in_vad"]).spans)
    sent = program.run("export", "otlp", "barge_in_vad", "--endpoint", url, "--header", f"Authorization=Bearer {TOKEN}")
    assert sent.stdout == f"1 session, {count} spans sent\n"
    first = collector.request()
    program.run("export", "otlp", "--all", "--endpoint", collector.url("grpc"), "--grpc", "--profile", "semconv",
                "--project", "calls", OTEL_SERVICE_NAME="phone")  # fmt: skip
    second = collector.request()
    turns = [span["span_id"] for span in first if "turn" in span["attributes"] and span["name"].startswith("Turn #")]
    roots = [span["span_id"] for span in second if not span["parent_id"]]
    assert roots == turns, "the same ids, and each turn is a trace of its own"
    assert len({span["trace_id"] for span in second}) == len(turns)
    assert "session.id" in second[0]["attributes"]
    assert second[0]["resource"] == first[0]["resource"] | {
        "service.name": "phone",
        "openinference.project.name": "calls",
    }
    refused = url.replace("v1/traces", "400")
    found = orjson.loads(program.run("export", "otlp", "barge_in_vad", "--endpoint", url, "--json").stdout)
    assert found == {"sessions": 1, "spans": count, "failed": []}
    output = program.fails("export", "otlp", "--all", "--endpoint", refused, "--header", f"Authorization={TOKEN}")
    assert "400" in output
    assert TOKEN not in output
    output = program.fails("export", "otlp", "--all", "--endpoint", url, "--header", TOKEN)
    assert "NAME=VALUE" in output
    assert TOKEN not in output
    assert "did you mean" in program.fails("export", "otlp", "barge_in", "--endpoint", url)


def test_a_large_session_goes_in_bounded_batches(collector: Collector, program: Program) -> None:
    store = open_store(program.db)
    with Recorder(store, session_id="long", durability="memory") as recorder:
        recorder.traces.start_agent_joined_meeting({"agent_name": "a", "peerId": "p"})
        asyncio.run(recorder.traces.start_agent_session({}))
        for number in range(Spans.batch + 1):
            recorder.traces.agent_say_called(f"line {number}")
    store.close()
    program.run("export", "otlp", "long", "--endpoint", collector.url("http/protobuf"))
    assert [len(collector.request()), len(collector.request())] == [Spans.batch, 2], "the root is one, too"


def test_values_without_a_type_are_text() -> None:
    """Break: in exporters/otlp/types.py, ``_typed``, take every list."""
    values = {"a": 1 << 63, "b": -(1 << 63), "c": math.nan, "d": [1, 2.0], "e": (True, False), "f": [], "": 1}
    assert otlp_attributes(values) == {
        "a": str(1 << 63), "b": -(1 << 63), "c": "nan", "d": "[1, 2.0]", "e": [True, False], "f": [],
    }  # fmt: skip
    assert list(otlp_attributes({str(n): n for n in range(200)})) == [str(n) for n in range(72, 200)]
