"""`docs/laws.md` and the code agree: what is cited is written down, and what is written down is tested."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
LAWS = TOP / "docs" / "laws.md"
CITED = re.compile(r"(?<![a-z])laws?[ _](\d+)(?:(?:, | and )(\d+))*", re.IGNORECASE)
NUMBER = re.compile(r"\d+")


@cache
def laws() -> dict[int, str]:
    """The text of each law, by its number."""
    parts = re.split(r"^## (\d+)\. ", LAWS.read_text(), flags=re.MULTILINE)[1:]
    return {int(number): text for number, text in zip(parts[::2], parts[1::2], strict=True)}


def cited(path: Path) -> Iterator[tuple[int, int]]:
    """The number of each law that the file cites, with the line."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for found in CITED.finditer(line):
            yield from ((number, int(law)) for law in NUMBER.findall(found[0]))


def files(*folders: str) -> list[Path]:
    """Python and Markdown in these folders, but for this file."""
    found = [path for folder in folders for path in sorted((TOP / folder).rglob("*"))]
    return [path for path in found if path.suffix in (".py", ".md") and path != Path(__file__)]


def test_the_laws_are_numbered_from_1_to_7() -> None:
    assert list(laws()) == [1, 2, 3, 4, 5, 6, 7]


def test_each_law_that_is_cited_exists() -> None:
    """Break: in eventstore/codec.py, cite law 8."""
    wrong = [
        f"{path.relative_to(TOP)}:{line}: law {law}"
        for path in files("src", "tests", "benchmarks", "migrations", "docs")
        for line, law in cited(path)
        if law not in laws()
    ]
    assert not wrong


def test_each_law_is_cited_by_a_test() -> None:
    """Break: in tests/eventstore/test_laws.py and the store tests, rename ``test_law_1_…``."""
    named = {law for path in files("tests") if path.name.startswith("test_") for _line, law in cited(path)}
    assert set(laws()) <= named


@pytest.mark.parametrize("law", range(1, 8))
def test_what_enforces_and_shows_a_law_is_there(law: int) -> None:
    """Break: in docs/laws.md, misspell the name of a test."""
    enforced, shown = re.findall(
        r"^- \*\*(?:Enforced|Shown) by\*\*(.*?)(?=^- \*\*|\Z)", laws()[law], re.DOTALL | re.MULTILINE
    )
    code, tests = re.findall(r"`((?:src|migrations)/[^`]+)`", enforced), re.findall(r"`(tests/[^`]+)`", shown)
    assert code
    assert tests
    for path in code:
        assert (TOP / path).exists(), path
    for test in tests:
        path, _colons, function = test.partition("::")
        assert f"def {function}(" in (TOP / path).read_text(), test
