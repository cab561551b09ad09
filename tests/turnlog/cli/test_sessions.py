"""The list of sessions: columns, filters, limit; and tables on narrow terminals."""

from __future__ import annotations

import io

import orjson
import pytest

from support.program import FIXTURES, Program
from turnlog.console import Column, SafeConsole, fitted


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Program:
    program = Program(tmp_path_factory.mktemp("sessions"))
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    return program


def test_columns_and_limit(log: Program) -> None:
    """Break: in commands/sessions.py, ignore ``limit``."""
    shown = log.run("sessions", "--limit", 3, COLUMNS="80").stdout
    assert "3 of 53 sessions; all: --limit 0" in shown
    for column in ("session", "started (UTC)", "turns", "p95 response", "errors"):
        assert column in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert len(orjson.loads(log.run("sessions", "--json").stdout)) == 53


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        (("--with", "errors"), lambda session: session["errors"] > 0),
        (
            ("--with", "interruptions", "--slower-than", "3s"),
            lambda s: s["interruptions"] > 0 and s["slowest_ms"] > 3000,
        ),
        (("--with", "no-response"), lambda session: session["no_response"] > 0),
    ],
)
def test_filters(log: Program, options: tuple[str, ...], holds: object) -> None:
    """Break: in overview.py, ``Wanted.holds``, return True."""
    every = orjson.loads(log.run("sessions", "--json", "--details").stdout)
    wanted = [session["session_id"] for session in every if holds(session)]  # type: ignore[operator]
    found = orjson.loads(log.run("sessions", "--json", *options).stdout)
    assert 0 < len(wanted) < len(every)
    assert [session["session_id"] for session in found] == wanted


def test_grep_is_over_what_was_said(log: Program) -> None:
    """Break: in overview.py, ``_was_said``, do not fold the case."""
    found = orjson.loads(log.run("sessions", "--json", "--grep", "RETURN POLICY").stdout)
    assert "barge_in_vad" in [session["session_id"] for session in found]
    assert "0 of 53 sessions match" in log.run("sessions", "--grep", "no one said this").stdout
    assert "--slower-than takes ms or s" in log.fails("sessions", "--slower-than", "soon")


@pytest.mark.parametrize("width", [40, 80, 100])
def test_no_cell_of_a_fitted_table_is_cut(width: int) -> None:
    """Break: in console.py, ``fitted``, leave out no column."""
    console = SafeConsole(file=io.StringIO(), width=width)
    names, numbers = ["a-session-with-a-long-name-0123456789", "b"], ["1,234,567", "2"]
    ranked = [Column(f"number {rank}", numbers, right=True, rank=rank) for rank in range(5)]
    console.print(fitted(console, [Column("name", names), *ranked]))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    cells = [row.split("│")[1].strip() for row in shown.splitlines() if row.startswith("│")]
    assert "".join(cells) == "".join(names)
    assert "…" not in shown
    assert "1,234,567" in shown
    assert max(map(len, shown.splitlines())) <= width
