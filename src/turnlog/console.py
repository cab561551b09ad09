"""Styled output: rich consoles on which text of a log is text, neither markup nor control characters."""

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
    """The text as a part of a line of rich's markup, in which it marks nothing up."""
    return escape(in_line(text))


class SafeConsole(Console):
    """A console that shows control characters of what it prints; only its own styles control the terminal."""

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(escaped(text), **how)  # before the layout, which counts columns

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escaped(segment.text), segment.style)


class _Trimmed:
    """A file of text without the blanks with which tables fill up their last column."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(_FILLING.sub("\n", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


_FILLING = re.compile(r" +\n")


def output() -> Console:
    """Standard output; wide and without trailing blanks when it is not a terminal, so that tables are not cut there."""
    terminal = sys.stdout.isatty()
    width = None if terminal or "COLUMNS" in os.environ else 160
    file = None if terminal else cast("IO[str]", _Trimmed(sys.stdout))
    return SafeConsole(file=file, width=width, highlight=False, emoji=False)


def errors_to() -> Console:
    """Standard error."""
    return SafeConsole(stderr=True, highlight=False, emoji=False)


class Column(NamedTuple):
    """A column of a table that is fitted to the console."""

    title: str
    cells: list[str]
    """As rich's markup."""
    right: bool = False
    """Numbers."""
    rank: int = 0
    """Where there is no room, the columns with the lowest rank are left out first; those with 0 stay."""
    text: bool = False
    """What was said: cut to the room that the others leave."""


TEXT_WIDTH = 12
"""A text is cut to this width before it is left out."""
NAME_WIDTH = 24
"""A name is folded to this width before a column is left out."""


def fitted(console: Console, columns: list[Column], caption: str | None = None, title: str | None = None) -> Table:
    """A table in which no cell is cut but texts: columns are left out instead."""
    kept = list(columns)
    while _width(kept) > console.width and any(column.rank for column in kept):
        kept.remove(min((column for column in kept if column.rank), key=lambda column: column.rank))
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in kept:
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=column.right or column.text,
            overflow="ellipsis" if column.text else "fold",
            min_width=None if column.text or not column.right else _natural(column),
        )
    for row in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*row)
    out = [column.title for column in columns if column not in kept]
    hint = f"no room for {', '.join(out)}: --json" if out else ""
    table.caption = "; ".join(filter(None, (caption, hint))) or None
    return table


def _natural(column: Column) -> int:
    return max(Text.from_markup(cell).cell_len for cell in (column.title, *column.cells))


def _width(columns: list[Column]) -> int:
    """The least, with borders."""
    least = {True: TEXT_WIDTH, False: NAME_WIDTH}
    widths = (_natural(column) if column.right else min(_natural(column), least[column.text]) for column in columns)
    return sum(widths) + 3 * len(columns) + 1
