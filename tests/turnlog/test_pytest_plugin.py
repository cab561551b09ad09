"""The pytest plugin, in a pytest of its own: the fixture, its options, and that it costs nothing at the start."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from eventstore import open_store
from turnlog.recordings import events_of, read_recordings

HERE = Path(__file__).resolve().parents[2]
TESTS = """
def test_turns(turnlog_session):
    call = turnlog_session("barge_in_vad")
    assert [turn.turn for turn in call.turns] == [1, 2, 3, 4]
    assert call.discarded == []
    assert [turn.interrupted for turn in call.turns] == [False, True, False, False]
    assert 1100 < call.turns[3].response_ms < 1200
    assert call.turns[3].e2e_ms == call.turns[3].response_ms
    assert call.turns[3].stt_ms < 200
    assert [turn.no_response for turn in call.turns] == ["no question", None, None, None]
    assert not any(turn.unanswered for turn in call.turns)

def test_a_framework_s_rules(turnlog_session):
    assert 600 < turnlog_session("barge_in_vad", rules="videosdk-1.0").turns[3].e2e_ms < 700

def test_too_slow(turnlog_session):
    assert turnlog_session("barge_in_vad").turns[3].response_ms < 100

def test_wrong_name(turnlog_session):
    turnlog_session("barge_in_vat")

def test_wrong_rules(turnlog_session):
    turnlog_session("barge_in_vad", rules="none")
"""


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "calls.db"
    store = open_store(path)
    ((place, recording),) = read_recordings(HERE / "fixtures" / "demo.jsonl.gz")
    store.append(events_of(place, recording))
    store.close()
    return path


def run(folder: Path, tests: str, *options: object, **environment: str) -> str:
    """What pytest prints. The plugin is named, as this environment may be older than its entry point."""
    (folder / "test_calls.py").write_text(tests)
    clean = {name: value for name, value in os.environ.items() if name != "TURNLOG_DB"}
    clean |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(HERE / "src"), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "turnlog_pytest", "-c", os.devnull, *map(str, options), "."],
        cwd=folder,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_fixture_gives_a_session_s_turns(tmp_path: Path, db: Path) -> None:
    said = run(tmp_path, TESTS, "--turnlog-db", db)
    assert "3 failed, 2 passed" in said, said
    assert "UnknownSession: unknown session 'barge_in_vat'; did you mean 'barge_in_vad'?" in said
    assert "unknown rule set 'none'" in said


@pytest.mark.slow
def test_the_log_is_of_the_environment_or_missed(tmp_path: Path, db: Path) -> None:
    tests = "def test_it(turnlog_session): assert turnlog_session('barge_in_vad').turns"
    missed = run(tmp_path, tests)
    assert "1 error" in missed
    assert "turnlog_session needs an event log: pass --turnlog-db or set TURNLOG_DB" in missed
    assert "1 passed" in run(tmp_path, tests, TURNLOG_DB=str(db))
    assert "no database at absent.db" in run(tmp_path, tests, "--turnlog-db", "absent.db", TURNLOG_DB=str(db))
    assert not (tmp_path / "absent.db").exists()


def test_pytest_finds_it_and_imports_nothing_heavy() -> None:
    entry_points = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["entry-points"]
    module = entry_points["pytest11"]["turnlog"]
    heavy = ("turnlog", "eventstore", "projections", "sqlalchemy", "numpy", "opentelemetry", "httpx", "typer")
    script = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
