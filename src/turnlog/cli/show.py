"""A replayed call on the terminal: the table of turns, the waterfall of each, the tree of spans."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from eventstore.gaps import Gap
from projections.barge_in import BargeIn, turn_of
from projections.model import Turn
from projections.replay import Call, latency_of
from projections.response import Response, response
from projections.state import LogLine, Span
from turnlog.cli.barge_ins import sentence
from turnlog.terminal import escaped, in_line, safe
from turnlog.waterfall import Bar, waterfall

STYLES = {"user": "cyan", "agent": "green", "wait": "yellow", "tool": "magenta", "audio": "dim", "error": "bold red"}
LEVELS = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
LOG_LINES = 5
"""Of a turn, unless all are asked for."""


def show_call(
    console: Console,
    call: Call,
    only: int | None = None,
    *,
    ledger: Sequence[BargeIn] = (),
    all_logs: bool = False,
    missing: Sequence[Gap] = (),
) -> None:
    """The call's turns as a table, then each as a waterfall with its barge-ins, those of the ``ledger``, and log lines.

    ``only`` picks one turn, counted from 1. ``missing`` are the calls that the log does not have.
    """
    turns = [(str(number), turn) for number, turn in enumerate(call.turns, 1) if only in (None, number)]
    if only is None and call.current_turn is not None:
        turns.append(("open", call.current_turn))
    console.print(_summary(call))
    for gap in missing:
        origin = f"origin {gap.origin!r}: " if len({gap.origin for gap in missing}) > 1 else ""
        console.print(f"{origin}{gap}", style="yellow", markup=False)
    console.print(_table(turns, console.width, call.rules))
    carried = {found.turn: found.carried_over for found in call.interruptions}
    in_turns = [(turn_of(call, record), record) for record in ledger]
    for name, turn in turns:
        begin = _show_turn(console, name, turn, carried.get(int(name)) if name.isdigit() else None)
        number = int(name) if name.isdigit() else len(call.turns) + 1
        _show_response(console, response(turn, call.session))
        _show_barge_ins(console, [record for found, record in in_turns if found == number])
        _show_logs(console, [line for line in call.logs if line.turn_id == turn.turn_id], begin, all_logs)
    if only is not None:
        return
    for error in call.clock_errors:
        console.print(f"[yellow]clock error at event {error.at}: {safe(error.what)} would be {error.ms:,.1f} ms[/]")
    for discarded in call.discarded:
        console.print(f"[dim]discarded at event {discarded.at}: {safe(discarded.reason)}[/]")
    _show_barge_ins(console, [record for found, record in in_turns if found is None])
    if outside := [line for line in call.logs if line.turn is None]:
        console.print(f"\n[bold]outside of these turns[/]  {len(outside)} log lines")
        _show_logs(console, outside, None, all_logs)


def _summary(call: Call) -> str:
    counts = [f"{call.events} events", f"{len(call.turns)} turns", f"{call.total_interruptions} interruptions"]
    if call.discarded:
        counts.append(f"{len(call.discarded)} discarded turns")
    return f"[bold]{safe(call.session_name)}[/]  {', '.join(counts)}  [dim]rules {safe(call.rules)}[/]"


def _table(turns: list[tuple[str, Turn]], width: int, rules: str) -> Table:
    rows = [(name, turn, latency_of(turn, 0, rules)) for name, turn in turns]
    with_realtime = any(found.realtime is not None for _name, _turn, found in rows)
    table = Table()
    table.add_column("turn", no_wrap=True)
    table.add_column("user", no_wrap=True)
    table.add_column("agent", no_wrap=True)
    for name in ["E2E", "STT", "EOU", "wait", "LLM", "TTS", *(["realtime"] if with_realtime else [])]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    words = min(48, max(8, (width - 76) // 2))
    table.caption = "milliseconds; wait: for more words, LLM: first token, TTS: first byte, E2E: as the rules add up"
    for name, turn, found in rows:
        tts = found.tts if found.tts is not None else found.ttfb
        parts = [found.e2e, found.stt, found.eou, found.eou_wait, found.ttft, tts]
        parts += [found.realtime] if with_realtime else []
        numbers = ["–" if part is None else f"{part:,.0f}" for part in parts]
        marks = ["[red]interrupted[/]"] if turn.is_interrupted else []
        marks += [f"[red]{len(turn.errors)} errors[/]"] if turn.errors else []
        table.add_row(
            name, _quote(turn.user_speech, words), _quote(turn.agent_speech, words), *numbers, " ".join(marks)
        )
    return table


def _quote(text: object, width: int) -> str:
    line = "–" if text is None else in_line(" ".join(str(text).split()))
    return escape(line if len(line) <= width else line[: width - 1] + "…")


def _show_turn(console: Console, name: str, turn: Turn, carried: list[str] | None) -> float | None:
    """Returns when it began, on the monotonic clock; None if nothing in it was timed, and so nothing shown."""
    bars = waterfall(turn)
    if not bars:
        return None
    begin = bars[0].start
    end = max(bar.end if bar.end is not None else bar.start for bar in bars)
    note = ""
    if carried is not None:
        took = f", the next turn takes over its last {', '.join(carried).upper()}" if carried else ""
        note = f"  [red]interrupted[/]{took}"
    console.print(f"\n[bold]turn {name}[/]  {end - begin:.2f} s{note}")
    width = max(20, min(72, console.width - 50))
    for bar in bars:
        console.print(_line(bar, begin, max(end - begin, 1e-9), width))
    return begin


def _show_response(console: Console, found: Response | None) -> None:
    """What the caller waited for, the longest first."""
    if found is None:
        return
    waits: dict[str, float] = {}
    for piece in found.pieces:
        waits[piece.name] = waits.get(piece.name, 0.0) + piece.ms
    parts = [f"{name} {ms:,.0f}" for name, ms in sorted(waits.items(), key=lambda wait: -wait[1]) if ms >= 1]
    console.print(f"answers after {found.ms:,.0f} ms: {', '.join(parts)}", style="bold")


def _show_barge_ins(console: Console, records: list[BargeIn]) -> None:
    for record in records:
        console.print(in_line(f"+{record.into_call:,.1f} s: {sentence(record)}"), style="red", markup=False)


def _show_logs(console: Console, lines: list[LogLine], begin: float | None, every: bool) -> None:
    """A line each, with how long after ``begin`` it was written, or at which event; text over several lines as one,
    unless ``every`` line is asked for."""
    for line in lines if every else lines[:LOG_LINES]:
        when = f"event {line.at}" if begin is None else f"+{(line.time - begin) * 1000:,.0f} ms"
        shown = Text(f"{when:>17} ")
        shown.append(f"{in_line(line.level):<8}", LEVELS.get(line.level, ""))
        shown.append(f" {in_line(line.logger)}: ", "dim")
        shown.append(escaped(line.message) if every else in_line(" ".join(line.message.split())))
        if not every:
            shown.truncate(console.width, overflow="ellipsis")
        console.print(shown)
    if not every and len(lines) > LOG_LINES:
        console.print(f"{'':>17} [dim]… {len(lines) - LOG_LINES} more log lines: --logs[/]")


def _line(bar: Bar, begin: float, length: float, width: int) -> Text:
    left = min(width - 1, int((bar.start - begin) / length * width))
    if bar.end is None:
        drawn = "╺" + "┄" * (width - left - 1)
    else:
        drawn = "━" * max(1, round((bar.end - bar.start) / length * width))
    line = Text(f"{in_line(bar.label)[:17]:>17} ")
    line.append(" " * left)
    line.append(drawn[: width - left].ljust(width - left), STYLES[bar.kind])
    line.append(f" +{(bar.start - begin) * 1000:,.0f} ms", "dim")
    line.append(f"  {in_line(bar.detail)[:40]}" if bar.detail else ("  no end" if bar.end is None else ""))
    return line


def span_tree(call: Call) -> Tree:
    """The spans as a tree; those that never ended are marked."""
    spans = sorted([*call.spans, *call.open_spans], key=lambda span: span.id)
    tree = Tree(f"[bold]{safe(call.session_name)}[/]  {len(call.spans)} spans")
    branches: dict[int, Tree] = {}
    for span in spans:  # a parent starts before its children
        above = branches.get(span.parent, tree) if span.parent is not None else tree
        branches[span.id] = above.add(_span(span))
    for failure in call.span_failures:
        tree.add(f"[dim]a {failure.component} span is missing or never ended: {safe(failure.error)}[/]")
    return tree


def _span(span: Span) -> str:
    if span.end_ns is None:
        return f"{safe(span.name)}  [dim]never ended[/]"
    colour = "red" if span.status == "ERROR" else "green"
    return f"{safe(span.name)}  [{colour}]{(span.end_ns - span.start_ns) / 1e6:,.1f} ms[/]"
