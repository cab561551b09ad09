"""`docs/architecture.md` lists the floors and rooms that `test_rooms` holds the imports to, in the same order."""

from __future__ import annotations

import re
from pathlib import Path

from test_rooms import FLOORS, ROOMS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "architecture.md").read_text()


def test_the_floors_and_rooms_are_those_of_the_code() -> None:
    """Break: in docs/architecture.md, swap two rows of a table of rooms."""
    found = {}
    for section in re.split(r"^##+ ", TEXT, flags=re.MULTILINE):
        if floor := re.match(r"`(\w+)`: ", section):
            found[floor[1]] = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert found == ROOMS
    assert list(found) == FLOORS[: len(found)]
    assert FLOORS[len(found) :] == ["turnlog_pytest"]


def test_imports_are_drawn_one_way() -> None:
    assert f"`{' → '.join(reversed(list(ROOMS)))}`" in TEXT
