"""compose.yaml, run without containers: each service's own command and environment, on a real Postgres."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import httpx
import pytest

from support.deployment import service_command, services
from support.documents import TOP
from support.http_receiver import Receiver
from support.postgres_servers import BIN, Cluster, cluster, folder, needs_server, run

pytestmark = [pytest.mark.slow, needs_server]
SECRETS = {f"{role}_PASSWORD": f"the {role}'s \\ own" for role in ("OWNER", "AGENT", "DELIVERY", "PROJECTOR", "READER")}


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A cluster that takes passwords, with the users of deploy/users.sql."""
    assert BIN is not None
    with folder() as place, cluster(place) as made:
        users = [BIN / "psql", "--no-psqlrc", made.url(), "--file", TOP / "deploy" / "users.sql"]
        subprocess.run(users, env=os.environ | SECRETS, check=True, stdout=subprocess.DEVNULL)
        rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (made.data / "pg_hba.conf").write_text(rules)
        run(BIN / "pg_ctl", "restart", "-w", "-m", "fast", "-D", made.data, "-l", made.data / "log")
        yield made


class Services:
    """The services of compose.yaml, as processes of this machine."""

    def __init__(self, server: Cluster, home: Path, collector: str) -> None:
        self._places = {
            "@postgres/": f"@127.0.0.1:{server.port}/",
            "http://jaeger:4318": collector,
            "/examples": str(TOP / "examples"),
        }
        self._home = home

    def start(self, name: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a service; ``arguments`` replace those of its command."""
        service = services()[name]
        words = [self._here(word) for word in service_command(service)]
        program = [sys.executable, "-m", "turnlog"] if words[0] == "turnlog" else [sys.executable]
        given = {
            variable: re.sub(r"\$\{(\w+)[^}]*\}", lambda found: SECRETS.get(found[1], ""), self._here(value))
            for variable, value in service["environment"].items()
        }
        clean = {
            variable: value for variable, value in os.environ.items() if not variable.startswith(("PG", "TURNLOG"))
        }
        return subprocess.Popen(
            [*program, *(arguments or ["0" if word == "8000" else word for word in words[1:]])],
            env=clean | given | {"HOME": str(self._home / name)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[IO[str]]:
        """Run a service until the end of the block, as the engine does: yields its output, and ends it with SIGTERM."""
        with self.start(name) as process:
            assert process.stdout is not None
            try:
                yield process.stdout
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=60)
        assert process.returncode == 0

    def run(self, name: str, *arguments: str, code: int = 0, **environment: str) -> str:
        """Run a service to its end; returns what it printed."""
        with self.start(name, *arguments, **environment) as process:
            printed = process.communicate(timeout=120)[0]
        assert process.returncode == code, printed
        return printed

    def _here(self, text: str) -> str:
        for there, here in self._places.items():
            text = text.replace(there, here)
        return text


def test_a_call_is_recorded_delivered_and_read(server: Cluster, tmp_path: Path) -> None:
    """Break: in deploy/users.sql, leave out a password or a GRANT; in compose.yaml, swap two passwords."""
    with Receiver() as receiver:
        up = Services(server, tmp_path, receiver.url)
        assert "calls" in up.run("init")
        up.run("init")  # as in every later start
        assert "recorded sample-" in up.run("recorder")
        with up.running("delivery"):
            assert receiver.wait_for(1).path == "/v1/traces"
        with up.running("projector") as projector:
            assert "1 session replayed" in projector.readline()
        with up.running("viewer") as viewer:
            page = httpx.get(viewer.readline().strip(), follow_redirects=True)
        assert "sample-" in page.text
        assert "1 new session" in up.run("viewer", "archive", "build", "--to", str(tmp_path / "archive"))


def test_a_service_can_do_no_more_than_its_role(server: Cluster, tmp_path: Path) -> None:
    up = Services(server, tmp_path, "http://127.0.0.1:9")
    up.run("init")
    session = f"s-{uuid.uuid4().hex}"
    up.run("recorder", str(TOP / "examples" / "record_call.py"), session)
    refused = up.run("viewer", "retention", "--session", session, "--no-archive", "--yes", code=1)
    assert "read-only" in refused or "permission" in refused or "right" in refused, refused
    assert "password" in up.run("viewer", "sessions", code=1, PGPASSWORD=SECRETS["OWNER_PASSWORD"])
