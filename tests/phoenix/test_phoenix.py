"""A real Arize Phoenix shows calls as calls: nested, by session, with models, tokens and texts. ``make test-phoenix``.

Phoenix runs as a process of its own, with SQLite in a folder of the test, and needs no network.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest

from projections.caller import Reading, read
from support.program import FIXTURES, Program
from turnlog.recordings import events_of, read_recordings

try:
    metadata.version("arize-phoenix")
except metadata.PackageNotFoundError:
    pytest.skip("needs Arize Phoenix: make test-phoenix", allow_module_level=True)

NAMES = ["barge_in_vad", "agent_handoff", "errors_llm", "normal_cascading", "realtime_hybrid_stt"]
CALLS: dict[str, Reading] = {
    r.name: read(events_of("", r))
    for _place, r in read_recordings(FIXTURES / "recordings.jsonl.gz")
    if r.name in (*NAMES, "say_only")
}
SENTINEL = "say_only"
"""Sent last: Phoenix stores spans after it has answered, in their order."""


class Phoenix:
    def __init__(self, http: int, grpc: int) -> None:
        self.url, self.grpc = f"http://127.0.0.1:{http}", f"http://127.0.0.1:{grpc}"
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def all(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            answer = self.client.get(path, params={"limit": 1000} | ({"cursor": cursor} if cursor else {}))
            if answer.status_code == 404:  # nothing was stored yet
                return found
            page = answer.raise_for_status().json()
            found += page["data"]
            cursor = page["next_cursor"]
            if not cursor:
                return found

    def spans(self, session: str) -> list[dict[str, Any]]:
        return [s for s in self.all("/v1/projects/calls/spans") if s["attributes"]["session.id"] == session]


def until(true: Callable[[], bool], what: str) -> None:
    """Phoenix does not report when it is ready, or has stored something."""
    end = time.monotonic() + 180
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.2)


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    folder = tmp_path_factory.mktemp("phoenix")
    with ExitStack() as sockets:
        free = [sockets.enter_context(socket.socket()) for _ in range(2)]
        for one in free:
            one.bind(("127.0.0.1", 0))
        http, grpc = (one.getsockname()[1] for one in free)
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("PHOENIX_", "PYTHONPATH"))}
    settings = {
        "PHOENIX_WORKING_DIR": folder, "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": http, "PHOENIX_GRPC_PORT": grpc,
        "PHOENIX_TELEMETRY_ENABLED": "false", "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    }  # fmt: skip
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [Path(sys.executable).with_name("phoenix"), "serve"],
        env=mine | {name: str(value) for name, value in settings.items()},
        cwd=folder,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    found = Phoenix(http, grpc)

    def ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return found.client.get("/v1/projects").is_success
        except httpx.TransportError:
            return False

    try:
        until(ready, "Phoenix did not start")
        yield found
    finally:
        found.client.close()
        process.terminate()
        process.wait(60)
        log.close()


@pytest.fixture(scope="module")
def shown(phoenix: Phoenix, tmp_path_factory: pytest.TempPathFactory) -> Phoenix:
    """Phoenix, after the calls were exported twice, over HTTP and over gRPC."""
    program = Program(tmp_path_factory.mktemp("program"))
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    to = ("--profile", "semconv", "--project", "calls", "--endpoint")
    program.run("export", "otlp", *NAMES, *to, f"{phoenix.url}/v1/traces")
    program.run("export", "otlp", *NAMES, *to, phoenix.grpc, "--grpc")
    program.run("export", "otlp", SENTINEL, *to, phoenix.grpc, "--grpc")
    count = sum(span.turn is not None for span in CALLS[SENTINEL].spans)
    until(lambda: len(phoenix.spans(SENTINEL)) == count, "the last call was never shown")
    return phoenix


@pytest.mark.parametrize("name", NAMES)
def test_each_turn_is_a_trace_and_its_spans_are_there_once(shown: Phoenix, name: str) -> None:
    r = CALLS[name]
    names = {span.id: span.name for span in r.spans}
    expected = [span for span in r.spans if span.turn is not None]
    spans = shown.spans(name)
    by_id = {span["context"]["span_id"]: span["name"] for span in spans}
    assert len(spans) == len(by_id) == len(expected)
    assert sorted((span["name"], by_id.get(span["parent_id"], "")) for span in spans) == sorted(
        (span.name, "" if span.kind == "turn" else names[span.parent or ""]) for span in expected
    )
    assert len({span["context"]["trace_id"] for span in spans}) == len(r.turns)


@pytest.mark.parametrize("name", NAMES)
def test_a_call_is_a_session_with_its_tokens(shown: Phoenix, name: str) -> None:
    (session,) = (s for s in shown.all("/v1/projects/calls/sessions") if s["session_id"] == name)
    runs = [run for turn in CALLS[name].turns for run in [*turn.llm, *turn.realtime] if "tokens" in run]
    assert session["token_count_prompt"] == sum(run["tokens"]["input"] for run in runs)
    assert session["token_count_completion"] == sum(run["tokens"]["output"] for run in runs)


def test_models_tools_documents_and_turns_are_what_they_are(shown: Phoenix) -> None:
    spans = {name: shown.spans(name) for name in NAMES}
    kinds = {
        (s["span_kind"], s["name"].rpartition(": ")[2].partition("#")[0]) for found in spans.values() for s in found
    }
    assert {("LLM", "LLM Processing"), ("AGENT", "Turn "), ("RETRIEVER", "Retrieval"), ("TOOL", "to_billing")} <= kinds
    assert {("CHAIN", "Text to Speech Processing"), ("CHAIN", "Response")} <= kinds
    models = sorted((s for s in spans["normal_cascading"] if s["span_kind"] == "LLM"), key=lambda s: s["start_time"])
    entries = [(turn, llm) for turn in CALLS["normal_cascading"].turns for llm in turn.llm]
    assert len(models) == len(entries) > 2
    for span, (turn, llm) in zip(models, entries, strict=True):
        said = span["attributes"]
        assert said["llm.model_name"] == said["gen_ai.request.model"] == "scripted-llm-1"
        assert (said["input.value"], said["output.value"]) == (llm["input"], turn.agent_speech)
        assert said["llm.token_count.prompt"] == llm["tokens"]["input"]
        assert said["llm.token_count.completion"] == llm["tokens"]["output"]


def test_a_session_shows_the_conversation_and_a_latency_per_turn(shown: Phoenix) -> None:
    """As its pages ask for it. Break: in exporters/otlp/semconv.py, ``turns_as_roots``, send the session's root."""
    query = """{ projects { edges { node { name sessions(first: 100) { edges { node {
        sessionId firstInput { value } lastOutput { value }
        traces(first: 100) { edges { node { latencyMs rootSpan { name input { value } output { value } } } } }
    } } } } } } }"""
    projects = shown.client.post("/graphql", json={"query": query}).raise_for_status().json()["data"]["projects"]
    (found,) = (p["node"]["sessions"]["edges"] for p in projects["edges"] if p["node"]["name"] == "calls")
    sessions = {edge["node"]["sessionId"]: edge["node"] for edge in found}
    for name in NAMES:
        r, session = CALLS[name], sessions[name]
        turns = [span for span in r.spans if span.kind == "turn"]
        asked = [turn.user_speech or "(no question)" for turn in r.turns]
        answered = [turn.agent_speech or f"({turn.no_response or 'no words'})" for turn in r.turns]
        assert session["firstInput"]["value"] == asked[0][:100]
        assert session["lastOutput"]["value"] == answered[-1][:100]
        traces = [edge["node"] for edge in session["traces"]["edges"]]
        traces.sort(key=lambda trace: int(trace["rootSpan"]["name"].removeprefix("Turn #")))
        assert [trace["rootSpan"]["input"]["value"] for trace in traces] == asked
        assert [trace["rootSpan"]["output"]["value"] for trace in traces] == answered
        for trace, span in zip(traces, turns, strict=True):
            assert abs(trace["latencyMs"] - (span.end_ns - span.start_ns) / 1e6) < 1


def test_what_phoenix_makes_of_it(shown: Phoenix) -> None:
    """Its own idea of a span, as its pages ask for it."""
    query = """{ projects { edges { node { name spans(first: 1000) { edges { node {
        name spanKind numDocuments events { name message }
    } } } } } } }"""
    projects = shown.client.post("/graphql", json={"query": query}).raise_for_status().json()["data"]["projects"]
    (spans,) = (p["node"]["spans"]["edges"] for p in projects["edges"] if p["node"]["name"] == "calls")
    found = [edge["node"] for edge in spans]
    documents = [
        len(kb["documents"] or ()) for name in NAMES for turn in CALLS[name].turns for kb in turn.knowledge_base
    ]
    assert sorted(s["numDocuments"] for s in found if s["spanKind"] == "retriever") == sorted(documents)
    assert max(documents) > 0
    assert {"name": "exception", "message": "scripted LLM rate limit warning"} in [
        e for s in found for e in s["events"]
    ]
