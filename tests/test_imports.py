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


def imports(path: Path, *, running: bool = False) -> Iterator[str]:
    """What the file imports; ``running``: less what is only for types."""
    tree = ast.parse(path.read_text())
    types = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    left_out = {id(inner) for node in types for inner in ast.walk(node)} if running else set()
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
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


CALLERS = {"caller", "timeline", "turns", "latency", "spans", "outputs"}


def test_the_two_readings_do_not_know_each_other() -> None:
    for path in (SOURCE / "projections").rglob("*.py"):
        room = path.relative_to(SOURCE / "projections").parts[0].removesuffix(".py")
        foreign = {"reference"} if room in CALLERS else CALLERS if room == "reference" else set()
        named = {name.split(".")[1] for name in imports(path) if name.startswith("projections.")}
        assert not named & foreign, f"{path} imports {named & foreign}"


def test_no_two_modules_of_the_projections_import_each_other() -> None:
    """Not even through others; what is imported for types alone does not count."""
    modules = {}
    for path in (SOURCE / "projections").rglob("*.py"):
        modules[".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")] = path
    waiting = {name: set(imports(path, running=True)) & modules.keys() - {name} for name, path in modules.items()}
    for name, needs in waiting.items():  # a module that is taken out of its package needs that module
        waiting[name] = {need for need in needs if not any(other.startswith(need + ".") for other in needs)}
    while free := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {name: needs for name, needs in waiting.items() if name not in free}
    assert not waiting, f"they import each other, or one that does: {sorted(waiting)}"


def test_files_answer_one_question() -> None:
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 420, f"{path} answers two"
