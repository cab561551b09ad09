"""Faults from outside: folders and stores that turn read-only, and stores locked by other processes.

Each test counts events in and out: none that was acknowledged is lost, none is stored twice, and no hook call raises.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from eventstore import Store, codec, recover
from eventstore.stores.memory import MemoryStore
from turnlog import Recorder, open_store

pytestmark = pytest.mark.slow


def messages(store: Store, session: str = "s") -> list[int]:
    """The calls of `record` that reached the store."""
    return [int(codec.decode(event)["message"]) for event in store.read(session)]


def record(recorder: Recorder, *numbers: int) -> None:
    for n in range(*numbers):
        recorder.add_error("LLM", str(n))


@pytest.fixture
def error_logged() -> Iterator[Callable[[str], threading.Event]]:
    """An event that is set as soon as the recorder reports an error."""
    handlers = []

    def expect(words: str) -> threading.Event:
        found = threading.Event()

        class Listener(logging.Handler):
            def emit(self, entry: logging.LogRecord) -> None:
                if words in entry.getMessage():
                    found.set()

        handlers.append(Listener())
        logging.getLogger("turnlog").addHandler(handlers[-1])
        return found

    yield expect
    for handler in handlers:
        logging.getLogger("turnlog").removeHandler(handler)


# read-only folders --------------------------------------------------------------------------------------------------

# Root may write anywhere, so the agent gives up being root; by then all is imported, as other users may not read root's
# interpreter.
UNPRIVILEGED = """
import os, sys, tempfile
from pathlib import Path
from eventstore.errors import StoreError, StoreReadOnly
from turnlog import Recorder, open_store, recover
with tempfile.TemporaryDirectory() as warm:
    store = open_store(warm + "/calls.db")
    with Recorder(store) as recorder:
        recorder.add_error("", "")
        recover(store, store.journal)
    store.close()
if os.geteuid() == 0:
    os.setuid(65534)
folder, padding = Path(sys.argv[1]), "x" * 100
journal = folder / "journal"
store = open_store(folder / "calls.db")
def record(*numbers):
    for n in range(*numbers):
        recorder.add_error(padding, str(n))
def lost():
    return recorder.health.dropped, recorder.health.failed, recorder.health.rejected
"""


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder that an unprivileged process owns, and can make read-only."""
    folder = Path(tempfile.mkdtemp(prefix="turnlog-faults-"))
    folder.chmod(0o777)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(folder)


