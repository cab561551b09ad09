"""Imports run one way: turnlog -> exporters -> projections -> eventstore (DESIGN's rule)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
ORDER = ["eventstore", "projections", "exporters", "turnlog", "turnlog_pytest"]
# Of the event store, the projections may know what an event is, and nothing of how it is kept.
KNOWN_TO_PROJECTIONS = {"errors", "event", "arguments", "codec", "vocabulary"}
# Nor may they know the time, the machine, or chance.
IMPURE = {"time", "random", "secrets", "os", "datetime", "uuid", "threading", "socket", "locale", "platform"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0]
    for name in imports(path):
        top = name.partition(".")[0]
        if top in ORDER:
            assert ORDER.index(top) <= ORDER.index(room), f"{path.name} imports {name}"
        if room == "projections":
            assert top not in IMPURE, f"{path.name} imports {name}"
            if top == "eventstore":
                assert name.split(".")[1] in KNOWN_TO_PROJECTIONS, f"{path.name} imports {name}"


def test_files_answer_one_question() -> None:
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 420, f"{path} answers two"
