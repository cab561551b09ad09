"""Renders a call as the framework reports it: the table of turns and the waterfall of each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from eventstore.integrity.gaps import Gap
from projections.reference.metrics import Turn
from projections.reference.replay import Call, latency_of
from turnlog.cli.render.drawing import quote, show_bars, show_gaps, show_logs
from turnlog.console import safe
from turnlog.terminal import plural
from turnlog.waterfall import waterfall


def show_call(
    console: Console,
    call: Call,
    only: int | None = None,
    *,
    all_logs: bool = False,
    missing: Sequence[Gap] = (),
) -> None:
    """Print the call's turns as the framework reports them: a table, then a waterfall of each with its log lines.

    ``only`` selects one turn, counted from 1. ``missing`` are the gaps in the log.
    """
    turns = [(str(number), turn) for number, turn in enumerate(call.turns, 1) if only in (None, number)]
    if only is None and call.current_turn is not None:
        turns.append(("open", call.current_turn))
    console.print(_summary(call))
    show_gaps(console, missing)
    console.print(_table(turns, console.width))
    carried = {found.turn: found.carried_over for found in call.interruptions}
    for name, turn in turns:
        begin = _show_turn(console, name, turn, carried.get(int(name)) if name.isdigit() else None)
        show_logs(console, [line for line in call.logs if line.turn_id == turn.turn_id], begin, all_logs)
    if only is not None:
        return
    for discarded in call.discarded:
        console.print(f"[dim]discarded at event {discarded.at}: {safe(discarded.reason)}[/]")
    if outside := [line for line in call.logs if line.turn is None]:
        console.print(f"\n[bold]outside of these turns[/]  {plural(len(outside), 'log line')}")
        show_logs(console, outside, None, all_logs)


def _summary(call: Call) -> str:
    counts = [plural(call.events, "event"), plural(len(call.turns), "turn")]
    counts += [plural(call.total_interruptions, "interruption")]
    if call.discarded:
        counts.append(plural(len(call.discarded), "discarded turn"))
    return f"[bold]{safe(call.session_name)}[/]  {', '.join(counts)}  [dim]rules {safe(call.rules)}[/]"


def _table(turns: list[tuple[str, Turn]], width: int) -> Table:
    rows = [(name, turn, latency_of(turn, 0)) for name, turn in turns]
    with_realtime = any(found.realtime is not None for _name, _turn, found in rows)
    table = Table()
    table.add_column("turn", no_wrap=True)
    table.add_column("user", no_wrap=True)
    table.add_column("agent", no_wrap=True)
    for name in ["E2E", "STT", "EOU", "wait", "LLM", "TTS", *(["realtime"] if with_realtime else [])]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    words = min(48, max(8, (width - 76) // 2))
    table.caption = "milliseconds; E2E: sum of component latencies, wait: endpointing delay, LLM: TTFT, TTS: TTFB"
    for name, turn, found in rows:
        tts = found.tts if found.tts is not None else found.ttfb
        parts = [found.e2e, found.stt, found.eou, found.eou_wait, found.ttft, tts]
        parts += [found.realtime] if with_realtime else []
        numbers = ["–" if part is None else f"{part:,.0f}" for part in parts]
        marks = ["[red]cut off[/]"] if turn.is_interrupted else []
        marks += [f"[red]{plural(len(turn.errors), 'error')}[/]"] if turn.errors else []
        table.add_row(name, quote(turn.user_speech, words), quote(turn.agent_speech, words), *numbers, " ".join(marks))
    return table


def _show_turn(console: Console, name: str, turn: Turn, carried: list[str] | None) -> float | None:
    """Print the waterfall; returns the turn's start in monotonic seconds, or None if it has no bars to print."""
    bars = waterfall(turn)
    if not bars:
        return None
    begin = bars[0].start
    end = max(bar.end if bar.end is not None else bar.start for bar in bars)
    suffix = ""
    if carried is not None:
        segment = f", last {', '.join(carried).upper()} segment carried over to the next turn" if carried else ""
        suffix = f"  [red]interrupted[/]{segment}"
    console.print(f"\n[bold]turn {name}[/]  {end - begin:.2f} s{suffix}")
    show_bars(console, bars, begin, end)
    return begin