def run_unprivileged(folder: Path, script: str) -> str:
    command = [sys.executable, "-c", UNPRIVILEGED + script, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stderr


def stored(folder: Path, session: str = "s") -> list[int]:
    store = open_store(folder / "calls.db")
    found = messages(store, session)
    store.close()
    return found


@pytest.mark.parametrize("mode", [0o555, 0o000])
@pytest.mark.parametrize("inside", ["journal", "journal/deeper"])
def test_a_journal_folder_that_may_not_be_written(anybodys: Path, mode: int, inside: str) -> None:
    """Calls are kept in memory, counted, and all reach the store.

    Break: in eventstore/recording/journal.py, ``_files``, let the error of a folder that may not be searched escape:
    the writer never comes to what was recorded.
    """
    script = f"""
journal.mkdir()
journal.chmod({mode})
recorder = Recorder(store, "s", journal=folder / "{inside}")
record(500)
assert recorder.health.unjournaled == 500, recorder.health
assert "Permission denied; calls are kept in memory" in recorder.health.last_error
assert recorder.flush(30), recorder.health
record(500, 510)
assert recorder.close(30)
assert (recorder.health.unjournaled, *lost()) == (510, 0, 0, 0), recorder.health
store.close()
"""
    run_unprivileged(anybodys, script)
    assert stored(anybodys) == list(range(510))


def test_a_journal_folder_that_may_not_be_written_any_more(anybodys: Path) -> None:
    """During a call: open files stay in use and cannot be removed; closing raises nothing.

    Break: in eventstore/recording/journal.py, ``discard``, let the error escape.
    """
    script = """
recorder = Recorder(store, "s", journal=journal)
record(100)
assert recorder.flush(30)
journal.chmod(0o555)
record(100, 30_000)
assert recorder.flush(30), recorder.health
assert 0 < recorder.health.unjournaled < 29_900, recorder.health
assert recorder.close(30), recorder.health
assert lost() == (0, 0, 0), recorder.health
journal.chmod(0o755)
assert recover(store, journal) == 0
assert list(journal.iterdir()) == []
store.close()
"""
    assert run_unprivileged(anybodys, script).count("which is no longer needed: Permission denied") >= 2
    assert stored(anybodys) == list(range(30_000))


def test_what_was_left_behind_in_a_folder_that_is_read_only_now(anybodys: Path) -> None:
    """The calls are stored although the files cannot be removed, and new calls do not wait for that.

    Break: in eventstore/recording/recovery.py, ``_move``, unlink where that may raise.
    """
    script = """
if not os.fork():
    recorder = Recorder(store, "before", journal=journal)
    record(300)
    os._exit(0)
assert os.wait()[1] == 0
journal.chmod(0o555)
recorder = Recorder(store, "s", journal=journal)
record(100)
assert recorder.flush(30), recorder.health
assert recorder.close(30)
assert lost() == (0, 0, 0), recorder.health
journal.chmod(0o755)
recover(store, journal)
assert list(journal.glob("*.journal")) == []  # the child may have been making one that is none yet
store.close()
"""
    run_unprivileged(anybodys, script)
    assert stored(anybodys) == list(range(100))
    assert stored(anybodys, "before") == list(range(300))


def test_a_file_that_was_never_finished_is_removed_when_it_is_old(tmp_path: Path) -> None:
    """A process killed while it creates a journal file leaves one that no recovery would read."""
    for name in ("old.new", "young.new"):
        (tmp_path / name).touch()
    os.utime(tmp_path / "old.new", (1, 1))
    assert recover(MemoryStore(), tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["young.new"]


# read-only stores ---------------------------------------------------------------------------------------------------


def test_opening_a_database_in_a_read_only_folder_says_so_in_one_line(anybodys: Path) -> None:
    """An existing database, a missing one, and recording into a read-only one."""
    script = """
recorder = Recorder(store, "s", journal=journal)
record(10)
assert recorder.close()
store.close()
def refusal(name):
    try:
        open_store(folder / name)
    except StoreError as error:
        assert "\\n" not in str(error) and str(folder / name) in str(error)
        return type(error), str(error).partition(": ")[2]
inside = folder / "inside"
inside.mkdir()
open_store(inside / "calls.db").close()
inside.chmod(0o555)
assert refusal("inside/calls.db") == (StoreReadOnly, "attempt to write a readonly database")
assert refusal("inside/new.db")[1] == "unable to open database file"
(inside / "calls.db").chmod(0o444)
store = open_store(inside / "calls.db")  # for reading
recorder = Recorder(store, "s", journal=journal)
record(10, 20)
while "inside/calls.db is read-only" not in str(recorder.health.last_error):
    assert not recorder.flush(0.05)
assert not recorder.close(0.1)
assert lost() == (0, 0, 0), recorder.health
assert len(list(journal.iterdir())) > 0
store.close()
store = open_store(folder / "calls.db")
assert recover(store, journal) == 10
store.close()
"""
    run_unprivileged(anybodys, script)
    found = open_store(anybodys / "calls.db")
    assert sorted(messages(found)) == list(range(20))
    found.close()


def test_an_sqlite_database_that_turns_read_only_in_mid_call(anybodys: Path) -> None:
    """All calls stay in the journal, and are stored once the database is writable again.

    Break: in eventstore/recording/writer.py, ``_retry``, try once.
    """
    script = """
recorder = Recorder(store, "s", journal=journal)
record(100)
assert recorder.flush(30)
files = [folder / ("calls.db" + end) for end in ("", "-wal", "-shm")]
for file in files:
    file.chmod(0o444)
store._engine.dispose()  # an open file would stay writable
record(100, 3000)
while "is read-only" not in str(recorder.health.last_error):
    assert not recorder.flush(0.05)
assert recorder.health.backlog_bytes > 0 and lost() == (0, 0, 0), recorder.health
for file in files:
    if file.exists():
        file.chmod(0o644)
store._engine.dispose()
record(3000, 3100)
assert recorder.flush(60), recorder.health
assert recorder.close(30)
assert (recorder.health.unjournaled, *lost()) == (0, 0, 0, 0), recorder.health
assert list(journal.iterdir()) == []
store.close()
"""
    run_unprivileged(anybodys, script)
    assert stored(anybodys) == list(range(3100))


def test_a_postgres_database_that_turns_read_only_in_mid_call(
    postgres: Store, postgres_url: str, tmp_path: Path, error_logged: Callable[[str], threading.Event]
) -> None:
    """As after a failover to a standby."""
    url = make_url(postgres_url).set(drivername="postgresql")
    refused = error_logged("is read-only here")
    with (
        psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as admin,
        Recorder(postgres, "s", journal=tmp_path) as recorder,
    ):

        def turn(read_only: str) -> None:
            admin.execute("SET default_transaction_read_only = off")
            admin.execute(f"ALTER DATABASE {url.database} SET default_transaction_read_only = {read_only}")
            admin.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

        record(recorder, 100)
        assert recorder.flush()
        turn("on")
        record(recorder, 100, 2000)
        assert refused.wait(30)
        assert not recorder.flush(0.01)
        turn("off")
        record(recorder, 2000, 2100)
        assert recorder.flush(60), recorder.health
        health = recorder.health
    assert (health.dropped, health.unjournaled, health.failed, health.rejected) == (0, 0, 0, 0)
    assert messages(postgres) == list(range(2100))


REMOUNTED = """
import os, sys
from pathlib import Path
from turnlog import Recorder, open_store, recover
mounted, journal, device = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
store = open_store(mounted / "calls.db")
recorder = Recorder(store, "s", journal=journal)
for n in range(100):
    recorder.add_error("LLM", str(n))
assert recorder.flush(30)
os.sync()
Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("a test")
for n in range(100, 5000):
    recorder.add_error("x" * 100, str(n))
assert not recorder.close(0.5)
health = recorder.health
assert (health.dropped, health.unjournaled, health.failed, health.rejected) == (0, 0, 0, 0), health
"""


def test_a_file_system_that_turns_read_only_in_mid_call(tmp_path: Path) -> None:
    """A real file system on an image, remounted read-only as after an I/O error; needs permission to mount."""
    image, mounted, journal = tmp_path / "image", tmp_path / "mounted", tmp_path / "journal"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(32 << 20)
    if os.geteuid() != 0 or not all(map(shutil.which, ("mkfs.ext4", "unshare", "mount", "findmnt"))):
        pytest.skip("needs root, and tools that mount")
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)

    def run_mounted(*command: object) -> subprocess.CompletedProcess[str]:
        """Run it, with the device as its last argument, in a private mount namespace."""
        script = (
            'M=$2; mount -o loop,errors=remount-ro "$1" "$M" || exit 99; D=$(findmnt -no SOURCE "$M")\n'
            'shift 2; S=0; "$@" "${D##*/}" || S=$?; umount "$M"; exit $S'
        )
        shell = ["unshare", "--mount", "sh", "-c", script, "-", image, mounted]
        return subprocess.run([*shell, *command], capture_output=True, text=True, check=False)

    if run_mounted("sh", "-c", 'test -w "/sys/fs/ext4/$0/trigger_fs_error"').returncode:
        pytest.skip("file systems cannot be mounted here")
    done = run_mounted(sys.executable, "-c", REMOUNTED, mounted, journal)
    assert done.returncode == 0, done.stderr
    again = (
        "import sys; from pathlib import Path; from turnlog import open_store, recover\n"
        "store = open_store(sys.argv[1]); recover(store, Path(sys.argv[2]))\n"
        "print(*[event.seq for event in store.read('s')]); store.close()"
    )
    done = run_mounted(sys.executable, "-c", again, mounted / "calls.db", journal)
    assert list(map(int, done.stdout.split())) == list(range(5000)), done.stderr
    assert list(journal.iterdir()) == []


# locks --------------------------------------------------------------------------------------------------------------

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
connection.close()
"""


def test_an_sqlite_database_that_another_process_holds_for_longer_than_we_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error_logged: Callable[[str], threading.Event]
) -> None:
    """Break: in eventstore/recording/writer.py, ``_move``, acknowledge before the store has it."""
    monkeypatch.setattr("eventstore.stores.sqlite.store.BUSY_SECONDS", 0.05)
    store = open_store(tmp_path / "calls.db")
    with Recorder(store, "s") as recorder:
        record(recorder, 500)
        assert recorder.flush()
        refused = error_logged("locked by another process")
        command = [sys.executable, "-c", HOLDER, tmp_path / "calls.db"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdin is not None and holder.stdout is not None
            assert holder.stdout.readline() == b"locked\n"
            record(recorder, 500, 2500)
            assert refused.wait(30)
            assert not recorder.flush(0.01)
            assert len(messages(store)) == 500
            holder.stdin.close()
            assert holder.wait(30) == 0
        record(recorder, 2500, 3000)
        assert recorder.flush(60), recorder.health
        health = recorder.health
    assert (health.dropped, health.unjournaled, health.failed, health.rejected) == (0, 0, 0, 0)
    assert messages(store) == list(range(3000))
    assert store.journal is not None
    assert list(store.journal.iterdir()) == []
    store.close()


def test_a_postgres_table_that_somebody_else_holds(postgres: Store, postgres_url: str, tmp_path: Path) -> None:
    """The writer waits for the lock, and hook calls do not."""
    url = make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with Recorder(postgres, "s", journal=tmp_path) as recorder:
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
            record(recorder, 1000)
            assert not recorder.flush(0.2)
        assert recorder.flush(60), recorder.health
        assert (recorder.health.dropped, recorder.health.failed, recorder.health.rejected) == (0, 0, 0)
    assert messages(postgres) == list(range(1000))
