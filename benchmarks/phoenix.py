"""A real Arize Phoenix: a process of its own, with the calls of a log sent to it as spans."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

PYTHON = Path(__file__).resolve().parents[1] / ".venv-phoenix" / "bin" / "python"
"""The interpreter of the environment that ``make test-phoenix`` makes."""
PROJECT = "calls"
START_SECONDS, STORE_SECONDS = 180.0, 300.0
LIST_READY = "tbody tr"
CALL_READY = "[data-testid=session-details-layout]"
"""What is there once the list, and the frame of a session's page with its totals, are shown. Its turns come later."""


class Phoenix(NamedTuple):
    """A running server that has stored the calls."""

    pid: int
    version: str
    sessions: int
    """Number of sessions that it lists."""
    list_url: str
    call_url: str


@contextmanager
def phoenix(python: Path, folder: Path, db: str, call: str) -> Iterator[Phoenix]:
    """The server with all calls of the log at ``db``; ``call`` is the session that ``call_url`` shows."""
    with ExitStack() as ending:
        http, grpc = _free_ports()
        server = _started(python, folder, http, grpc, ending)
        url = f"http://127.0.0.1:{http}"
        client = ending.enter_context(httpx.Client(base_url=url, timeout=30, trust_env=False))
        _until(lambda: _answers(client, server, folder), START_SECONDS, "Phoenix did not start")
        sent = _export(db, url)
        _until(lambda: _stored(client) >= sent, STORE_SECONDS, "Phoenix did not store all spans")
        sessions = {each["session_id"]: each for each in _sessions(client)}
        version = client.get("/").headers["x-phoenix-server-version"]
        place = f"{url}/projects/{sessions[call]['project_id']}/sessions"
        since = "?timeRangeStart=2020-01-01T00:00:00.000Z"
        call_url = f"{place}/{sessions[call]['id']}?sessionView=turns"  # with a time it shows the list
        yield Phoenix(server.pid, version, len(sessions), place + since, call_url)


def _started(python: Path, folder: Path, http: int, grpc: int, ending: ExitStack) -> subprocess.Popen[bytes]:
    settings = {
        "PHOENIX_WORKING_DIR": folder, "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": http, "PHOENIX_GRPC_PORT": grpc,
        "PHOENIX_TELEMETRY_ENABLED": "false", "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    }  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PHOENIX_", "PYTHONPATH"))}
    log = ending.enter_context((folder / "log").open("wb"))
    environment = kept | {name: str(value) for name, value in settings.items()}
    command = [python.with_name("phoenix"), "serve"]
    server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    ending.callback(server.wait, 60)
    ending.callback(server.terminate)
    return server


def _free_ports() -> list[int]:
    with ExitStack() as sockets:
        free = [sockets.enter_context(socket.socket()) for _ in range(2)]
        for one in free:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in free]


def _until(reached: Callable[[], bool], seconds: float, failure: str) -> None:
    """Wait for what Phoenix does not report."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise SystemExit(failure)
        time.sleep(0.3)


def _answers(client: httpx.Client, server: subprocess.Popen[bytes], folder: Path) -> bool:
    if server.poll() is not None:
        raise SystemExit(f"Phoenix ended: {(folder / 'log').read_text()}")
    try:
        return client.get("/v1/projects").is_success
    except httpx.TransportError:
        return False


def _export(db: str, url: str) -> int:
    """Send the calls as spans; returns the number of spans."""
    arguments = ["--profile", "semconv", "--project", PROJECT, "--endpoint", f"{url}/v1/traces", "--json"]
    command = [sys.executable, "-m", "turnlog", "export", "otlp", "--all", "--db", db, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return int(json.loads(done.stdout)["spans"])


def _stored(client: httpx.Client) -> int:
    query = "{ projects { edges { node { name recordCount } } } }"
    projects = client.post("/graphql", json={"query": query}).raise_for_status().json()["data"]["projects"]["edges"]
    return sum(each["node"]["recordCount"] for each in projects if each["node"]["name"] == PROJECT)


def _sessions(client: httpx.Client) -> list[dict[str, str]]:
    answer = client.get(f"/v1/projects/{PROJECT}/sessions", params={"limit": 1000})
    found: list[dict[str, str]] = answer.raise_for_status().json()["data"]
    return found
