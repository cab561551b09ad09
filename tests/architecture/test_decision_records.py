"""Decision records: each has a status, a date and the alternatives that were rejected, and the index lists all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("0*.md"))
LINK = r"\[(\d{4})\]\((\d{4}-[\w-]+\.md)\)"
STATUS = re.compile(rf"^Status: (accepted|.*superseded by {LINK}.*), (20\d\d-\d\d-\d\d)$", re.MULTILINE)


def status_of(record: Path) -> str:
    (line,) = [line for line in record.read_text().splitlines() if line.startswith("Status: ")]
    return line.removeprefix("Status: ")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_has_status_and_alternatives(record: Path) -> None:
    """Break: take a ``Status:`` line, or a paragraph on what was rejected, out of a record."""
    text = record.read_text()
    assert text.startswith(f"# {int(record.name[:4])}. "), "the title begins with the record's number"
    assert STATUS.search(text), f"{status_of(record)!r} is not `accepted, DATE` or `superseded by [N](N-….md), DATE`"
    assert re.search(r"\bRejected\b", text), "it does not say what was rejected"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_what_supersedes_a_record_is_there_and_later(record: Path) -> None:
    for number, name in re.findall(LINK, status_of(record)):
        assert (FOLDER / name).is_file()
        assert int(number) > int(record.name[:4])


def test_numbers_have_no_gaps() -> None:
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


def test_the_index_lists_each_record_with_its_status() -> None:
    """Break: in docs/decisions/README.md, take out a row."""
    rows = [line for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith("| [")]
    listed = [(row.split("](")[1].partition(")")[0], row.rpartition(" | ")[2].removesuffix(" |")) for row in rows]
    assert listed == [(record.name, status_of(record)) for record in RECORDS]
