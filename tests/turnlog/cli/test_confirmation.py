"""Which database is meant, and what is asked before something is destroyed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from support.program import FIXTURES, Program
from turnlog import Recorder, open_store
from turnlog.sessions import display_name

pytestmark = pytest.mark.slow

DEMO = FIXTURES / "demo.jsonl.gz"


def make(path: Path, *sessions: str) -> Path:
    store = open_store(path)
    for session in sessions:
        with Recorder(store, session) as recorder:
            recorder.set_user_transcript("hello")
    store.close()
    return path


def names(path: Path) -> list[str]:
    store = open_store(path)
    found = sorted(session.session_id for session in store.sessions())
    store.close()
    return found


@pytest.fixture
def other(program: Program) -> Iterator[Path]:
    """Another log than that of the environment, which every command of ``program`` has."""
    make(program.db, "of-the-environment")
    yield make(program.folder / "other.db", "of-the-option")


# which database -----------------------------------------------------------------------------------------------------


def test_the_option_beats_the_environment_in_either_place(program: Program, other: Path) -> None:
    """Break: give `DbOption` the ``envvar`` TURNLOG_DB."""
    for arguments in (("--db", other, "sessions"), ("sessions", "--db", other)):
        assert "of-the-option" in program.run(*arguments).stdout
    assert "of-the-environment" in program.run("sessions").stdout


@pytest.mark.parametrize(
    "command",
    [
        ("replay", "of-the-option"), ("events", "of-the-option"), ("payloads", "of-the-option"),
        ("spans", "of-the-option"), ("explain", "of-the-option", "session.events"), ("seal", "of-the-option"),
        ("verify", "of-the-option"), ("stats", "of-the-option"), ("barge-ins", "of-the-option"),
        ("digest", "of-the-option"), ("export", "csv", "of-the-option"), ("export", "jsonl", "of-the-option"),
        ("diff", "of-the-option", "--rules", "videosdk-1.0", "--rules", "videosdk-1.0.30"),
        ("retention", "--session", "of-the-option", "--dry-run"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_command_reads_the_one_before_it(program: Program, other: Path, command: tuple[str, ...]) -> None:
    program.run("--db", other, *command)
    assert "of-the-option" in program.fails(*command)


def test_delivering_reads_the_one_that_is_named(program: Program, other: Path) -> None:
    to = "analytics", "--endpoint", "http://127.0.0.1:1", "--name", "x"
    where = ("--db", other)
    for arguments in ((*where, "deliver", *to), ("deliver", *where, *to), ("deliver", *to, *where)):
        assert "no rules" in program.fails(*arguments, "--rules", "no rules")
    assert program.run("--db", other, "deliver", "--parked").stdout == "nothing parked\n"
    missing = program.folder / "missing.db"
    for arguments in (("--db", missing, "deliver", "--parked"), ("deliver", "--db", missing, "--parked")):
        assert "missing.db" in program.fails(*arguments)


def test_two_databases_are_an_error(program: Program, other: Path) -> None:
    """Break: in cli/common.py, ``url``, take the first."""
    for arguments in (
        ("--db", program.db, "sessions", "--db", other),
        ("sessions", "--db", program.db, "--db", other),
        ("--db", program.db, "--db", other, "sessions"),
        ("--db", program.db, "deliver", "--db", other, "--parked"),
        ("--db", program.db, "deliver", "analytics", "--endpoint", "http://h", "--db", other),
        ("--db", program.db, "retention", "--older-than", "0m", "--yes", "--db", other),
    ):
        assert "--db is given twice" in program.fails(*arguments)
    assert names(program.db) == ["of-the-environment"]
    assert "of-the-option" in program.run("--db", other, "sessions", "--db", other).stdout


def test_an_empty_option_is_not_the_environment(program: Program, other: Path) -> None:
    """As where a shell variable is not set: `retention --db "$LOG"`."""
    assert "--db is empty" in program.fails("retention", "--older-than", "0m", "--yes", "--db", "")
    assert names(program.db) == ["of-the-environment"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:s3cr3t@db.example/calls",
        "postgres://me:s3cr3t@db.example/calls",
        "postgresql://db.example/calls?user=me&password=s3cr3t",
        "postgresql://me:s3cr3t@db.example:port/calls",
        "postgresql://me:s3cr3t@[db.example/calls",
    ],
)
def test_passwords_are_not_shown(program: Program, url: str) -> None:
    assert "s3cr3t" not in display_name(url)
    program.db.touch()
    line = program.fails("sessions", "--db", url, "--db", program.db)
    assert "--db is given twice" in line
    assert "s3cr3t" not in line
    assert "s3cr3t" not in program.fails("retention", "--older-than", "1d", "--yes", "--db", url)


# confirmation -------------------------------------------------------------------------------------------------------


def test_without_a_terminal_yes_is_needed(program: Program, other: Path) -> None:
    """Break: in cli/common.py, ``confirm_destructive``, return at once."""
    line = program.fails("--db", other, "retention", "--older-than", "0m")
    assert "--yes" in line
    assert str(other) in line
    assert "--yes" in program.fails("--db", other, "forget", "of-the-option")
    assert names(other) == ["of-the-option"]
    assert not (program.folder / "archive").exists()
    done = program.run("--db", other, "retention", "--older-than", "0m", "--yes", "--json")
    assert done.stderr == f"database: {other}\n"
    assert [removal["session_id"] for removal in orjson.loads(done.stdout)] == ["of-the-option"]
    assert (names(other), names(program.db)) == ([], ["of-the-environment"])


@pytest.mark.parametrize(("answer", "left"), [("y", []), ("n", ["s"]), ("", ["s"]), ("\x04", ["s"])])
def test_on_a_terminal_it_is_asked(program: Program, answer: str, left: list[str]) -> None:
    make(program.db, "s")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "turnlog", "retention", "--older-than", "0m", "--db", str(program.db)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=program.folder, text=True
    ) as process:
        os.write(ours, f"{answer}\n".encode())
        _out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert f"database: {program.db}" in err
    assert "Remove 1 session" in err
    assert (process.returncode == 0) == (left == [])
    assert names(program.db) == left


# one session --------------------------------------------------------------------------------------------------------


def test_one_session_is_archived_and_removed(program: Program) -> None:
    make(program.db, "a", "b")
    assert "name the sessions" in program.fails("retention", "--yes")
    assert "name the sessions" in program.fails("retention", "--yes", "--session", "a", "--older-than", "1d")
    assert "needs --session" in program.fails("retention", "--yes", "--older-than", "0m", "--no-archive")
    assert "unknown session" in program.fails("retention", "--yes", "--session", "c")
    assert "1 session," in program.run("retention", "--yes", "--session", "a").stdout
    assert names(program.db) == ["b"]
    (archive,) = (program.folder / "archive").iterdir()
    assert "turnlog import" in program.fails("replay", "a")
    program.run("import", archive)
    assert names(program.db) == ["a", "b"]


def test_one_session_goes_without_a_copy(program: Program) -> None:
    """Break: in turnlog/cli/commands/trust.py, leave out ``_scrub``."""
    make(program.db, "a", "b")
    keeper = open_store(program.db)  # as an agent that is running: the write-ahead log stays
    assert keeper.sessions()
    done = program.run("retention", "--yes", "--session", "a", "--no-archive", "--json")
    (removal,) = orjson.loads(done.stdout)
    assert (removal["session_id"], removal["archive"]) == ("a", "")
    assert not (program.folder / "archive").exists()
    line = program.fails("replay", "a")
    assert "it was removed on" in line
    assert "without an archive" in line
    program.run("retention", "--yes", "--session", "b", "--no-archive")
    for path in program.folder.glob("calls.db*"):
        assert path.is_dir() or b"hello" not in path.read_bytes(), path
    keeper.close()


def test_the_last_of_several_removals_is_the_hint(program: Program) -> None:
    make(program.db, "a")
    program.run("retention", "--yes", "--session", "a", "--archive", "first")
    (archive,) = (program.folder / "first").iterdir()
    program.run("import", archive)
    program.run("retention", "--yes", "--session", "a", "--no-archive")
    assert "without an archive" in program.fails("replay", "a")
