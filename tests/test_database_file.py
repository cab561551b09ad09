"""The database's file: still the one that was opened, and its owner's alone."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from eventstore import Store, codec
from eventstore.errors import StoreReplaced, StoreUnavailable
from test_store_contract import event
from turnlog import Recorder, open_store


def words(store: Store) -> list[str]:
    return [codec.decode(e)["text"] for e in store.read("s")]


def say(recorder: Recorder, name: str, times: int = 50) -> list[str]:
    said = [f"{name}{n}" for n in range(times)]
    for text in said:
        recorder.set_llm_input(text)
    return said


def backup(path: Path, to: Path) -> None:
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def remove(path: Path) -> None:
    for file in path.parent.glob(path.name + "*"):
        if file.is_file():
            file.unlink()


def replace_with_empty_log(path: Path) -> None:
    open_store(path.with_name("other.db")).close()
    path.with_name("other.db").replace(path)


@pytest.mark.parametrize(
    "change",
    [
        remove,
        lambda path: path.unlink(),
        lambda path: path.rename(path.with_name("moved.db")),
        replace_with_empty_log,
        lambda path: (path.unlink(), path.touch()),
    ],
    ids=["removed", "only the file removed", "moved", "another log", "emptied"],
)
def test_a_database_that_is_gone_is_made_anew(tmp_path: Path, change: object) -> None:
    """Break: in eventstore/database_file.py, ``is_at_path``, say yes."""
    path = tmp_path / "calls.db"
    store = open_store(path)
    recorder = Recorder(store, "s")
    say(recorder, "a")
    assert recorder.flush(30)
    change(path)  # type: ignore[operator]
    said = say(recorder, "b")
    assert recorder.flush(30), recorder.health
    health = recorder.health
    assert (health.replaced, health.lost, health.backlog_bytes) == (1, 50, 0)
    assert "50 calls that were stored are not in it any more" in str(health.last_error)
    assert not recorder.close(30), "what was stored before is not there"
    store.close()
    store = open_store(path)
    assert words(store) == said
    assert path.stat().st_mode & 0o777 == 0o600
    store.close()
    if (tmp_path / "moved.db").exists():
        moved = open_store(tmp_path / "moved.db")
        assert words(moved) == [f"a{n}" for n in range(50)]
        moved.close()


def test_a_restored_backup_gets_what_comes_then(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    store = open_store(path)
    recorder = Recorder(store, "s")
    first = say(recorder, "a")
    assert recorder.flush(30)
    backup(path, tmp_path / "backup")
    say(recorder, "lost")
    assert recorder.flush(30)
    shutil.copy(tmp_path / "backup", tmp_path / "new")
    (tmp_path / "new").replace(path)
    then = say(recorder, "b")
    assert recorder.flush(30)
    assert (recorder.health.replaced, recorder.health.lost) == (1, 50)
    assert not recorder.close()
    store.close()
    store = open_store(path)
    assert words(store) == first + then
    store.close()


def test_a_restore_through_sqlite_itself_is_seen(tmp_path: Path) -> None:
    """Into the same inode. Break: in eventstore/sqlite_store.py, ``_check_tails``, return."""
    path = tmp_path / "calls.db"
    store = open_store(path)
    store.append([event(0)])
    backup(path, tmp_path / "backup")
    store.append([event(1)])
    with closing(sqlite3.connect(tmp_path / "backup")) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    with pytest.raises(StoreReplaced, match="an older state was restored; 1 calls") as caught:
        store.append([event(2)])
    assert caught.value.missing == {("s", "o"): 1}
    store.append([event(2)])
    assert [e.seq for e in store.read("s")] == [0, 2]
    store.close()


@pytest.mark.parametrize("what", ["text", "folder", "pipe", "database"])
def test_what_is_no_log_is_never_written(tmp_path: Path, what: str) -> None:
    """Break: in eventstore/database_file.py, ``check_foreign``, let everything pass."""
    path = tmp_path / "calls.db"
    store = open_store(path)
    recorder = Recorder(store, "s")
    say(recorder, "a")
    assert recorder.flush(30)
    remove(path)
    if what == "text":
        path.write_text("dear diary " * 500)
    elif what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes() if path.is_file() else None
    said = say(recorder, "b")
    assert not recorder.flush(1)
    assert "was replaced by" in str(recorder.health.last_error)
    assert recorder.health.backlog_bytes > 0
    assert (path.read_bytes() if path.is_file() else None) == before
    shutil.rmtree(path) if what == "folder" else path.unlink()
    assert recorder.flush(60), recorder.health
    recorder.close()
    assert words(store) == said
    store.close()


def test_a_log_that_lost_its_write_ahead_log_keeps_what_was_stored(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    store = open_store(path)
    store.append([event(0)])
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink()
    store.append([event(1)])
    store.close()
    store = open_store(path)
    assert [e.seq for e in store.read("s")] == [0, 1]
    store.close()


def test_a_follower_of_a_file_that_is_gone_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path / "calls.db")
    store.append([event(0)])
    follower = store.follow()
    assert next(follower).event == event(0)
    remove(tmp_path / "calls.db")
    with pytest.raises(StoreUnavailable, match="while it was followed"):
        next(follower)
    store.close()


def test_a_link_that_leads_elsewhere_now(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    link = tmp_path / "calls.db"
    link.symlink_to(tmp_path / "one" / "calls.db")
    open_store(tmp_path / "one" / "calls.db").close()
    open_store(tmp_path / "two" / "calls.db").close()
    store = open_store(link)
    store.append([event(0)])
    link.unlink()
    link.symlink_to(tmp_path / "two" / "calls.db")
    with pytest.raises(StoreReplaced):
        store.append([event(1)])
    store.append([event(1)])
    store.close()
    for name, expected in (("one", [0]), ("two", [1])):
        opened = open_store(tmp_path / name / "calls.db")
        assert [e.seq for e in opened.read("s")] == expected
        opened.close()


# modes --------------------------------------------------------------------------------------------------------------


def test_files_are_the_owners_whatever_the_umask(tmp_path: Path) -> None:
    """Break: in eventstore/database_file.py, ``make``, do nothing."""
    script = (
        "import os, sys\n"
        "os.umask(0)\n"
        "from turnlog import Recorder, open_store\n"
        "store = open_store(sys.argv[1]); recorder = Recorder(store, 's'); recorder.on_eou_start(); recorder.flush()\n"
        "for top, folders, names in os.walk(os.path.dirname(sys.argv[1])):\n"
        "    for name in folders + names:\n"
        "        print(name.partition('calls.db')[2][:8], oct(os.stat(os.path.join(top, name)).st_mode & 0o777))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "calls.db"], capture_output=True, text=True, check=True
    )
    modes = set(done.stdout.splitlines())
    assert modes == {" 0o600", "-wal 0o600", "-shm 0o600", ".journal 0o700"}


def test_what_is_lax_is_tightened_by_a_writer_and_not_by_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    store = open_store(path)
    with Recorder(store) as recorder:
        recorder.on_eou_start()
    store.close()
    folder = tmp_path / "calls.db.journal"
    path.chmod(0o644)
    folder.chmod(0o755)
    reader = open_store(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert len(reader.sessions()) == 1
    reader.close()
    assert path.stat().st_mode & 0o777 == 0o644
    store = open_store(path)
    Recorder(store).close()
    assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    store.close()


# collected ----------------------------------------------------------------------------------------------------------


def test_a_recorder_that_is_collected_closes_itself(tmp_path: Path) -> None:
    """Break: in eventstore/recorder.py, ``_open``, finalize nothing."""

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for n in range(5):
        store = open_store(tmp_path / "calls.db")
        recorder = Recorder(store, f"s{n}")
        recorder.on_llm_start()
        assert recorder.current_turn is None or recorder.turns is not None
        threads = [thread for thread in threading.enumerate() if thread.name == "turnlog-writer"]
        del store, recorder
        gc.collect()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        del threads
        gc.collect()
    assert descriptors() <= before + 1
    assert list((tmp_path / "calls.db.journal").iterdir()) == []
    with closing(sqlite3.connect(tmp_path / "calls.db")) as driver:
        assert driver.execute("SELECT COUNT(*) FROM events").fetchone() == (5,)
