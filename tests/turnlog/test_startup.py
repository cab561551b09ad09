"""What is imported when: an agent, the help and pytest carry only what they use. Each test is a process of its own."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from turnlog.cli.app import load
from turnlog.cli.commands import COMMANDS
from turnlog.cli.help import first_paragraph

HEAVY = {
    "alembic",
    "sqlalchemy",
    "typer",
    "rich",
    "pydantic",
    "httpx",
    "anyio",
    "opentelemetry",
    "numpy",
    "turnlog.cli",
}
SOURCE = Path(__file__).resolve().parents[2] / "src"


def loaded(script: str, *arguments: object) -> set[str]:
    """The modules and their packages that a fresh interpreter has after the script."""
    code = f"import sys\n{script}\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False,
        env=os.environ | {"COLUMNS": "80"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_turnlog() -> None:
    """Break: in turnlog/__init__.py, import ``exporters.delivery.live``."""
    modules = loaded("import turnlog")
    assert not modules & (HEAVY | {"projections", "exporters", "turnlog.recorder"})
    modules = loaded("from turnlog import Recorder, open_store")
    assert not modules & (HEAVY | {"exporters"})


def test_recording_to_sqlite(tmp_path: Path) -> None:
    """Break: in eventstore/stores/schema.py, import ``alembic.command`` at the top."""
    record = "from turnlog import Recorder, open_store\n"
    record += "with Recorder(open_store(sys.argv[1]), 's') as recorder:\n    recorder.on_user_speech_start()"
    assert "alembic" in loaded(record, tmp_path / "calls.db")  # which makes the schema, once
    modules = loaded(record, tmp_path / "calls.db")
    assert "sqlalchemy" in modules
    assert not modules & ((HEAVY - {"sqlalchemy"}) | {"sqlalchemy.orm", "exporters"})


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version(option: str) -> None:
    """Break: in turnlog/cli/app.py, call ``load`` for every command in ``Commands.__init__``."""
    main = f"from turnlog.cli import main\nsys.argv[1:] = ['{option}']\ntry: main()\nexcept SystemExit: pass"
    modules = loaded(main)
    assert "typer" in modules
    assert not modules & {"sqlalchemy", "projections", "exporters", "rich", "pydantic", "eventstore.recording"}


def test_the_pytest_plugin() -> None:
    """Break: in turnlog_pytest/__init__.py, import ``turnlog.sessions`` at the top."""
    modules = loaded(
        "import pytest\nbefore = set(sys.modules)\nimport turnlog_pytest\nassert len(sys.modules) - len(before) < 5"
    )
    assert not modules & (HEAVY - {"rich"} | {"turnlog", "eventstore", "projections"})


@pytest.mark.parametrize("package", ["turnlog", "eventstore"])
def test_lazy_names_are_what_type_checkers_see(package: str) -> None:
    """Break: in turnlog/__init__.py, take a name from another module in the table."""
    tree = ast.parse((SOURCE / package / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    module = importlib.import_module(package)
    assert set(typed) == set(module.__all__)
    for name, (origin, original) in typed.items():
        assert getattr(module, name) is getattr(importlib.import_module(str(origin)), original)
    assert not hasattr(module, "nothing")


@pytest.mark.parametrize("name", [name for section in COMMANDS.values() for name in section])
def test_a_command_s_help_begins_as_the_list_has_it(name: str) -> None:
    """Break: in turnlog/cli/commands/__init__.py, change a summary."""
    row = next(section[name] for section in COMMANDS.values() if name in section)
    assert first_paragraph(load(name)) == row.summary
    assert len(name) + len(row.summary) <= 76, "it does not fit a line of 80 columns"


def test_delivery_names_its_extra() -> None:
    """Break: in exporters/delivery/http.py, import ``httpx`` outside of ``try``."""
    script = "sys.modules['httpx'] = None\nfrom eventstore.errors import TurnlogError\n"
    script += "try: import exporters.analytics.destination\n"
    script += "except TurnlogError as error: assert 'turnlog[deliver]' in str(error)\nelse: raise SystemExit(1)"
    loaded(script)
