"""Drawing shared by the two views of a call: waterfall bars, log lines, quotes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from eventstore.integrity.gaps import Gap
from projections.model import LogLine
from turnlog.terminal import escaped, in_line, plural
from turnlog.waterfall import Bar

STYLES = {"user": "cyan", "agent": "green", "wait": "yellow", "tool": "magenta", "audio": "dim", "error": "bold red"}
LEVELS = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
LOG_LINES = 5
"""Maximum number of log lines per turn without ``--logs``."""


def show_gaps(console: Console, missing: Sequence[Gap]) -> None:
    """Print the ranges of hook calls that are missing from the log."""
    for gap in missing:
        origin = f"origin {gap.origin!r}: " if len({gap.origin for gap in missing}) > 1 else ""
        console.print(f"{origin}{gap}", style="yellow", markup=False)


def show_bars(console: Console, bars: Sequence[Bar], begin: float, end: float) -> None:
    """Print the bars, one a line, scaled from ``begin`` to ``end``, in seconds on their clock."""
    room = max(17, min(28, max((len(in_line(bar.label)) for bar in bars), default=0)))
    width = max(20, min(72, console.width - 33 - room))
    for bar in bars:
        console.print(_line(bar, begin, max(end - begin, 1e-9), width, room), overflow="ellipsis", no_wrap=True)


def _line(bar: Bar, begin: float, length: float, width: int, room: int) -> Text:
    left = min(width - 1, int((bar.start - begin) / length * width))
    if bar.end is None:
        drawn = "╺" + "┄" * (width - left - 1)
    else:
        drawn = "━" * max(1, round((bar.end - bar.start) / length * width))
    line = Text(f"{in_line(bar.label)[:room]:>{room}} ")
    line.append(" " * left)
    line.append(drawn[: width - left].ljust(width - left), STYLES[bar.kind])
    line.append(f" +{(bar.start - begin) * 1000:,.0f} ms", "dim")
    line.append(f"  {in_line(bar.detail)[:40]}" if bar.detail else ("  end not reported" if bar.end is None else ""))
    return line


def show_logs(console: Console, lines: list[LogLine], begin: float | None, every: bool) -> None:
    """Print log lines, each with the time since ``begin`` or, without it, its event's number.

    Prints the first `LOG_LINES`, each truncated to one line; with ``every``, all of them in full.
    """
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
        console.print(f"{'':>17} [dim]… {plural(len(lines) - LOG_LINES, 'more log line')}: --logs[/]")


def quote(text: object, width: int) -> str:
    line = "–" if text is None else in_line(" ".join(str(text).split()))
    return escape(line if len(line) <= width else line[: width - 1] + "…")
