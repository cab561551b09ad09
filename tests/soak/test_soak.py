"""The soak's scenarios, each for a moment, so that `make soak` still runs when it is needed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.program import TESTS

pytestmark = pytest.mark.slow

BRIEF = ["--seed", "7", "--seconds", "0.1", "--kills", "8", "--calls", "2", "--events", "2000"]


@pytest.mark.parametrize(
    ("scenario", "rows"), [("kills", 8), ("disk", 4), ("many", 1), ("million", 1), ("fuzz", 9)], ids=lambda value: value
)
def test_a_moment_of(scenario: str, rows: int) -> None:
    """Break: in eventstore/recording/journal.py, ``Segment``, map the file privately (``mmap.MAP_PRIVATE``):

    calls are lost.
    """
    done = subprocess.run(
        [sys.executable, "-m", "soak", "--only", scenario, "--backend", "sqlite", *BRIEF],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert len(table) == rows, done.stdout
    for _scenario, tried, survived, lost, leaked, _notes in table:
        assert int(tried.split()[0].replace(",", "")) == int(survived.replace(",", "")) > 0, done.stdout
        assert int(lost) == int(leaked) == 0


def test_a_scenario_that_is_not_there_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "soak", "--only", "nonsense"],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "no scenario nonsense; there are kills, disk, many, million, fuzz\n"
