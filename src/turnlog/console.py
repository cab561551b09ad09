"""Styled output: rich consoles on which text of a log is text, neither markup nor control characters."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
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
