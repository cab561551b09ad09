r"""Plain output; this module and `turnlog.console` do all printing, so that no text from a log controls the terminal.

Transcripts, ids, log lines and servers' answers are untrusted. Control characters in them (`CONTROL`) are printed as
escapes, like ``\\x1b``; in JSON as ``\\u`` escapes, which every JSON parser decodes.
"""

from __future__ import annotations

import codecs
import io
import json
import logging
import sys
import textwrap
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import IO, Any

from eventstore.control import CONTROL


def escaped(text: str) -> str:
    """The text with control characters as escapes, except newline and tab."""
    if text.isprintable():  # the usual case, found out five times faster
        return text
    return CONTROL.sub(lambda found: found[0] if found[0] in "\n\t" else _escape(found[0]), text)


def in_line(text: object) -> str:
    """The text with all control characters as escapes, newline and tab included."""
    return CONTROL.sub(lambda found: _escape(found[0]), str(text))


def plural(count: int, one: str, many: str = "") -> str:
    """``1 session``, ``2,000 sessions``; ``many`` is an irregular plural."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def say(line: str, *, err: bool = False) -> None:
    """Print one line; newlines in it become escapes."""
    _write(in_line(line) + "\n", err=err)


def say_text(text: str, *, err: bool = False) -> None:
    """Print text that may have several lines."""
    _write(escaped(text) + "\n", err=err)


def _write(text: str, *, err: bool = False) -> None:
    stream = sys.stderr if err else sys.stdout
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "turnlog").decode(encoding))
    stream.flush()


_ASCII = {
    "–": "-", "—": "-", "−": "-", "…": "...", "→": "->", "×": "x", "·": ".", "≥": ">=", "≤": "<=", "“": '"', "”": '"',
    "‘": "'", "’": "'", "━": "=", "╺": "=", "┄": ".", "█": "#", "▌": "#", "✅": "pass", "❌": "fail", "⚪": "?",
}  # fmt: skip
"""ASCII replacements for our own typography, for encodings without it."""


def _replace_unencodable(error: UnicodeError) -> tuple[str | bytes, int]:
    """A codec error handler: replaces our typography with ASCII and escapes everything else."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in bad), error.end


codecs.register_error("turnlog", _replace_unencodable)


def print_json(value: Any, *, indent: bool = True) -> None:
    """Print a value as JSON, identically to a pipe and to a terminal."""
    sys.stdout.buffer.write(json_text(value, indent=indent).encode() + b"\n")
    sys.stdout.buffer.flush()


def print_json_list(values: Iterable[Any]) -> None:
    """Print an array as `print_json` does, each item as soon as it is there."""
    before = "[\n"
    for value in values:
        sys.stdout.buffer.write((before + textwrap.indent(json_text(value), "  ")).encode())
        sys.stdout.buffer.flush()
        before = ",\n"
    sys.stdout.buffer.write(b"[]\n" if before == "[\n" else b"\n]\n")
    sys.stdout.buffer.flush()


def json_text(value: Any, *, indent: bool = True) -> str:
    """The value as JSON; control characters that JSON allows unescaped are escaped too."""
    import orjson

    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        text = orjson.dumps(value, option=option).decode()
    except TypeError:  # integers beyond 64 bits, lone surrogates
        text = json.dumps(value, indent=2 if indent else None, default=str)
    return json_escaped(text)


def json_escaped(text: str) -> str:
    """The JSON text with the control characters that JSON allows unescaped as escapes."""
    if text.isprintable():  # the usual case, found out five times faster
        return text
    return CONTROL.sub(lambda found: found[0] if found[0] in "\n\t" else f"\\u{ord(found[0]):04x}", text)


class _TerminalFile:
    """A binary file that prints to a terminal, with control characters as escapes."""

    def write(self, data: bytes) -> None:
        _write(escaped(data.decode(errors="backslashreplace")))

    def flush(self) -> None:
        sys.stdout.flush()


def stdout_file() -> IO[bytes]:
    """Standard output as a binary file: unchanged to a pipe, escaped to a terminal."""
    return _TerminalFile() if sys.stdout.isatty() else sys.stdout.buffer  # type: ignore[return-value]


class _LogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say_text(self.format(record), err=True)


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    say_text("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"), err=True)


def prepare() -> None:
    """Escape log lines and tracebacks in this process, and make output work in any encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="turnlog")
    if not logging.root.handlers:
        handler = _LogHandler(logging.WARNING)
        logging.root.addHandler(handler)
    sys.excepthook = _excepthook
