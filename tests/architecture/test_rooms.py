"""The architecture, as the imports have it: floors, rooms on them, no circles. `docs/architecture.md` draws it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from turnlog.read_models.engine import READ

SOURCE = Path(__file__).resolve().parents[2] / "src"
FLOORS = ["eventstore", "projections", "exporters", "turnlog", "turnlog_pytest"]
"""A floor may import those before it."""
ROOMS = {
    "eventstore": ["hooks", "stores", "recording", "integrity"],
    "projections": [
        "timeline", "turns", "latency", "spans", "outputs", "reference", "measures", "compare", "explain",
    ],
    "exporters": ["delivery", "logs", "analytics", "otlp", "files", "archive", "playground", "reference"],
    "turnlog": ["adapters", "read_models", "rebuild", "archive", "compare", "stats", "viewer", "cli"],
}  # fmt: skip
"""A room may import those before it on its floor. Modules outside any room are the floor's own."""
MODULES_IN_A_PACKAGE = 16
LINES = 420
# Of the event store, projections know what an event is, and nothing of how it is kept.
KNOWN_TO_PROJECTIONS = {"errors", "event", "hooks", "codec"}
# They know neither the time nor the machine, nor chance.
IMPURE = {"time", "random", "secrets", "os", "datetime", "uuid", "threading", "socket", "locale", "platform"}
CALLERS = {"caller", "timeline", "turns", "latency", "spans", "outputs"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


@cache
def imports(name: str, *, running: bool = False) -> frozenset[str]:
    """What the module imports, by full name; ``running``: without imports for type checkers only."""
    return frozenset(_imports(MODULES[name], running))


def _imports(path: Path, running: bool) -> Iterator[str]:
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
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def room_of(name: str) -> str:
    """The room that a module is in; empty if it is its floor's own."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS.get(parts[0], ()) else ""


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name: str) -> None:
    """Break: in eventstore/event.py, import ``projections``."""
    floor = name.partition(".")[0]
    for imported in imports(name):
        top = imported.partition(".")[0]
        if top in FLOORS:
            assert FLOORS.index(top) <= FLOORS.index(floor), f"{name} imports {imported}"
        if floor == "projections":
            assert top not in IMPURE, f"{name} imports {imported}"
            if top == "eventstore":
                assert imported.split(".")[1] in KNOWN_TO_PROJECTIONS, f"{name} imports {imported}"


@pytest.mark.parametrize("name", [name for name in MODULES if room_of(name)])
def test_rooms_of_a_floor_know_those_below_alone(name: str) -> None:
    """Break: in eventstore/stores/base.py, import ``eventstore.recording.journal``."""
    floor = name.partition(".")[0]
    for imported in imports(name):
        if imported.partition(".")[0] == floor and room_of(imported):
            below = ROOMS[floor].index(room_of(imported)) <= ROOMS[floor].index(room_of(name))
            assert below, f"{name} imports {imported}, which is above it"


def test_every_package_of_a_floor_is_a_room() -> None:
    for floor, rooms in ROOMS.items():
        assert {path.parent.name for path in (SOURCE / floor).glob("*/__init__.py")} == set(rooms)


def test_the_two_readings_do_not_know_each_other() -> None:
    """Break: in projections/turns/answer.py, import ``projections.reference.metrics``."""
    for name in MODULES:
        floor, _, rest = name.partition(".")
        if floor == "projections" and rest:
            room = rest.partition(".")[0]
            foreign = {"reference"} if room in CALLERS else CALLERS if room == "reference" else set()
            named = {imported.split(".")[1] for imported in imports(name) if imported.startswith("projections.")}
            assert not named & foreign, f"{name} imports {named & foreign}"


def test_no_two_modules_import_each_other() -> None:
    """Not even through others, or inside a function. Break: in eventstore/errors.py, import ``eventstore.event``."""
    waiting = {name: imports(name) & MODULES.keys() - {name} for name in MODULES}
    while free := {name for name, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {name: needs for name, needs in waiting.items() if name not in free}
    assert not waiting, f"they import each other, or one that does: {sorted(waiting)}"


def test_packages_are_small() -> None:
    for package in {path.parent for path in MODULES.values()}:
        modules = [path.name for path in package.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= MODULES_IN_A_PACKAGE, f"{package} has {len(modules)} modules: part it"


def test_packages_say_what_they_are() -> None:
    for path in MODULES.values():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


def test_files_are_short() -> None:
    for path in MODULES.values():
        lines = len(path.read_text().splitlines())
        assert lines <= LINES, f"{path} has {lines} lines: part it by what it is about"


def test_the_engine_of_read_models_has_all_that_projections_import() -> None:
    """Else rows would stay fresh after a change of what made them. Break: in read_models/engine.py, drop "codec.py"."""
    seen: set[str] = set()
    left = [name for name in MODULES if name.startswith("projections")]
    while left:
        name = left.pop()
        if name in MODULES and name not in seen:
            seen.add(name)
            left += imports(name, running=True)
    found = {name.split(".")[1] for name in seen if name.startswith("eventstore.")}
    assert found == {file.removesuffix(".py") for file in READ}


def test_decoders_of_structs_are_made_at_import() -> None:
    """Two threads that make the first one at the same time crash the process: `test_first_reads.py`."""
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "msgspec.json.decode",
                "msgspec.msgpack.decode",
            ):
                kinds = [ast.unparse(word.value) for word in node.keywords if word.arg == "type"]
                assert all(kind[0].islower() for kind in kinds), f"{name}: make a Decoder of {kinds}"
