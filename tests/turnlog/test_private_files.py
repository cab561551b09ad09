"""Files of calls are their owner's, whatever the umask."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eventstore.files import atomic_write
from support.program import FIXTURES, Program
from turnlog.files import atomic_file

pytestmark = pytest.mark.slow

WRITERS: list[tuple[str, ...]] = [
    ("export", "csv", "--all", "--out", "out"), ("export", "payloads", "--all", "--out", "out"),
    ("export", "perfetto", "--all", "--out", "out"), ("export", "jsonl", "--all", "--out", "out"),
    ("digest", "--all", "--out", "out"), ("check", "b.toml", "--junit", "out"), ("check", "b.toml", "--summary", "out"),
    ("check", "b.toml", "--save-baseline", "out"), ("conformance", "demo.jsonl.gz", "--fast", "--dump", "out"),
]  # fmt: skip


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def open_umask() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("command", WRITERS, ids=" ".join)
def test_what_a_command_writes(program: Program, command: tuple[str, ...]) -> None:
    """Break: in eventstore/files.py, ``atomic_write``, open the file with `open`."""
    (program.folder / "demo.jsonl.gz").write_bytes((FIXTURES / "demo.jsonl.gz").read_bytes())
    (program.folder / "b.toml").write_text("budgets = ['sessions.count >= 1']")
    program.run("import", "demo.jsonl.gz")
    out = program.folder / "out"
    out.touch(0o666)
    program.run(*command)
    assert mode(out) == 0o600
    assert out.stat().st_size
    out.unlink()
    program.run(*command)
    assert mode(out) == 0o600
    assert not list(program.folder.glob(".*.part"))


@pytest.mark.usefixtures("open_umask")
def test_an_archive_and_its_folder(program: Program) -> None:
    program.run("import", FIXTURES / "demo.jsonl.gz")
    program.run("retention", "--older-than", "0m", "--yes")
    (path,) = (program.folder / "archive").iterdir()
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


@pytest.mark.usefixtures("open_umask")
def test_it_is_private_while_it_is_written(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "out") as file:
        file.write(b"x")
        file.flush()
        (part,) = tmp_path.iterdir()
        assert mode(part) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "out") as file:
        file.write(b"y")
        raise RuntimeError
    assert (tmp_path / "out").read_bytes() == b"x"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_pipe_is_written_to(program: Program) -> None:
    program.run("import", FIXTURES / "demo.jsonl.gz")
    fifo = program.folder / "fifo"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "turnlog", "export", "csv", "--all", "--out", fifo, "--db", program.db]
    with subprocess.Popen(command) as process:
        assert fifo.read_bytes().startswith(b"session_id")
        assert process.wait(60) == 0


WRITE = """
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from eventstore.files import atomic_write
with atomic_write(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def writing(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of writing the file."""
    command = [sys.executable, "-c", WRITE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process


def test_what_a_killed_process_left_of_a_file_goes_when_it_is_written_again(tmp_path: Path) -> None:
    """And what living ones write does not. Break: in eventstore/files.py, ``_open_part``, remove nothing."""
    path = tmp_path / "a[1].jsonl.gz"
    with writing(path) as killed:
        killed.kill()
    (left,) = tmp_path.iterdir()
    other = tmp_path / ".b-1.part"
    other.touch()
    with writing(path) as living:
        assert not left.exists()
        with atomic_write(path) as file:
            file.write(b"whole")
        assert path.read_bytes() == b"whole"
        living.communicate("\n")
    assert living.returncode == 0
    assert path.read_bytes() == b"half"
    assert sorted(tmp_path.iterdir()) == [other, path]
