"""Rich consoles that print text from a log literally: without interpreting markup or control characters."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import IO, Any, NamedTuple, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from turnlog.terminal import escaped, in_line


def safe(text: object) -> str:
    """The text escaped for a line of rich markup: literal, with control characters as escapes."""
    return escape(in_line(text))


class SafeConsole(Console):
    """A console that prints control characters as escapes; only its own styles control the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(escaped(text), **options)  # before the layout, which counts columns

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escaped(segment.text), segment.style)


class _TrimmedFile:
    """A text file that drops the trailing blanks with which tables pad their last column."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(_TRAILING_BLANKS.sub("\n", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


_TRAILING_BLANKS = re.compile(r" +\n")


def output() -> Console:
    """Standard output; if not a terminal, 160 columns wide, so that tables fit, and without trailing blanks."""
    terminal = sys.stdout.isatty()
    width = None if terminal or "COLUMNS" in os.environ else 160
    file = None if terminal else cast("IO[str]", _TrimmedFile(sys.stdout))
    return SafeConsole(file=file, width=width, highlight=False, emoji=False)


def errors_to() -> Console:
    """A console on standard error."""
    return SafeConsole(stderr=True, highlight=False, emoji=False)


class Column(NamedTuple):
    """A column of a `fitted` table."""

    title: str
    cells: list[str]
    """Rich markup."""
    right: bool = False
    """Right-aligned, for numbers."""
    rank: int = 0
    """If space is short, the column with the lowest rank is dropped first; rank 0 always stays."""
    text: bool = False
    """A transcript: truncated to the width that the other columns leave."""


TEXT_WIDTH = 12
"""Least width of a text column; if there is less, columns are dropped."""
NAME_WIDTH = 24
"""Least width to which a name is folded; if there is less, columns are dropped."""


def fitted(console: Console, columns: list[Column], caption: str | None = None, title: str | None = None) -> Table:
    """A table in which only texts are truncated; to fit the console, columns are dropped."""
    kept = list(columns)
    while _min_width(kept) > console.width and any(column.rank for column in kept):
        kept.remove(min((column for column in kept if column.rank), key=lambda column: column.rank))
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in kept:
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=column.right or column.text,
            overflow="ellipsis" if column.text else "fold",
            min_width=None if column.text or not column.right else _max_width(column),
        )
    for row in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*row)
    dropped = [column.title for column in columns if column not in kept]
    hint = f"no room for {', '.join(dropped)}: --json" if dropped else ""
    table.caption = "; ".join(filter(None, (caption, hint))) or None
    return table


def _max_width(column: Column) -> int:
    return max(Text.from_markup(cell).cell_len for cell in (column.title, *column.cells))


def _min_width(columns: list[Column]) -> int:
    """The least width of the table, with borders."""
    least = {True: TEXT_WIDTH, False: NAME_WIDTH}
    widths = (_max_width(column) if column.right else min(_max_width(column), least[column.text]) for column in columns)
    return sum(widths) + 3 * len(columns) + 1
