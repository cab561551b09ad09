"""Law 5: what was acknowledged is kept, whenever the process is killed: while it records, stores or recovers."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventstore import Store, codec, recover

pytestmark = pytest.mark.slow

TIMES = int(os.environ.get("TURNLOG_KILLS", "200"))

# Forks an agent for each request that comes through the socket: an interpreter that starts anew takes half a second.
# An agent can be made to kill itself: counting inside a function is the only sure way to die in the middle of it.
SERVER = """
import json, os, signal, socket, sys, tempfile, threading
from turnlog import Recorder, open_store, recover

def record(url, origin, padding, phase="", steps=0):
    # Prints the number of each call after it has returned, and the next does not begin before that is written.
    die_in(phase, steps, threading.setprofile)
    recorder = Recorder(open_store(url), "s", origin=origin)
    padding, n = "x" * padding, 0
    os.write(1, b"ready\\n")
    os.read(0, 1)
    while n < 200_000:
        recorder.add_error(padding, str(n))
        os.write(1, b"%d\\n" % n)
        n += 1
        if phase and n % 50 == 0:
            recorder.flush()  # or it would be a long way from its death

def move(url, phase, steps):
    store = open_store(url)
    die_in(phase, steps, sys.setprofile)
    recover(store, store.journal)

def die_in(phase, steps, install):
    def profile(frame, _what, _argument):
        nonlocal steps
        while frame is not None and frame.f_code.co_name != phase:
            frame = frame.f_back
        steps -= frame is not None
        if frame is not None and not steps:
            os.kill(os.getpid(), signal.SIGKILL)
    if phase:
        install(profile)

with tempfile.TemporaryDirectory() as folder:  # all that is imported late is imported now
    store = open_store(folder + "/calls.db")
    with Recorder(store) as recorder:
        recorder.add_error("", "")
    recover(store, store.journal)
    store.close()
server = socket.socket(fileno=int(sys.argv[1]))
while True:
    request, ends, _flags, _address = socket.recv_fds(server, 4096, 2)
    if not request:
        break
    what, *arguments = json.loads(request)
    if what == "wait":
        answer = os.waitstatus_to_exitcode(os.waitpid(arguments[0], 0)[1])
    else:
        answer = os.fork()
        if not answer:
            server.close()
            for end, place in zip(ends, (0, 1)):
                os.dup2(end, place)
            {"record": record, "move": move}[what](*arguments)
            os._exit(0)
        for end in ends:
            os.close(end)
    server.send(json.dumps(answer).encode())
