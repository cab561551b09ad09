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

from conftest import FIXTURES, Program
from projections.replay import Call, replay
from turnlog.recordings import events_of, read_recordings

try:
    metadata.version("arize-phoenix")
except metadata.PackageNotFoundError:
    pytest.skip("needs Arize Phoenix: make test-phoenix", allow_module_level=True)

NAMES = ["barge_in_vad", "agent_handoff", "errors_llm", "normal_cascading", "realtime_hybrid_stt"]
CALLS: dict[str, Call] = {
    r.name: replay(events_of("", r))
    for _place, r in read_recordings(FIXTURES / "recordings.jsonl.gz")
    if r.name in NAMES
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
    """Phoenix tells nobody when it is ready, nor when it has stored something."""
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
    until(lambda: len(phoenix.spans(SENTINEL)) == 26, "the last call was never shown")
    return phoenix


@pytest.mark.parametrize("name", NAMES)
def test_spans_are_nested_as_in_the_replay_and_there_once(shown: Phoenix, name: str) -> None:
    call = CALLS[name]
    names = {span.id: span.name for span in [*call.spans, *call.open_spans]}
    spans = shown.spans(name)
    by_id = {span["context"]["span_id"]: span["name"] for span in spans}
    assert len(spans) == len(by_id) == len(call.spans)
    assert sorted((span["name"], by_id.get(span["parent_id"], "")) for span in spans) == sorted(
        (span.name, names[span.parent] if span.parent is not None else "") for span in call.spans
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_call_is_a_session_with_its_tokens(shown: Phoenix, name: str) -> None:
    (session,) = (s for s in shown.all("/v1/projects/calls/sessions") if s["session_id"] == name)
    models = [llm for turn in CALLS[name].turns for llm in turn.llm_metrics]
    assert session["token_count_prompt"] == sum(llm.prompt_tokens or 0 for llm in models)
    assert session["token_count_completion"] == sum(llm.completion_tokens or 0 for llm in models)


def test_models_tools_documents_and_turns_are_what_they_are(shown: Phoenix) -> None:
    spans = {name: shown.spans(name) for name in NAMES}
    kinds = {
        (s["span_kind"], s["name"].rpartition(": ")[2].partition("#")[0]) for found in spans.values() for s in found
    }
    assert {("LLM", "LLM Processing"), ("AGENT", "Turn "), ("RETRIEVER", "Retrieval"), ("TOOL", "to_billing")} <= kinds
    assert ("CHAIN", "Text to Speech Processing") in kinds

    call = CALLS["normal_cascading"]
    models = sorted((s for s in spans["normal_cascading"] if s["span_kind"] == "LLM"), key=lambda s: s["start_time"])
    entries = [(turn, llm) for turn in call.turns for llm in turn.llm_metrics]
    assert len(models) == len(entries) > 2
    for span, (turn, llm) in zip(models, entries, strict=True):
        said = span["attributes"]
        assert said["llm.model_name"] == said["gen_ai.request.model"] == "scripted-llm-1"
        assert (said["input.value"], said["output.value"]) == (llm.llm_input, turn.agent_speech)
        assert said["llm.token_count.prompt"] == llm.prompt_tokens
        assert said["llm.token_count.completion"] == llm.completion_tokens
    (first, *_rest) = (s["attributes"] for s in spans["normal_cascading"] if s["name"] == "Turn #2")
    assert (first["input.value"], first["output.value"]) == (call.turns[1].user_speech, call.turns[1].agent_speech)


def test_what_phoenix_makes_of_it(shown: Phoenix) -> None:
    """Its own idea of a span, as its pages ask for it."""
    query = """{ projects { edges { node { name spans(first: 1000) { edges { node {
        name spanKind numDocuments events { name message }
    } } } } } } }"""
    projects = shown.client.post("/graphql", json={"query": query}).raise_for_status().json()["data"]["projects"]
    (spans,) = (p["node"]["spans"]["edges"] for p in projects["edges"] if p["node"]["name"] == "calls")
    found = [edge["node"] for edge in spans]
    documents = [len(kb.kb_documents or ()) for call in CALLS.values() for turn in call.turns for kb in turn.kb_metrics]
    assert sorted(s["numDocuments"] for s in found if s["spanKind"] == "retriever") == sorted(documents)
    assert max(documents) > 0
    assert {"name": "exception", "message": "scripted LLM rate limit warning"} in [
        e for s in found for e in s["events"]
    ]
