"""Servers of Debian's packages for one test: clusters that can be killed and promoted, and a pooler before one."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), default=None)
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
OWNER = "postgres" if os.geteuid() == 0 else None
"""Whom the processes run as: a server does not run as root."""

needs_server = pytest.mark.skipif(
    BIN is None or not (BIN / "initdb").exists(), reason="no Postgres server here: apt-get install postgresql"
)
needs_pooler = pytest.mark.skipif(PGBOUNCER is None, reason="no pooler here: apt-get install pgbouncer")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(*command: object) -> None:
    done = subprocess.run([*map(str, command)], user=OWNER, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def kill(pid: int) -> None:
    """SIGKILL a server with all its workers, and wait until they are gone."""
    postmaster = psutil.Process(pid)
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _gone, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive


class Cluster:
    def __init__(self, data: Path, *settings: str) -> None:
        self.data, self.port = data, free_port()
        self.settings = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",  # what SIGKILL leaves is in the system's cache
            *settings,
        )

    def start(self) -> None:
        assert BIN is not None
        options = " ".join(f"-c {setting}" for setting in self.settings)
        run(BIN / "pg_ctl", "start", "-w", "-D", self.data, "-l", self.data / "log", "-o", options)

    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def stop(self) -> None:
        if (self.data / "postmaster.pid").exists():
            with contextlib.suppress(psutil.NoSuchProcess, AssertionError):
                kill(self.pid())

    def promote(self) -> None:
        assert BIN is not None
        run(BIN / "pg_ctl", "promote", "-w", "-D", self.data)

    def url(self, user: str = "postgres", database: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """As superuser; returns the rows of the last one."""
        with psycopg.connect(self.url(database=database), autocommit=True) as admin:
            for statement in statements:
                cursor = admin.execute(statement)
            return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Of the servers' user, with a path short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="turnlog-pg-"))
    if OWNER is not None:
        shutil.chown(path, OWNER)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def cluster(place: Path, *settings: str) -> Iterator[Cluster]:
    """A new cluster that runs, for everyone on this machine."""
    assert BIN is not None
    made = Cluster(place / "data", *settings)
    run(BIN / "initdb", "-D", made.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
    made.start()
    try:
        yield made
    finally:
        made.stop()


@contextlib.contextmanager
def replica(of: Cluster, place: Path) -> Iterator[Cluster]:
    """A streaming replica that runs; it is named ``replica``."""
    assert BIN is not None
    made = Cluster(place / "replica")
    source = f"host=127.0.0.1 port={of.port} user=postgres application_name=replica"
    run(BIN / "pg_basebackup", "-d", source, "-D", made.data, "-R", "-c", "fast", "-X", "stream", "-N")
    made.start()
    try:
        yield made
    finally:
        made.stop()


@contextlib.contextmanager
def pooler(of: Cluster, place: Path, *settings: str) -> Iterator[int]:
    """A pgbouncer in transaction mode with two server connections for each user and database; yields its port."""
    assert PGBOUNCER is not None
    port, users, config = free_port(), place / "users.txt", place / "pgbouncer.ini"
    names = [name for (name,) in of.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin")]
    users.write_text("".join(f'"{name}" ""\n' for name in names))
    lines = [
        "[databases]",
        f"* = host=127.0.0.1 port={of.port}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = trust",
        f"auth_file = {users}",
        "pool_mode = transaction",
        "default_pool_size = 3",
        "max_client_conn = 100",
        *settings,
    ]
    config.write_text("\n".join(lines) + "\n")
    for file in (users, config):
        file.chmod(0o644)
    with (place / "pgbouncer.log").open("wb") as output:
        process = subprocess.Popen([PGBOUNCER, str(config)], user=OWNER, cwd="/", stdout=output, stderr=output)
        try:
            for _attempt in range(300):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert process.poll() is None, (place / "pgbouncer.log").read_text()
                time.sleep(0.1)
            yield port
        finally:
            process.kill()
            process.wait()
