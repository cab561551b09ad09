"""The database file: replacement is detected, and permissions are private."""

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

import msgspec
import pytest

from eventstore import Store, codec
from eventstore.errors import StoreReplaced, StoreUnavailable
from eventstore.integrity.session import verify
from eventstore.stores.sqlite.file import DatabaseFile
from support.events import event
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
    """Break: in eventstore/stores/sqlite/file.py, ``is_at_path``, say yes."""
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
    assert "50 calls that were stored are missing from it" in str(health.last_error)
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
    """Into the same inode. Break: in eventstore/stores/sqlite/watch.py, ``check_heads``, return."""
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
    """Break: in eventstore/stores/sqlite/file.py, ``check_foreign``, let everything pass."""
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


# overwritten in place: the same inode, another content --------------------------------------------------------------


def sh(command: str, *args: Path | str) -> None:
    """Done by another process."""
    subprocess.run(["sh", "-ec", command, "sh", *args], check=True)


def checkpoint(path: Path) -> None:
    with closing(sqlite3.connect(path)) as driver:
        assert driver.execute("PRAGMA wal_checkpoint").fetchone()[0] == 0


def seqs(path: Path, session: str = "s") -> list[int]:
    store = open_store(path)
    found = [e.seq for e in store.read(session)]
    assert not verify(store, session), verify(store, session)
    store.close()
    return found


def a_log(path: Path, events: int, *, checkpointed: bool) -> Store:
    store = open_store(path)
    for n in range(0, events, 50):
        store.append([event(seq) for seq in range(n, min(n + 50, events))])
    if checkpointed:
        checkpoint(path)
    return store


@pytest.mark.parametrize("checkpointed", [True, False])
@pytest.mark.parametrize("what", ["another log", "text", "another database"])
def test_a_foreign_file_that_is_copied_over_the_database(tmp_path: Path, what: str, checkpointed: bool) -> None:
    """Break: in eventstore/stores/sqlite/file.py, ``is_ours``, say yes; or in ``empty_log``, do nothing."""
    path, other = tmp_path / "calls.db", tmp_path / "other"
    if what == "another log":
        theirs = open_store(other)
        theirs.append([msgspec.structs.replace(event(seq), session_id="theirs") for seq in range(2000)])
        theirs.close()
    elif what == "text":
        other.write_text("dear diary " * 20_000)
    else:
        with closing(sqlite3.connect(other)) as driver, driver:
            driver.execute("CREATE TABLE theirs (a)")
            driver.executemany("INSERT INTO theirs VALUES (?)", [("x" * 500,)] * 1000)
    store = a_log(path, 500, checkpointed=checkpointed)
    store.append([event(500)])
    before = path.stat().st_ino
    sh('cat "$1" > "$2"', other, path)
    assert path.stat().st_ino == before
    if what == "another log":
        with pytest.raises(StoreReplaced, match="was overwritten while it was open.* 501 calls"):
            store.append([event(501)])
        store.append([event(501)])
        store.close()
        assert seqs(path) == [501]
        assert seqs(path, "theirs") == list(range(2000))
    else:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="was replaced by"):
                store.append([event(501)])
        store.close()
        assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("checkpointed", [True, False])
def test_a_database_that_is_truncated(tmp_path: Path, checkpointed: bool) -> None:
    """Break: in eventstore/stores/sqlite/file.py, ``is_ours``, say yes."""
    path = tmp_path / "calls.db"
    store = a_log(path, 3000, checkpointed=checkpointed)
    sh(': > "$1"', path)
    with pytest.raises(StoreReplaced, match="overwritten while it was open; 3000 calls"):
        store.append([event(3000)])
    store.append([event(3000)])
    store.close()
    assert seqs(path) == [3000]


