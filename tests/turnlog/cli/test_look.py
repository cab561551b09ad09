"""What a person sees: commands on a terminal of 80 columns, what waits says for what, and completion in a shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from support.program import FIXTURES, Program
from support.terminal import COLUMNS, terminal

STYLES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
SESSION = "barge_in_vad"
COMMANDS: list[tuple[str, ...]] = [
    ("--help",), ("stats", "--help"), ("sessions",), ("replay", SESSION), ("replay", SESSION, "--rules", "framework"),
    ("replay", SESSION, "--turn", "1"), ("replay", SESSION, "--at", "40"), ("explain", SESSION, "1"),
    ("barge-ins", "--all"), ("events", SESSION), ("spans", SESSION), ("stats",), ("stats", "--by", "session"),
    ("stats", "--by", "llm"), ("rules",), ("verify",), ("retention", "--session", SESSION, "--dry-run"),
    ("diff", "--all", "--rules", "videosdk-1.0", "--rules", "videosdk-1.0.30"), ("keys", "--help"),
]  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Program:
    program = Program(tmp_path_factory.mktemp("look"))
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    return program


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_fits_80_columns_and_cuts_no_name(recorded: Program, command: tuple[str, ...]) -> None:
    """Break: in turnlog/console.py, ``fitted``, drop no column."""
    log = () if "--help" in command else ("--db", str(recorded.db))
    with terminal(recorded.folder, *command, *log) as (_process, pieces):
        shown = STYLES.sub("", b"".join(pieces).decode())
    lines = [line.rstrip("\r") for line in shown.split("\n")]
    assert any(line.strip() for line in lines)
    for line in lines:
        last = line.rsplit("\r", 1)[-1]  # a progress bar overwrites its line
        assert cell_len(last) <= COLUMNS, last
        assert not re.match(r"[\s│┃]*…(?! \d)", last), f"a name is cut to nothing: {last!r}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("tail", "nobody-yet"), "waiting for"), (("playground", SESSION), "waiting for new ones"),
        (("tail", SESSION), "following"),
    ],
    ids=["tail, unknown", "playground", "tail"],
)  # fmt: skip
def test_what_waits_says_for_what(recorded: Program, command: tuple[str, ...], said: str) -> None:
    with terminal(recorded.folder, *command, "--db", str(recorded.db)) as (_process, pieces):
        shown = ""
        for piece in pieces:
            shown += piece.decode(errors="replace")
            if said in shown:
                break
    assert said in shown


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("turnlog re", {"replay", "record", "rebuild", "recover", "retention"}),
        ("turnlog export c", {"csv"}),
        ("turnlog sessions --sl", {"--slower-than"}),
        ("turnlog keys ", {"rotate"}),
    ],
)
def test_completion(program: Program, typed: str, completed: set[str]) -> None:
    """Break: in turnlog/cli/app.py, ``list_commands``, return nothing."""
    words = typed.split(" ")
    environment = {"_TURNLOG_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [Path(sys.executable).with_name("turnlog")],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=program.folder,
    )
    assert set(done.stdout.split()) == completed, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_by_a_script(program: Program, shell: str) -> None:
    """The shell is named here; without the variable it is the one that runs the program."""
    done = program.run("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "_TURNLOG_COMPLETE" in done.stdout
