"""Verdicts for people and for CI: on the terminal, as JUnit XML, as the Markdown of a job summary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

from turnlog.console import safe
from turnlog.stats.figures import shown
from turnlog.stats.verdict import Verdict, Worst
from turnlog.terminal import in_line

STYLES = {"held": "green", "broken": "bold red", "not decided": "yellow"}
MARKS = {"held": "✅", "broken": "❌", "not decided": "⚪"}


def tally(verdicts: list[Verdict]) -> str:
    """``2 held, 1 broken``; what there is none of is left out."""
    counts = Counter[str](verdict.outcome for verdict in verdicts)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in STYLES if counts[outcome])


def show(console: Console, verdicts: list[Verdict]) -> None:
    """Print the verdicts, and of each broken budget the worst turns."""
    table = Table("budget", "", "found", "")
    for verdict in verdicts:
        outcome = f"[{STYLES[verdict.outcome]}]{verdict.outcome}[/]"
        table.add_row(safe(verdict.budget), outcome, verdict.found, safe(verdict.why))
    console.print(table)
    for verdict in verdicts:
        if verdict.worst:
            parts = _parts(verdict)
            worst = Table(*_columns(parts), title=f"{safe(verdict.budget)}: turns to look at", title_justify="left")
            for column in worst.columns[2:]:
                column.justify = "right"
            for turn in verdict.worst:
                worst.add_row(*(safe(cell) for cell in _cells(turn, verdict.unit, parts)))
            console.print(worst)
            for turn in verdict.worst:
                for line in turn.why:
                    console.print(in_line(f"{turn.session} turn {turn.turn}: {line}"), markup=False)


def _parts(verdict: Verdict) -> list[str]:
    """What is known of any of the worst turns."""
    return list(dict.fromkeys(part for turn in verdict.worst for part in turn.parts))


def _columns(parts: list[str]) -> tuple[str, ...]:
    return ("session", "turn", "value", *(f"{part} ms" for part in parts))


def _cells(turn: Worst, unit: str, parts: list[str]) -> list[str]:
    value = shown(turn.value, unit) if turn.value is not None else ""
    return [turn.session, turn.turn, value, *(shown(turn.parts.get(part), "") for part in parts)]


def junit(verdicts: list[Verdict]) -> bytes:
    """A test case for each budget; what is not decided counts as skipped."""
    counts = Counter[str](verdict.outcome for verdict in verdicts)
    numbers = {"tests": len(verdicts), "failures": counts["broken"], "skipped": counts["not decided"], "errors": 0}
    attributes = {"name": "turnlog check"} | {name: str(number) for name, number in numbers.items()}
    suite = ElementTree.Element("testsuite", attributes)
    for verdict in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname="turnlog.check", name=_legal(verdict.budget))
        said = _legal(f"{verdict.found} ({verdict.why})")
        if verdict.outcome == "broken":
            failure = ElementTree.SubElement(case, "failure", type="broken", message=said)
            failure.text = _legal("\n".join(line for turn in verdict.worst for line in _lines(turn, verdict.unit)))
        elif verdict.outcome == "not decided":
            ElementTree.SubElement(case, "skipped", message=said)
        else:
            ElementTree.SubElement(case, "system-out").text = said
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    found: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return found + b"\n"


def _lines(turn: Worst, unit: str) -> list[str]:
    parts = ", ".join(f"{part} {shown(value, 'ms')}" for part, value in turn.parts.items())
    value = f" {shown(turn.value, unit)}" if turn.value is not None else ""
    return [f"{turn.session} turn {turn.turn}:{value} ({parts})", *(f"  {line}" for line in turn.why)]


def _legal(text: str) -> str:
    """XML has no control characters, and a session may be named by anything."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def markdown(verdicts: list[Verdict]) -> str:
    """For ``$GITHUB_STEP_SUMMARY``."""
    lines = [f"### turnlog check: {tally(verdicts)}", "", *_heading(("", "budget", "found", ""))]
    lines += [_row([MARKS[v.outcome], f"`{v.budget}`", v.found, v.why]) for v in verdicts]
    for verdict in verdicts:
        if verdict.worst:
            parts = _parts(verdict)
            lines += ["", f"**`{verdict.budget}`**: turns to look at", "", *_heading(_columns(parts))]
            lines += [_row(_plain(cell) for cell in _cells(turn, verdict.unit, parts)) for turn in verdict.worst]
            said = [f"{turn.session} turn {turn.turn}: {line}" for turn in verdict.worst for line in turn.why]
            lines += ["", *(f"- {_plain(line)}" for line in said)] if said else []
    return "\n".join(lines) + "\n"


def _heading(columns: tuple[str, ...]) -> list[str]:
    return [_row(columns), _row(["---"] * len(columns))]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(cell: str) -> str:
    """Text in which nothing is Markdown or HTML."""
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", " ".join(_legal(cell).split()))