"""


class Server:
    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, "-c", SERVER, str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()

    def ask(self, *request: object, fds: tuple[int, ...] = ()) -> Any:
        socket.send_fds(self._socket, [json.dumps(request, default=str).encode()], fds)
        return json.loads(self._socket.recv(64))

    def close(self) -> None:
        self._socket.close()
        assert self._process.wait(30) == 0


class Agent:
    """A process, forked from the server, that runs ``what``."""

    def __init__(self, server: Server, what: str, *arguments: object, go: bool = True) -> None:
        """``go`` False: it makes no call before `go`."""
        theirs, self._go = os.pipe()
        output, theirs_too = os.pipe()
        self._server, self._output = server, os.fdopen(output, "rb")
        self._pid = server.ask(what, *arguments, fds=(theirs, theirs_too))
        os.close(theirs)
        os.close(theirs_too)
        if what == "record":
            assert self._output.readline() in (b"ready\n", b""), "it may die on the way"
        if go:
            self.go()

    def go(self) -> None:
        os.close(self._go)

    def read(self, calls: int) -> int:
        """Read that many lines, or all if it dies before; returns the last call that it has acknowledged."""
        last = -1
        for _ in range(calls):
            line = self._output.readline()
            if not line.endswith(b"\n"):
                break
            last = int(line)
        return last

    def kill(self) -> int:
        """SIGKILL; returns the last call that it has acknowledged."""
        os.kill(self._pid, signal.SIGKILL)  # a child that was not waited for yet
        return self.wait()

    def wait(self) -> int:
        """Wait until it has been killed; returns the last call that it has acknowledged."""
        last = [int(line) for line in self._output.read().splitlines(keepends=True) if line.endswith(b"\n")]
        assert self._server.ask("wait", self._pid) == -signal.SIGKILL
        self._output.close()
        return last[-1] if last else -1


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


def check(store: Store, acknowledged: dict[str, int]) -> None:
    """After a final recovery each call that returned is stored once, and at most one more, which was in progress."""
    assert store.journal is not None
    recover(store, store.journal)
    assert list(store.journal.glob("*.journal")) == []
    found: dict[str, list[int]] = {origin: [] for origin in acknowledged}
    for event in store.read("s"):
        found[event.origin].append(int(codec.decode(event)["message"]))
    for origin, last in acknowledged.items():
        assert found[origin] in (list(range(last + 1)), list(range(last + 2))), origin


@pytest.mark.parametrize("seed", range(4))
def test_law_5_every_call_that_returned_survives_kill_9(sqlite: Store, server: Server, seed: int) -> None:
    """Calls are made as fast as possible, so that the writer is in a transaction most of the time.

    Break: in eventstore/recording/journal.py, ``Segment``, map the file privately (``mmap.MAP_PRIVATE``).
    """
    chance = random.Random(seed)
    assert sqlite.journal is not None
    acknowledged: dict[str, int] = {}
    for n in range(-(-TIMES // 4)):
        padding, most = chance.choice([(0, 3000), (100, 3000), (20_000, 300)])
        agent = Agent(server, "record", sqlite.journal.with_suffix(""), f"process-{n}", padding)
        last = agent.read(chance.randint(1, chance.choice([1, 10, most])))
        acknowledged[f"process-{n}"] = max(last, agent.kill())
        if chance.random() < 0.5:  # else the next process finds it
            recover(sqlite, sqlite.journal)
    check(sqlite, acknowledged)


@pytest.mark.parametrize(
    ("phase", "steps"), [("append", 60), ("acknowledge", 9), ("take", 100), ("prepare_spare", 30), ("steps", 300)]
)
def test_law_5_whatever_the_writer_is_doing(sqlite: Store, server: Server, phase: str, steps: int) -> None:
    """Killed at some step of the function: before BEGIN, before COMMIT, after it, between two files, ….

    Break: in eventstore/recording/writer.py, ``_move``, acknowledge before anything is appended.
    """
    chance = random.Random(phase)
    assert sqlite.journal is not None
    acknowledged: dict[str, int] = {}
    for n in range(max(3, TIMES // 20)):
        url = sqlite.journal.with_suffix("")
        if phase == "steps":  # there is something to recover
            other = Agent(server, "record", url, f"before-{n}", 10, go=False)
            with Locked(url):
                other.go()
                acknowledged[f"before-{n}"] = max(other.read(100), other.kill())
        agent = Agent(server, "record", url, f"process-{n}", 100, phase, chance.randint(1, steps))
        acknowledged[f"process-{n}"] = agent.wait()
    check(sqlite, acknowledged)


@pytest.mark.parametrize(("phase", "steps"), [("append", 80), ("left_behind", 60), ("recover", 600), ("unlink", 3)])
def test_law_5_recovery_killed_and_begun_again(sqlite: Store, server: Server, phase: str, steps: int) -> None:
    """Three journals are left, each longer than a transaction; several recoveries are killed, the last one is not.

    Break: in eventstore/recording/recovery.py, ``_move``, unlink the file before its events are stored.
    """
    chance = random.Random(phase)
    assert sqlite.journal is not None
    url = sqlite.journal.with_suffix("")
    acknowledged: dict[str, int] = {}
    for round_ in range(max(1, TIMES // 100)):
        agents = {f"{round_}-{n}": Agent(server, "record", url, f"{round_}-{n}", 10, go=False) for n in range(3)}
        with Locked(url):
            for agent in agents.values():
                agent.go()
            last = {origin: agent.read(2500) for origin, agent in agents.items()}
            acknowledged |= {origin: max(last[origin], agent.kill()) for origin, agent in agents.items()}
        for _ in range(3):
            Agent(server, "move", url, phase, chance.randint(1, steps)).wait()
    check(sqlite, acknowledged)


class Locked:
    """Holds the database's write lock, so that nothing leaves the journals."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=60)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_trouble: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()
