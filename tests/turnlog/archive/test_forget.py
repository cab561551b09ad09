"""What `turnlog forget` reaches: journals of crashed and living processes, files beside them; what it says remains."""

from __future__ import annotations

import base64
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from eventstore import Event, Store, recover
from eventstore.integrity.session import verify
from eventstore.recording import frames
from eventstore.recording.forget_files import count_calls, erase, ranges
from eventstore.recording.journal import EMPTY, Segment, files
from eventstore.recording.refused_events import set_aside
from eventstore.stores.encrypted import SEALED, with_encryption
from eventstore.stores.encrypted import forget as destroy_key
from eventstore.stores.memory import MemoryStore
from support.journals import leave_behind
from support.program import Program
from turnlog import Recorder, forget, open_store

MASTER = base64.b64encode(b"A" * 32).decode()
MARKER = b"SECRETWORD"


def said(seq: int, session: str = "s", text: str = MARKER.decode()) -> Event:
    return Event(session, "o", seq, "set_user_transcript", 1, seq + 1, seq + 1, f'{{"transcript":"{text} {seq}"}}')


def frame(seq: int, session: str = "s") -> bytes:
    return frames.encode(said(seq, session, MARKER.decode() if session == "s" else "others"))


def broken(whole: bytes) -> bytes:
    """With a bit flipped in the payload."""
    return whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]


def count(folder: Path) -> dict[str, int]:
    """The files that have the marker, and how often."""
    found = {path.name: path.read_bytes().count(MARKER) for path in folder.rglob("*") if path.is_file()}
    return {name: times for name, times in found.items() if times}