@pytest.mark.parametrize("size", [100, 3000])
def test_an_older_backup_that_is_copied_over_the_database(tmp_path: Path, size: int) -> None:
    """Break: in eventstore/stores/sqlite/file.py, ``is_ours``, do not look at the pages."""
    path = tmp_path / "calls.db"
    store = a_log(path, size, checkpointed=True)
    backup(path, tmp_path / "backup")
    for n in range(size, 2 * size, 50):
        store.append([event(seq) for seq in range(n, n + 50)])
    checkpoint(path)
    store.append([event(2 * size)])
    sh('cat "$1" > "$2"', tmp_path / "backup", path)
    with pytest.raises(StoreReplaced) as caught:
        store.append([event(2 * size + 1)])
    assert caught.value.missing == {("s", "o"): size + 1}
    store.append([event(2 * size + 1)])
    store.close()
    assert seqs(path) == [*range(size), 2 * size + 1]


def test_vacuum_by_another_process_is_no_replacement(tmp_path: Path) -> None:
    """Break: in eventstore/stores/sqlite/watch.py, ``_handle_overwrite``, leave out ``has_our_id``."""
    path = tmp_path / "calls.db"
    store = a_log(path, 2000, checkpointed=True)
    with closing(sqlite3.connect(path)) as driver:
        driver.execute("CREATE TABLE large (a)")
        driver.execute("INSERT INTO large VALUES (zeroblob(4000000))")
        driver.commit()
        checkpoint(path)
        store.append([event(2000)])
        driver.execute("DROP TABLE large")
        driver.commit()
        driver.execute("VACUUM")
    checkpoint(path)
    store.append([event(2001)])
    store.close()
    assert seqs(path) == list(range(2002))


LONG = '{"text":"' + "x" * 2000 + '"}'


def half_a_checkpoint(path: Path, pages: int) -> None:
    """The state after a kill during a checkpoint: only ``pages`` pages are in the file, and the log has all."""
    whole = path.with_name("whole")
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", f"{whole}{end}")
    checkpoint(whole)
    assert path.stat().st_size < 4096 * pages < whole.stat().st_size
    sh('head -c "$3" "$1" | dd of="$2" conv=notrunc status=none', whole, path, str(4096 * pages))


