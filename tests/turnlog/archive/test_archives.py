"""Archives of Parquet files by the command line: built, verified, imported, erased."""

from __future__ import annotations

import base64
from pathlib import Path

import duckdb
import orjson
import pytest

from eventstore import Recorder, open_store
from exporters.archive.place import Place
from support.known_calls import call
from support.program import FIXTURES, Program

KEY = base64.b64encode(bytes(32)).decode()


@pytest.fixture
def archive(program: Program) -> Path:
    """An archive of a log with all recorded calls."""
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    program.run("archive", "build", "--to", "a")
    return program.folder / "a"


def exported(program: Program, db: Path) -> str:
    return program.run("export", "jsonl", "--all", "--db", db).stdout


@pytest.mark.slow
def test_a_log_is_restored_byte_for_byte(program: Program, archive: Path) -> None:
    """Break: in exporters/archive/restore.py, ``_events``, yield nothing of the last origin."""
    assert "8 files, 0 faults" in program.run("archive", "verify", archive).stdout
    restored = program.folder / "restored.db"
    assert "imported 53 sessions, 9,871 events" in program.run("import", archive, "--db", restored).stdout
    assert exported(program, restored) == exported(program, program.db)
    assert "imported 53 sessions" in program.run("import", archive, "--db", restored).stdout  # harmless


@pytest.mark.slow
def test_a_second_build_says_that_there_is_nothing_new(program: Program, archive: Path) -> None:
    found = orjson.loads(program.run("archive", "build", "--to", archive, "--json").stdout)
    assert found["sessions"] == {"new": 0, "grown": 0, "unchanged": 53}
    assert (found["partitions_written"], found["failed"]) == (0, {})


@pytest.mark.slow
def test_jobs_write_the_same_bytes(program: Program, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes of their own. Break: in exporters/archive/build.py, ``_run``, return an empty `Written`."""
    from exporters.archive import build as module
    from support.archives import files_of

    monkeypatch.setattr(module, "PARALLEL_EVENTS", 0)
    store, place = open_store(program.db), Place(str(program.folder / "b"))
    planned = module.plan(store, place, store.sessions())
    done = module.build(store, place, planned, 2)
    store.close()
    assert done.events == 9_871
    (archive / ".lock").unlink()
    assert files_of(archive) == files_of(program.folder / "b")


def test_since_and_until_choose_sessions(program: Program) -> None:
    store = open_store(program.db)
    call(store, "march", [500])
    call(store, "april", [500], wall_ns=1_775_001_600_000_000_000)
    store.close()
    program.run("archive", "build", "--to", "a", "--until", "2026-03-15")
    assert [path.name for path in (program.folder / "a" / "events").iterdir()] == ["day=2026-03-01"]
    done = program.run("archive", "build", "--to", "a", "--since", "2026-03-15")
    assert "1 new session, 0 grown, 0 unchanged" in done.stdout


@pytest.mark.slow
def test_what_is_wrong_is_one_line(program: Program, tmp_path: Path) -> None:
    program.run("import", FIXTURES / "demo.jsonl.gz")
    assert "no archive at" in program.fails("archive", "verify", tmp_path)
    assert "no archive at" in program.fails("import", tmp_path)
    assert "Protocol not known: nope" in program.fails("archive", "build", "--to", "nope://x")
    program.run("archive", "build", "--to", "a", "--buckets", "2")
    assert "a has 2 buckets a day" in program.fails("archive", "build", "--to", "a", "--buckets", "3")
    assert "a does not have it" in program.fails("archive", "remove", "a", "unknown", "--yes")
    with Place(str(program.folder / "a")).exclusive():
        assert "another process writes a" in program.fails("archive", "build", "--to", "a")


def test_a_broken_session_is_named_and_the_others_archived(program: Program) -> None:
    program.run("import", FIXTURES / "demo.jsonl.gz")
    program.run("archive", "build", "--to", "a")
    (path,) = (program.folder / "a").rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[600] ^= 0xFF
    path.write_bytes(content)
    done = program.run("archive", "verify", "a", "--json", code=1)
    (fault,) = orjson.loads(done.stdout)
    assert fault["file"] == "a/" + str(path.relative_to(program.folder / "a"))


@pytest.mark.slow
def test_what_is_encrypted_stays_so_and_what_is_forgotten_too(program: Program) -> None:
    store = open_store(program.db, master_key=KEY)
    for name in ("kept", "forgotten"):
        with Recorder(store, name) as recorder:
            recorder.set_user_transcript(f"the secret of {name}")
    store.close()
    program.run("archive", "build", "--to", "a", "--buckets", "1")
    (path,) = (program.folder / "a").rglob("*.parquet")
    assert b"secret" not in path.read_bytes()
    assert "secret" not in str(duckdb.sql(f"SELECT payload FROM read_parquet('{path}')").fetchall())
    program.run("forget", "forgotten", "--yes", TURNLOG_MASTER_KEY=KEY)
    assert "2 unchanged" in program.run("archive", "build", "--to", "a").stdout
    program.run("import", "a", TURNLOG_MASTER_KEY=KEY)
    assert "the secret of kept" in program.run("events", "kept", "--json", TURNLOG_MASTER_KEY=KEY).stdout
    assert "secret of" not in program.run("events", "forgotten", "--json", TURNLOG_MASTER_KEY=KEY).stdout


def test_a_session_is_erased(program: Program) -> None:
    """Break: in turnlog/cli/commands/archives/archive.py, ``remove``, ask for no confirmation."""
    store = open_store(program.db)
    with Recorder(store, "s-1") as recorder:
        recorder.set_user_transcript("in the clear")
    store.close()
    program.run("archive", "build", "--to", "a")
    assert "pass --yes to erase session 's-1'" in program.fails("archive", "remove", "a", "s-1")
    assert "1 event erased from a" in program.run("archive", "remove", "a", "s-1", "--yes").stdout
    assert not list((program.folder / "a").rglob("*.parquet"))
