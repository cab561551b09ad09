"""What README.md tells people to do works."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eventstore import Recorder, open_store
from support.http_receiver import Receiver

HERE = Path(__file__).resolve().parents[2]
README = (HERE / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_example_runs(tmp_path: Path) -> None:
    (example,) = blocks("python")
    assert len(example.strip().splitlines()) <= 14
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Turn(" in done.stdout
    assert "userSpeechStartTime" in done.stdout


def test_the_commands_run(tmp_path: Path) -> None:
    environment = os.environ | {"TURNLOG_DB": str(tmp_path / "calls.db"), "PYTHONPATH": str(HERE / "src")}
    ran = 0
    for block in blocks("sh"):
        for line in block.splitlines():
            command, *arguments = line.partition("#")[0].split() or [""]
            if command != "turnlog":
                continue
            done = subprocess.run(
                [sys.executable, "-m", "turnlog", *arguments],
                cwd=HERE,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{line}: {done.stderr}"
            ran += 1
    assert ran >= 7


def test_the_turn_in_the_readme_is_what_replay_prints(tmp_path: Path) -> None:
    environment = os.environ | {"TURNLOG_DB": str(tmp_path / "calls.db"), "PYTHONPATH": str(HERE / "src")}
    environment["COLUMNS"] = "90"
    for command in ("import fixtures/recordings.jsonl.gz", "replay barge_in_vad --turn 2"):
        arguments = [sys.executable, "-m", "turnlog", *command.split()]
        done = subprocess.run(arguments, cwd=HERE, env=environment, capture_output=True, text=True, check=True)
    printed = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines()[1:])
    assert f"```\n{printed}\n```" in README


def test_the_commands_of_trust_md_run(tmp_path: Path) -> None:
    """In order, in one shell, on a session that was recorded under a master key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here")
    key = base64.b64encode(bytes(32)).decode()
    store = open_store(tmp_path / "calls.db", master_key=key)
    with Recorder(store, "s-1") as recorder:
        recorder.set_user_transcript("hello")
    store.close()
    text = (HERE / "docs" / "trust.md").read_text()
    script = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    for written, run in (
        ("pip install 'turnlog[crypto]'", ""),
        ("$(openssl rand -base64 32)", key),
        ("90d", "0m"),
        ("s-1-….jsonl.gz", "s-1-*.jsonl.gz"),
    ):
        assert written in script
        script = script.replace(written, run)
    environment = os.environ | {"TURNLOG_DB": "calls.db", "PYTHONPATH": str(HERE / "src"), "COLUMNS": "160"}
    shell = f'set -eu\nturnlog() {{ {sys.executable} -m turnlog "$@"; }}\n{script}\nturnlog events s-1'
    done = subprocess.run(
        ["sh", "-c", shell], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "content forgotten" in done.stdout
    assert "[sealed]" in done.stdout
    assert "hello" not in done.stdout


def test_readme_begins_with_the_two_commands() -> None:
    assert [line.split("#")[0].strip() for line in blocks("sh")[0].strip().splitlines()] == ["make demo", "make test"]


def test_nothing_names_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=HERE, capture_output=True, text=True, check=False).stdout.split()
    for name in listed:
        path = HERE / name
        if path.suffix in (".py", ".md", ".toml", ".ini", ".sh", ".json", ""):
            text = path.read_text()
            assert "/" + "work/" not in text, name
            assert "shared" + "/" not in text, name


def test_the_commands_and_examples_of_delivery_md_run(tmp_path: Path) -> None:
    """In order; the endpoints are one of ours."""
    environment = os.environ | {"TURNLOG_DB": str(tmp_path / "calls.db"), "PYTHONPATH": str(HERE / "src")}
    with Receiver() as endpoint:
        text = (HERE / "docs" / "delivery.md").read_text()
        text = text.replace("http://localhost:4318", endpoint.url).replace("https://example.com", endpoint.url)
        commands = [["-m", "turnlog", "import", str(HERE / "fixtures" / "demo.jsonl.gz")]]
        for line in "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).splitlines():
            program, *arguments = line.partition("#")[0].split()
            assert program == "turnlog"
            commands.append(["-m", "turnlog", *arguments])
        commands += [["-c", example] for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
        for command in commands:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}: {done.stderr}"
        assert {request.path for request in endpoint.taken} == {"/v1/traces", "/turns", "/logs"}
    assert len(commands) == 8