@pytest.mark.parametrize("done", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_checkpoint_that_is_half_done_is_no_replacement(tmp_path: Path, done: float, opened: str) -> None:
    """Break: in eventstore/stores/sqlite/file.py, ``_header``, do without ``writable_schema``."""
    path = tmp_path / "calls.db"
    store = a_log(path, 50, checkpointed=True)
    store.append([event(50)])
    with closing(sqlite3.connect(path)) as other:  # a reader, so that later commits cannot be checkpointed
        other.execute("BEGIN")
        other.execute("SELECT * FROM events").fetchone()
        small = path.stat().st_size // 4096
        store.append([event(seq, payload=LONG) for seq in range(51, 651)])
        half_a_checkpoint(path, small + 1 + int(done * 300))
    if opened == "after":
        second = open_store(path)
        second.append([event(651)])
        second.close()
    else:
        store.append([event(651)])
    store.append([event(652)])
    store.close()
    assert seqs(path) == list(range(653))


def test_a_file_that_cannot_be_examined_is_not_called_a_different_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break: in eventstore/stores/sqlite/file.py, ``is_about_content``, say yes."""
    path = tmp_path / "calls.db"
    store = a_log(path, 10, checkpointed=True)
    remove(path)
    path.write_text("dear diary " * 500)

    def out_of_descriptors(*_args: object, **_options: object) -> sqlite3.Connection:
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", out_of_descriptors)
        with pytest.raises(StoreUnavailable, match="unable to open") as caught:
            store.append([event(10)])
        assert "replaced" not in str(caught.value)
    with pytest.raises(StoreUnavailable, match="was replaced by a different file"):
        store.append([event(10)])
    store.close()


def test_what_cannot_be_known_about_a_file_destroys_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is looked at when no descriptor is left. (A real one would be taken from SQLite's own reserve.)

    Break: in eventstore/stores/sqlite/file.py, ``_header``, return nothing for any error.
    """
    path = tmp_path / "calls.db"
    store = a_log(path, 500, checkpointed=True)
    store.append([event(500)])
    checkpoint(path)

    def no_descriptor(*_args: object, **_options: object) -> sqlite3.Connection:
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", no_descriptor)
        with pytest.raises(StoreUnavailable, match="unable to open"):
            store.append([event(501)])
    store.append([event(501)])
    store.close()
    assert seqs(path) == list(range(502))


# other ways in which a path leads elsewhere --------------------------------------------------------------------------


def test_a_folder_that_is_renamed_and_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "calls.db"
    path.parent.mkdir()
    store = a_log(path, 100, checkpointed=False)
    sh('mv "$1" "$2"; mkdir "$1"', path.parent, tmp_path / "moved")
    with pytest.raises(StoreReplaced, match="100 calls"):
        store.append([event(100)])
    store.append([event(100)])
    store.close()
    assert seqs(path) == [100]
    assert seqs(tmp_path / "moved" / "calls.db") == list(range(100))


def test_another_hard_link_of_the_database_keeps_what_it_had(tmp_path: Path) -> None:
    path, link = tmp_path / "calls.db", tmp_path / "link.db"
    store = a_log(path, 100, checkpointed=False)
    sh('ln "$1" "$2"; rm "$1"', path, link)
    with pytest.raises(StoreReplaced, match="100 calls"):
        store.append([event(100)])
    store.append([event(100)])
    store.close()
    assert (seqs(path), seqs(link)) == ([100], list(range(100)))


def test_a_file_system_that_is_mounted_over_the_folder(tmp_path: Path) -> None:
    path, over = tmp_path / "logs" / "calls.db", tmp_path / "over"
    path.parent.mkdir()
    over.mkdir()
    store = a_log(path, 100, checkpointed=False)
    try:
        sh('mount --bind "$1" "$2" 2>/dev/null', over, path.parent)
    except subprocess.CalledProcessError:
        store.close()
        pytest.skip("nothing may be mounted here")
    try:
        with pytest.raises(StoreReplaced, match="100 calls"):
            store.append([event(100)])
        store.append([event(100)])
        store.close()
        assert seqs(path) == [100]
    finally:
        sh('umount "$1"', path.parent)
    assert seqs(path) == list(range(100))


def test_parent_and_child_of_a_fork_record_into_a_database_that_is_replaced(tmp_path: Path) -> None:
    """Both continue, each as its own origin; no call after the replacement is lost or duplicated."""
    script = """
import os, sys
from pathlib import Path
from turnlog import Recorder, open_store
path = Path(sys.argv[1])
store = open_store(path)
recorder = Recorder(store, "s")
def say(name):
    for n in range(200):
        recorder.set_llm_input(f"{name}{n}")
say("before")
assert recorder.flush(30)
child = os.fork()
name = "parent" if child else "child"
say(name + " first ")
assert recorder.flush(60), recorder.health
if child:
    assert os.waitpid(child, 0)[1] == 0
    os.rename(path, path.with_name("moved.db"))
    child = os.fork()
    name = "parent" if child else "child"
    say(name + " second ")
    assert recorder.flush(60), recorder.health
    if child:
        assert os.waitpid(child, 0)[1] == 0
os._exit(0 if recorder.flush(60) else 1)
"""
    path = tmp_path / "calls.db"
    subprocess.run([sys.executable, "-c", script, path], check=True, timeout=180)
    for file, names in (
        (tmp_path / "moved.db", ["before", "parent first ", "child first "]),
        (path, ["parent second ", "child second "]),
    ):
        store = open_store(file)
        assert sorted(words(store)) == sorted(f"{name}{n}" for name in names for n in range(200))
        assert not verify(store, "s")
        store.close()


# modes --------------------------------------------------------------------------------------------------------------


def test_a_file_is_the_owner_s_from_its_first_moment(tmp_path: Path) -> None:
    """Break: in eventstore/stores/sqlite/file.py, ``make``, create it with 0o644."""
    before = os.umask(0)
    try:
        DatabaseFile(tmp_path / "calls.db").make()
    finally:
        os.umask(before)
    assert (tmp_path / "calls.db").stat().st_mode & 0o777 == 0o600


def test_files_are_the_owners_whatever_the_umask(tmp_path: Path) -> None:
    """Break: in eventstore/stores/sqlite/file.py, ``make``, do nothing."""
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
    """Break: in eventstore/recording/recorder.py, ``_open``, finalize nothing."""

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
