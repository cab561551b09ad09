"""Database-specific behaviour: append-only triggers, migrations, locks, and one-line errors."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from eventstore import Store, open_store
from eventstore.errors import NewerDatabase, StoreError, StoreReadOnly, StoreUnavailable
from eventstore.stores import schema
from eventstore.stores.sqlite.store import SqliteStore
from support.events import event


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT * FROM events",
        "REPLACE INTO events (origin_id, seq, hook, version, perf_ns, wall_ns, payload, link) "
        "VALUES (1, 0, 'x', 1, 1, 1, '{}', x'00')",
        "DELETE FROM origins",
        "UPDATE origins SET events = 0",
        "UPDATE origins SET session_id = 'another', events = 9",
    ],
)
def test_law_1_the_database_refuses_to_change_an_event(sqlite: Store, statement: str) -> None:
    """Break: in migrations/versions/0002_origins.py, drop a trigger; for REPLACE, in sqlite_store.py,
    ``PRAGMA recursive_triggers``.
    """
    sqlite.append([event(0, payload='{"text":"as it was"}')])
    assert isinstance(sqlite, SqliteStore)
    with sqlite._driver() as driver, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        driver.execute(statement)
    assert next(iter(sqlite.read("s"))).payload == '{"text":"as it was"}'


def test_law_1_no_code_path_updates_or_deletes() -> None:
    source = Path(schema.__file__).resolve().parents[2]
    for path in source.rglob("*.py"):
        text = path.read_text().upper().replace("DELETE FROM SESSION_ROWS", "")  # read models, which are no events
        assert "UPDATE EVENTS" not in text, path
        if path.parts[-2:] == ("stores", "ledger.py"):  # retention: the one audited way in which events leave
            assert text.count("DELETE FROM EVENTS") == 1
        else:
            assert "DELETE FROM" not in text, path


def test_a_position_is_never_used_twice(tmp_path: Path) -> None:
    """Break: in migrations/versions/0002_origins.py, drop ``sqlite_autoincrement``."""
    store = open_store(tmp_path / "calls.db")
    last = store.append([event(0), event(1)])[-1]
    store.close()
    with sqlite3.connect(tmp_path / "calls.db") as meddler:  # a foreign tool
        meddler.execute("DROP TRIGGER events_no_delete")
        meddler.execute("DELETE FROM events WHERE seq = 1")
    meddler.close()
    store = open_store(tmp_path / "calls.db")
    assert store.append([event(1)])[0] > last
    store.close()


def test_wal_and_full_sync(sqlite: Store) -> None:
    assert isinstance(sqlite, SqliteStore)
    with sqlite._driver() as driver:
        assert driver.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert driver.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_database_of_a_newer_turnlog_is_left_alone(tmp_path: Path) -> None:
    open_store(tmp_path / "calls.db").close()
    with sqlite3.connect(tmp_path / "calls.db") as future:
        future.execute("UPDATE alembic_version SET version_num = '9999'")
    future.close()
    with pytest.raises(NewerDatabase, match="schema 9999.*upgrade turnlog"):
        open_store(tmp_path / "calls.db")


def test_a_stranger_s_database_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "calls.db") as stranger:
        stranger.execute("CREATE TABLE events (a)")
    stranger.close()
    with pytest.raises(StoreError, match="not turnlog's"):
        open_store(tmp_path / "calls.db")


def test_what_is_not_a_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    with pytest.raises(StoreError, match="not an SQLite database"):
        open_store(tmp_path / "notes.txt")
    with pytest.raises(StoreError, match="is a folder"):
        open_store(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot create the folder"):
        open_store(tmp_path / "file" / "calls.db")
    with pytest.raises(StoreError, match="no store for 'mysql'"):
        open_store("mysql://localhost/x")
    with pytest.raises(StoreError, match="use memory: instead"):
        open_store("sqlite:///:memory:")


def test_a_read_only_database_reads_and_refuses(tmp_path: Path) -> None:
    store = open_store(tmp_path / "calls.db")
    store.append([event(0)])
    store.close()
    reader = open_store(f"sqlite:///file:{tmp_path}/calls.db?mode=ro&uri=true")
    assert len(list(reader.read("s"))) == 1
    with pytest.raises(StoreReadOnly, match="read-only"):
        reader.append([event(1)])
    reader.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give up being root")
def test_a_file_one_may_not_write_can_be_read(tmp_path: Path) -> None:
    store = open_store(tmp_path / "calls.db")
    store.append([event(0)])
    store.close()
    (tmp_path / "calls.db").chmod(0o644)  # its owner lets others read it
    script = (
        "import os, sys\n"
        "from eventstore import open_store\n"
        "open_store(sys.argv[2]).close()\n"  # imports are done by now; other users may not read root's interpreter
        "os.setuid(65534)\n"
        "store = open_store(sys.argv[1]); print(len(list(store.read('s'))))\n"
    )
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != folder.parent and folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "calls.db", tmp_path / "other.db"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "1", done.stderr


def test_a_locked_database_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventstore.stores.sqlite.store.BUSY_SECONDS", 0.05)
    store = open_store(tmp_path / "calls.db")
    with sqlite3.connect(tmp_path / "calls.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            store.append([event(0)])
        other.execute("ROLLBACK")
    other.close()
    store.append([event(0)])
    store.close()


@pytest.mark.slow
def test_many_processes_open_a_new_database_at_once(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from eventstore import Event, open_store\n"
        "store = open_store(sys.argv[1])\n"
        "store.append([Event('s', sys.argv[2], n, 'on_eou_start', 1, n, n, '{}') for n in range(100)])\n"
        "store.close()\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", script, tmp_path / "calls.db", str(n)], stderr=subprocess.PIPE)
        for n in range(6)
    ]
    for worker in workers:
        _out, errors = worker.communicate()
        assert worker.returncode == 0, errors.decode()
    store = open_store(tmp_path / "calls.db")
    assert (store.sessions()[0].events, store.sessions()[0].origins) == (600, 6)
    store.close()
