"""Law 2 across processes: another hash seed, another time zone, another locale, the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.program import FIXTURES

pytestmark = pytest.mark.slow


def run(arguments: list[str], **environment: str) -> bytes:
    return subprocess.run(
        [sys.executable, "-m", "turnlog", *arguments],
        env=os.environ | environment,
        capture_output=True,
        check=True,
    ).stdout


def test_replay_json_does_not_depend_on_the_process(tmp_path: Path) -> None:
    """Break: in projections/reference/handlers/session.py, ``configure_pipeline``, drop ``sorted``."""
    db = f"--db={tmp_path}/calls.db"
    run(["import", db, str(FIXTURES / "recordings.jsonl.gz")])
    for session in ("barge_in_vad", "background_and_thinking_audio", "playground"):
        arguments = ["replay", session, db, "--json"]
        first = run(arguments, PYTHONHASHSEED="1", TZ="UTC")
        assert len(first) > 10_000
        assert run(arguments, PYTHONHASHSEED="2", TZ="Asia/Kolkata", LC_ALL="C") == first
