"""Read models and processes: those that are killed, that record meanwhile, and that follow."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from eventstore import Event, Store, open_store
from eventstore.stores.records import ALL_PARTS
from projections.measures import SessionRow, session_row
from support.program import FIXTURES
from turnlog.read_models import model_rows, plan, refresh
from turnlog.read_models.audit import differences, fresh_rows
from turnlog.recordings import events_of, read_recordings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="waits for processes by their file descriptors"),
]
RECORDINGS = iter(read_recordings(FIXTURES / "recordings.jsonl.gz"))
CALL = events_of(*next(RECORDINGS))
SESSIONS = 30

REFRESH = """
import multiprocessing, sys
from eventstore import open_store
from turnlog.read_models import model_rows, plan, refresh, replaying
replaying.PARALLEL_FROM = replaying.TASK_EVENTS = refresh.STORED_TOGETHER = 1
store = open_store(sys.argv[1])
for number, _row in enumerate(model_rows(store, plan(store, store.sessions()), jobs=2)):
    if number == 3:
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        sys.stdin.readline()
"""
RECORD = """
import sys, threading
from eventstore import open_store
from turnlog import Recorder
store, stop, calls = open_store(sys.argv[1]), threading.Event(), 0
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
with Recorder(store, "live") as recorder:
    print("recording", flush=True)
    while not stop.is_set():
        recorder.on_user_speech_start()
        recorder.on_user_speech_end()
        calls += 2
    recorder.flush()
    health = recorder.health
    print(calls, health.lost, health.failed, health.dropped, health.rejected, health.last_error)
"""
FOLLOW = """
import sys
from turnlog.cli import main
from turnlog.read_models import following
following.LOOK_SECONDS, following.QUIET_SECONDS = 0.05, 0.1
main()
"""


def call(name: str) -> list[Event]:
    return [Event(name, e.origin, *(getattr(e, f) for f in e.__struct_fields__[2:])) for e in CALL]


def rows_of(store: Store, *names: str) -> dict[str, SessionRow]:
    """The rows of the sessions, or of all."""
    chosen = [session for session in store.sessions() if not names or session.session_id in names]
    return {session.session_id: row for session, row in model_rows(store, plan(store, chosen), ALL_PARTS)}


@contextmanager
def running(code: str, *arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=os.environ | environment, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr is not None and process.stderr.read()
    return line


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = open_store(tmp_path / "calls.db")
    for number in range(SESSIONS):
        store.append(call(f"s{number:02}"))
    yield store
    store.close()


def check_next_run(log: Store) -> None:
    """What the killed run has stored is right, and the next run makes the rest."""
    assert 0 < len(plan(log, log.sessions()).stale) < SESSIONS
    assert list(differences(log, fresh_rows(log))) == []
    assert rows_of(log) == {name: session_row(log.read(name)) for name in log.heads()}
    assert plan(log, log.sessions()).stale == []


def test_a_killed_refresh_leaves_no_half_row_and_no_process(log: Store, tmp_path: Path) -> None:
    """Break: in replaying.py, ``_begin``, start no thread that ends with the parent."""
    with running(REFRESH, tmp_path / "calls.db") as process:
        workers = [os.pidfd_open(int(pid)) for pid in line_of(process).split()]
        assert workers
        process.kill()
        process.wait()
        for worker in workers:
            assert select.select([worker], [], [], 30)[0], "the worker has ended"
            os.close(worker)
    check_next_run(log)


def test_a_killed_worker_is_one_line(log: Store, tmp_path: Path) -> None:
    """Break: in replaying.py, ``_in_parallel``, catch no `BrokenProcessPool`."""
    with running(REFRESH, tmp_path / "calls.db") as process:
        pid = int(line_of(process).split()[0])
        worker = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        assert select.select([worker], [], [], 30)[0]
        os.close(worker)
        _out, error = process.communicate("go on\n")
        assert process.returncode == 1
        assert "StoreUnavailable: a process that replays sessions was killed" in error
    check_next_run(log)


def test_a_recorder_at_full_speed_loses_nothing_while_rows_are_stored(log: Store, tmp_path: Path) -> None:
    """Break: in refresh.py, store rows in one transaction that stays open while others are replayed."""
    expected = {name: session_row(log.read(name)) for name in log.heads()}
    with running(RECORD, tmp_path / "calls.db") as process:
        assert line_of(process) == "recording\n"
        for _round in range(3):
            log.rows.delete(expected)
            assert rows_of(log, *expected) == expected
        assert process.stdin is not None
        process.stdin.close()
        calls, *health = line_of(process).split()
        assert health == ["0", "0", "0", "0", "None"]
    assert log.heads()["live"].events == int(calls) > 0


def test_memory_does_not_grow_with_the_number_of_sessions(log: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break: in refresh.py, ``model_rows``, read all rows before the first is returned."""
    monkeypatch.setattr(refresh, "READ_TOGETHER", 10)

    def peak(sessions: int) -> int:
        tracemalloc.start()
        for _session, row in model_rows(log, planned._replace(sessions=planned.sessions[:sessions]), ALL_PARTS):
            assert row.turns
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    for number in range(SESSIONS, 20 * SESSIONS):
        log.append(call(f"s{number:02}"))
    planned = plan(log, log.sessions())
    rows_of(log)
    planned = plan(log, log.sessions())
    assert planned.stale == []
    peak(SESSIONS)
    few, many = peak(SESSIONS), peak(20 * SESSIONS)
    assert (many - few) / (19 * SESSIONS) < len(session_row(CALL).numbers) / 4, "names of sessions, not their rows"


def replayed(process: subprocess.Popen[str]) -> tuple[int, int]:
    found = json.loads(line_of(process))
    return found["replayed"], found["fresh"]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_following_replays_what_is_new_and_what_has_grown(log: Store, tmp_path: Path, end: signal.Signals) -> None:
    """Break: in following.py, ``follow``, plan once before the loop."""
    with running(FOLLOW, "project", "--follow", "--json", "--db", tmp_path / "calls.db") as process:
        assert replayed(process) == (SESSIONS, SESSIONS)
        log.append(call("new"))
        assert replayed(process) == (1, 1)
        log.append([Event("new", "later", *(getattr(e, f) for f in e.__struct_fields__[2:])) for e in CALL])
        assert replayed(process) == (1, 1)
        process.send_signal(end)
        assert process.wait(30) == 0
    assert plan(log, log.sessions()).stale == []
    assert list(differences(log, fresh_rows(log))) == []


def test_following_goes_on_when_the_database_is_back(postgres_url: str, postgres_server: str) -> None:
    """Break: in following.py, ``follow``, let `StoreUnavailable` through."""
    name = make_url(postgres_url).database
    log = open_store(postgres_url, migrate=True)
    log.append(call("s0"))
    with (
        running(FOLLOW, "project", "--follow", "--json", "--db", postgres_url) as process,
        psycopg.connect(postgres_server, autocommit=True) as admin,
    ):
        assert replayed(process) == (1, 1)
        log.append(call("s1"))
        assert replayed(process) == (1, 1)
        log.close()
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        assert process.stderr is not None
        while "trying again" not in process.stderr.readline():
            assert process.poll() is None
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        log = open_store(postgres_url)
        log.append(call("s2"))
        assert replayed(process) == (1, 1)
        process.send_signal(signal.SIGTERM)
        process.communicate()  # it may still have lines to write
        assert process.returncode == 0
    log.close()