class Log:
    """An encrypted log of one backend, its journal folder, and the command line on it."""

    def __init__(self, program: Program, url: str, master: str | None = MASTER) -> None:
        self.program, self.url, self.folder = program, url, program.folder
        self.environment = {"TURNLOG_MASTER_KEY": MASTER, "XDG_STATE_HOME": str(program.folder / "state")}
        self.store = open_store(url, migrate=True, master_key=master)
        assert self.store.journal is not None
        self.journal = self.store.journal

    def forget(self, session: str = "s", code: int = 0) -> str:
        done = self.program.run(
            "--db", self.url, "forget", session, "--yes", code=code, **self.environment
        )  # fmt: skip
        return done.stdout + done.stderr

    def stored(self, session: str = "s") -> list[Event]:
        """As it is stored."""
        return [linked.event for _origin, chain in self.store.chains(session) for linked in chain]

    @contextmanager
    def recorder(self, script: str) -> Iterator[subprocess.Popen[str]]:
        """A process that records, line by line of its standard input."""
        here = {k: v for k, v in os.environ.items() if k != "TURNLOG_DB"} | self.environment
        command = [sys.executable, "-c", script, self.url]
        with subprocess.Popen(command, env=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture(params=["sqlite", "postgres"])
def log(request: pytest.FixtureRequest, program: Program, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    monkeypatch.setenv("XDG_STATE_HOME", str(program.folder / "state"))
    url = str(program.db) if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    found = Log(program, url)
    yield found
    found.store.close()


@pytest.fixture
def embedded(program: Program) -> Iterator[Log]:
    found = Log(program, str(program.db))
    yield found
    found.store.close()


RECORDS = """
import sys
from turnlog import Recorder, open_store
store = open_store(sys.argv[1])
recorder = Recorder(store, "s")
for line in sys.stdin:
    if line == "flush\\n":
        assert recorder.flush(30)
    else:
        recorder.set_user_transcript("SECRETWORD " + line)
    print("done", flush=True)
assert recorder.close(30)
store.close()
"""


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")


# crashed ------------------------------------------------------------------------------------------------------------


def test_a_crashed_process(embedded: Log) -> None:
    """Break: in turnlog/archive/forgetting.py, leave out ``erase``."""
    embedded.store.append([said(0)])
    with embedded.recorder(RECORDS) as process:
        tell(process, "one")
        tell(process, "flush")
        with locked(embedded.program.db):
            tell(process, "two")
            process.kill()
            process.wait()
    assert sum(count(embedded.folder).values()) == 1
    assert "journals: 1 call stored without content" in embedded.forget()
    assert count(embedded.folder) == {}
    assert [event.payload.startswith(SEALED + '"') for event in embedded.stored()].count(True) == 1
    assert len(embedded.stored()) == 3
    assert verify(embedded.store, "s") == []


def test_other_sessions_stay_in_the_file(log: Log) -> None:
    """Break: in eventstore/recording/forget_files.py, ``_erase_from_file``, rewrite without ``others``; or keep all."""
    log.store.append([said(0), said(0, "t", "others")])
    data = b"".join([frame(1, "t"), frame(1), broken(frame(2, "t")), frame(2), broken(frame(3)), frame(3, "t")])
    leave_behind(log.journal, data + frame(4, "t")[:-5])
    before = log.journal.stat().st_mode
    assert "2 calls stored without content, 1 erased" in log.forget()
    assert count(log.folder) == {}
    assert [event.seq for event in log.stored()] == [0, 1, 2]
    (left,) = files(log.journal)
    assert [(event.session_id, event.seq) for event in left.contents.events] == [("t", 1), ("t", 3)]
    assert left.contents.damage == [broken(frame(2, "t"))]
    assert left.contents.torn == frame(4, "t")[:-5]
    assert left.path.stat().st_mode & 0o77 == 0
    assert log.journal.stat().st_mode == before
    recover(log.store, log.journal)
    assert [event.payload for event in log.store.read("t")] == [
        said(seq, "t", "others").payload for seq in (0, 1, 3)
    ]  # fmt: skip


def test_what_was_stored_before_the_crash_is_no_conflict(log: Log) -> None:
    """Break: in eventstore/stores/encrypted.py, ``append``, raise the conflict."""
    log.store.append([said(0), said(1)])
    before = log.stored()
    leave_behind(log.journal, frame(0) + frame(1) + frame(2))
    assert "3 calls stored without content, 0 erased" in log.forget()
    assert count(log.folder) == {}
    assert log.stored()[:2] == before
    assert log.stored()[2].payload.startswith(SEALED + '"')
    assert list(log.journal.glob("*")) == []


def test_what_was_stored_and_never_wiped(embedded: Log) -> None:
    """By a process that opened the log before it had keys, or was killed while it wiped.

    Break: in eventstore/recording/forget_files.py, ``_erase_from_file``, look only behind the mark.
    """
    embedded.store.append([said(0), said(1)])
    for start in (0, 60):
        segment = Segment(embedded.journal, 1 << 12)
        segment.write(frame(0) + frame(1))
        assert len(segment.take(1 << 12)) == 2
        segment.acknowledge()
        segment._map[len(EMPTY) : len(EMPTY) + start] = bytes(start)
        segment.close(remove=False)
    embedded.forget()
    assert count(embedded.folder) == {}


def test_a_session_that_only_a_journal_has(log: Log) -> None:
    log.store.append([said(0, "t", "others")])
    leave_behind(log.journal, frame(0))
    log.forget()
    assert count(log.folder) == {}
    assert [event.seq for event in log.stored()] == [0]
    assert "unknown session" in log.forget("nobody", code=1)


def test_a_database_that_takes_nothing_now(embedded: Log) -> None:
    """The key is destroyed; what cannot be stored stays, and is named."""

    class Down(MemoryStore):
        def append(self, events: object) -> list[int]:
            raise OSError("down")

    leave_behind(embedded.journal, frame(0))
    done = erase(Down(), embedded.journal, "s", 0.0)
    assert "may contain calls" in done.remains[0]
    assert count(embedded.folder)


# living -------------------------------------------------------------------------------------------------------------


def test_a_living_recorder(log: Log) -> None:
    """It has the session's key in memory, and goes on.

    Break: in eventstore/stores/encrypted.py, ``append``, leave out ``forgotten``.
    """
    with log.recorder(RECORDS) as process:
        tell(process, "one")
        tell(process, "flush")
        tell(process, "two")
        log.forget()
        assert count(log.folder) == {}
        tell(process, "three")
        tell(process, "flush")
        assert count(log.folder) == {}
        assert log.stored()[2].payload.startswith(SEALED + '"')
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0
    assert len(log.stored()) == 3
    assert count(log.folder) == {}


@pytest.mark.slow
def test_a_living_recorder_that_is_stopped(embedded: Log) -> None:
    """Break: in eventstore/recording/forget_files.py, ``erase``, leave out the lines of living processes."""
    with embedded.recorder(RECORDS) as process:
        tell(process, "one")
        tell(process, "flush")
        with locked(embedded.program.db):
            tell(process, "two")
            tell(process, "three")
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
        lines = embedded.forget(code=1)
        (name,) = count(embedded.folder)
        assert "content forgotten at" in lines
        assert f"{name} still contains 2 call(s) of it, in the clear: process {process.pid} has it open" in lines
        process.send_signal(signal.SIGCONT)
        tell(process, "flush")
        embedded.forget()
        assert count(embedded.folder) == {}
        assert len(embedded.stored()) == 3


def test_what_is_recorded_after_it_is_not_waited_for(embedded: Log) -> None:
    """Break: in eventstore/recording/forget_files.py, ``erase``, do not compare with the first look."""
    embedded.store.append([said(0)])
    destroy_key(embedded.store, "s")
    segment = Segment(embedded.journal, 1 << 16)
    assert segment.write(frame(1))

    class Looking(MemoryStore):
        """While it takes what a crashed process left, the living one stores its call and records another."""

        def append(self, events: object) -> list[int]:
            segment.take(1 << 16)
            segment.acknowledge(wipe=True)
            segment.write(frame(2))
            return []

    leave_behind(embedded.journal, frame(9)).rename(embedded.journal / "z.journal")
    done = erase(Looking(), embedded.journal, "s", 30.0)
    assert (done.moved, done.remains) == (1, ())
    segment.close(remove=True)


# files beside journals ----------------------------------------------------------------------------------------------


def test_what_is_set_aside(log: Log) -> None:
    """Break: in eventstore/recording/forget_files.py, take only files of `SUFFIX`."""
    log.store.append([said(0), said(0, "t", "others")])
    set_aside(log.journal, [said(1), said(1, "t", "others"), said(0, text="SECRETWORD in conflict")], 1 << 20)
    log.forget()
    assert count(log.folder) == {}
    assert [event.seq for event in log.stored()] == [0, 1]
    (left,) = files(log.journal)
    assert left.contents.events == [said(1, "t", "others")]


def test_a_conflict_goes_and_is_counted(embedded: Log) -> None:
    embedded.store.append([said(0)])
    other = Event("s", "o", 0, "set_agent_response", 1, 9, 9, '{"response":"SECRETWORD","emit_transport":true}')
    set_aside(embedded.journal, [other], 1 << 20)
    assert "0 calls stored without content, 1 erased" in embedded.forget()
    assert count(embedded.folder) == {}


def test_damaged_files(log: Log) -> None:
    """Break: in eventstore/recording/forget_files.py, ``_split_damage``, leave out ``heads``."""
    log.store.append([said(0), said(0, "t", "others")])
    log.journal.mkdir(parents=True, exist_ok=True)
    theirs = [broken(frame(1, "t")), broken(frame(2, "t"))]
    (log.journal / "a.journal.damaged").write_bytes(theirs[0] + broken(frame(1)) + theirs[1] + frame(2)[:-4])
    (log.journal / "b.journal.damaged").write_bytes(broken(frame(1)) + frame(3))
    (log.journal / "c.journal.damaged").write_bytes(frame(1)[:16] + b"?" + frame(1)[17:])
    lines = log.forget(code=1)
    assert lines.count("turnlog:") == 1
    assert "c.journal.damaged may contain calls of it" in lines
    assert "delete the file" in lines
    assert set(count(log.folder)) == {"c.journal.damaged"}
    left = (log.journal / "a.journal.damaged").read_bytes()
    assert left.replace(b"\0", b"") == b"".join(theirs).replace(b"\0", b"")
    assert not (log.journal / "b.journal.damaged").exists()
    (log.journal / "c.journal.damaged").unlink()
    log.forget()
    assert count(log.folder) == {}


@pytest.mark.parametrize("at", range(16 + len("s") + len("o")))
def test_a_head_that_is_damaged_is_erased_or_named(tmp_path: Path, at: int) -> None:
    data = bytearray(frame(0))
    data[at] ^= 4
    (tmp_path / "a.journal.damaged").write_bytes(broken(bytes(data)))
    done = erase(MemoryStore(), tmp_path, "s", 0.0)
    assert done.remains or not count(tmp_path)


def test_a_file_of_no_journal(tmp_path: Path) -> None:
    (tmp_path / "x.journal").write_bytes(b"not a journal: " + MARKER)
    done = erase(MemoryStore(), tmp_path, "s", 0.0)
    assert "x.journal may contain calls of it" in done.remains[0]
    assert count(tmp_path)


def test_ranges_cover_all_that_is_not_zero() -> None:
    data = bytes(5) + b"junk" + broken(frame(0)) + broken(frame(1, "t")) + frame(2) + bytes(50)
    found = ranges(data, 0, "s", {"t"})
    assert [each.session_id for each in found] == [None, "s", "t", "s"]
    assert not bytes(b for at, b in enumerate(data) if not any(e.start <= at < e.stop for e in found)).strip(b"\0")


# what remains -------------------------------------------------------------------------------------------------------


def record(store: Store, *texts: str) -> None:
    with Recorder(store, "s") as recorder:
        for text in texts:
            recorder.set_user_transcript(text)
    store.close()


def test_what_was_stored_before_there_was_a_key(log: Log) -> None:
    """Break: in turnlog/archive/forgetting.py, leave out ``_readable_events``; or in cli/trust.py, exit with 0."""
    plain = log.store._store  # type: ignore[attr-defined]
    plain.append([said(0), said(1), Event("s", "o", 2, "on_eou_start", 1, 3, 3, "{}")])
    log.store.append([said(3)])
    leave_behind(log.journal, frame(4))
    left = log.forget(code=1)
    assert "content forgotten at" in left
    assert (
        "2 event(s) of it were stored in the clear, and stay readable in the database (set_user_transcript 2)" in left
    )
    assert list(log.journal.iterdir()) == []
    command = left.partition("turnlog retention")[2].strip()
    log.program.run("--db", log.url, "retention", *shlex.split(command), "--yes", **log.environment)
    assert log.stored() == []
    log.forget()
    assert count(log.folder) == {}


@pytest.mark.parametrize("with_key", [True, False])
def test_a_session_without_a_key(program: Program, with_key: bool) -> None:
    """Nothing is half done. Break: in turnlog/archive/forgetting.py, do not return where there is no key."""
    store = open_store(program.db)
    assert store.journal is not None
    record(store, "SECRETWORD")
    if with_key:
        with_encryption(open_store(program.db), MASTER).append([said(0, "t", "others")])
    path = leave_behind(store.journal, frame(7))
    before, rows = path.read_bytes(), program.run("events", "s", "--json").stdout
    keys = {"TURNLOG_MASTER_KEY": MASTER} if with_key else {}
    done = program.run("forget", "s", "--yes", code=1, **keys)
    assert "database: " in done.stderr
    assert "is not encrypted; nothing was done" in done.stderr
    assert "1 event(s) of it were stored in the clear" in done.stderr
    assert f"{path} holds 1 call(s) of it in the clear" in done.stderr
    assert done.stdout == ""
    assert path.read_bytes() == before
    assert program.run("events", "s", "--json").stdout == rows
    store = open_store(program.db)
    assert store.ledger.key("s") is None
    store.close()


def test_an_archive_that_is_readable(program: Program) -> None:
    """Break: in turnlog/archive/forgetting.py, leave out ``_readable_archives``."""
    record(open_store(program.db), "SECRETWORD")
    program.run("retention", "--session", "s", "--yes")
    (path,) = (program.folder / "archive").iterdir()
    line = program.run("forget", "s", "--yes", code=1).stderr
    assert f"{path.relative_to(program.folder)} holds 1 readable event(s)" in line.replace(f"{program.folder}/", "")
    path.write_bytes(path.read_bytes()[:-20])
    assert "may hold content of it" in program.run("forget", "s", "--yes", code=1).stderr
    path.unlink()
    program.run("forget", "s", "--yes")


def test_an_archive_of_an_encrypted_session_is_no_matter(embedded: Log) -> None:
    embedded.store.append([said(0)])
    embedded.program.run("retention", "--session", "s", "--yes", **embedded.environment)
    assert list((embedded.folder / "archive").iterdir())
    embedded.forget()


def test_without_yes_nothing_is_touched(embedded: Log) -> None:
    embedded.store.append([said(0)])
    path = leave_behind(embedded.journal, frame(1))
    assert "--yes" in embedded.program.fails("forget", "s", **embedded.environment)
    assert count(embedded.folder) == {path.name: 1}
    key = embedded.store.ledger.key("s")
    assert key is not None
    assert key.wrapped is not None


def test_a_folder_that_is_named(embedded: Log) -> None:
    embedded.store.append([said(0)])
    folder = embedded.folder / "elsewhere"
    leave_behind(folder, frame(1))
    assert count_calls(folder, "s")
    arguments = ("forget", "s", "--yes", "--journal")
    embedded.program.run(*arguments, folder, **embedded.environment)
    assert count(embedded.folder) == {}
    assert "no folder" in embedded.program.fails(*arguments, embedded.folder / "none", **embedded.environment)


def test_again_from_python(embedded: Log) -> None:
    embedded.store.append([said(0)])
    first = forget(embedded.store, "s")
    assert first.forgotten_ns
    assert first.remains == []
    assert forget(embedded.store, "s") == first
