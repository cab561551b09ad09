"""Words that the project's prose avoids; `docs/glossary.md` has those that it uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.words import AVOIDED

TOP = Path(__file__).resolve().parents[2]
FILES = [
    path
    for folder in ("src", "benchmarks")
    for path in sorted((TOP / folder).rglob("*.py"))
]  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TOP)))
def test_no_word_needs_decoding(path: Path) -> None:
    """In docstrings, comments and messages. Break: in src/eventstore/errors.py, write ``nobody``."""
    found = [
        f"line {n}: {line.strip()}" for n, line in enumerate(path.read_text().splitlines(), 1) if AVOIDED.search(line)
    ]
    assert not found, "; ".join(found)
