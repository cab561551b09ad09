"""Renders verdicts on the terminal, as JSON, as JUnit XML and as Markdown for a job summary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from turnlog.console import safe
from turnlog.stats.figures import format_value
from turnlog.stats.verdict import Verdict, Worst
from turnlog.terminal import in_line

STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}
MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚪"}


def tally(verdicts: list[Verdict]) -> str:
    """The number of verdicts by outcome, as ``2 pass, 1 fail``; zero counts are omitted."""
    counts = Counter[str](verdict.outcome for verdict in verdicts)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in STYLES if counts[outcome])


def overall(verdicts: list[Verdict]) -> str:
    """The worst outcome: ``fail``, else ``inconclusive``, else ``pass``."""
    return max((verdict.outcome for verdict in verdicts), key=["pass", "inconclusive", "fail"].index)


def show_verdict(console: Console, verdicts: list[Verdict], *, verbose: bool = False) -> None:
    """Print the verdict, one line per limit, then one per worst turn; ``verbose`` adds their latencies."""
    outcome = overall(verdicts)
    console.print(f"[{STYLES[outcome]}]{outcome.upper()}[/]  {tally(verdicts)}")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for column in ("outcome", "limit", "found"):
        table.add_column(column, no_wrap=True)
    table.add_column("why")
    for verdict in verdicts:
        outcome = f"[{STYLES[verdict.outcome]}]{verdict.outcome}[/]"
        table.add_row(outcome, safe(verdict.budget), verdict.found, safe(verdict.why))
    console.print(table)
    for verdict in verdicts:
        if verdict.worst:
            console.print(f"\n[bold]worst turns for {safe(verdict.budget)}[/]")
            (_show_parts if verbose else _show_worst)(console, verdict)
    if not verbose and any(turn.why for verdict in verdicts for turn in verdict.worst):
        console.print("[dim]details: --verbose[/]")


def _show_worst(console: Console, verdict: Verdict) -> None:
    """Print one line per turn, truncated to the console's width."""
    for turn in verdict.worst:
        value = "" if turn.value is None else f"{format_value(turn.value, verdict.unit)}  "
        line = Text(in_line(f"{turn.session} turn {turn.turn}  {value}{'; '.join(turn.why[:1])}".rstrip()))
        line.truncate(console.width, overflow="ellipsis")
        console.print(line)


def _show_parts(console: Console, verdict: Verdict) -> None:
    """Print the latencies of each turn and the reasons."""
    for turn in verdict.worst:
        parts = ", ".join(f"{part} {format_value(value, 'ms')}" for part, value in turn.parts.items())
        value = "" if turn.value is None else f"  {format_value(turn.value, verdict.unit)}"
        console.print(in_line(f"{turn.session} turn {turn.turn}{value}"), markup=False)
        for line in filter(None, (parts, *turn.why)):
            console.print(Padding(Text(in_line(line)), (0, 0, 0, 4)))


def data(verdicts: list[Verdict]) -> dict[str, Any]:
    """The verdicts as JSON data."""
    plain = [v._asdict() | {"worst": [turn._asdict() for turn in v.worst]} for v in verdicts]
    return {"outcome": overall(verdicts), "verdicts": plain}


def _parts(verdict: Verdict) -> list[str]:
    """The latencies known for any of the worst turns."""
    return list(dict.fromkeys(part for turn in verdict.worst for part in turn.parts))


def _columns(parts: list[str]) -> tuple[str, ...]:
    return ("session", "turn", "value", *(f"{part} ms" for part in parts))


def _cells(turn: Worst, unit: str, parts: list[str]) -> list[str]:
    value = format_value(turn.value, unit) if turn.value is not None else ""
    return [turn.session, turn.turn, value, *(format_value(turn.parts.get(part), "") for part in parts)]


def junit(verdicts: list[Verdict]) -> bytes:
    """JUnit XML with a test case per limit; inconclusive limits are skipped tests."""
    counts = Counter[str](verdict.outcome for verdict in verdicts)
    numbers = {"tests": len(verdicts), "failures": counts["fail"], "skipped": counts["inconclusive"], "errors": 0}
    attributes = {"name": "turnlog check"} | {name: str(number) for name, number in numbers.items()}
    suite = ElementTree.Element("testsuite", attributes)
    for verdict in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname="turnlog.check", name=_printable(verdict.budget))
        message = _printable(f"{verdict.found} ({verdict.why})")
        if verdict.outcome == "fail":
            failure = ElementTree.SubElement(case, "failure", type="fail", message=message)
            failure.text = _printable("\n".join(line for turn in verdict.worst for line in _lines(turn, verdict.unit)))
        elif verdict.outcome == "inconclusive":
            ElementTree.SubElement(case, "skipped", message=message)
        else:
            ElementTree.SubElement(case, "system-out").text = message
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    found: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return found + b"\n"


def _lines(turn: Worst, unit: str) -> list[str]:
    parts = ", ".join(f"{part} {format_value(value, 'ms')}" for part, value in turn.parts.items())
    value = f" {format_value(turn.value, unit)}" if turn.value is not None else ""
    return [f"{turn.session} turn {turn.turn}:{value} ({parts})", *(f"  {line}" for line in turn.why)]


def _printable(text: str) -> str:
    """The text with replacements for control characters, which XML does not allow but session ids may contain."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def markdown(verdicts: list[Verdict]) -> str:
    """The verdicts as Markdown for ``$GITHUB_STEP_SUMMARY``."""
    lines = [f"### turnlog check: {tally(verdicts)}", "", *_heading(("", "budget", "found", ""))]
    lines += [_row([MARKS[v.outcome], f"`{v.budget}`", v.found, v.why]) for v in verdicts]
    for verdict in verdicts:
        if verdict.worst:
            parts = _parts(verdict)
            lines += ["", f"**`{verdict.budget}`**: worst turns", "", *_heading(_columns(parts))]
            lines += [_row(_escape_md(cell) for cell in _cells(turn, verdict.unit, parts)) for turn in verdict.worst]
            reasons = [f"{turn.session} turn {turn.turn}: {line}" for turn in verdict.worst for line in turn.why]
            lines += ["", *(f"- {_escape_md(line)}" for line in reasons)] if reasons else []
    return "\n".join(lines) + "\n"


def _heading(columns: tuple[str, ...]) -> list[str]:
    return [_row(columns), _row(["---"] * len(columns))]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape_md(cell: str) -> str:
    """The text with Markdown and HTML escaped, on one line."""
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", " ".join(_printable(cell).split()))
