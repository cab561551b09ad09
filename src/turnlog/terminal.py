r"""Plain output: with `turnlog.console`, the only way to the terminal. No text of a log can control the terminal.

Transcripts, ids, log lines and servers' answers are untrusted. Control characters in them (`CONTROL`) are shown as
escapes, like ``\\x1b``. JSON is printed with the same characters as ``\\u`` escapes, which every JSON parser decodes.
"""

from __future__ import annotations

import codecs
import io
import json
import logging
import sys
import traceback
from types import TracebackType
from typing import IO, Any

from eventstore.control import CONTROL


def escaped(text: str) -> str:
    """The text with its control characters shown as escapes, but for newline and tab."""
    return CONTROL.sub(lambda found: found[0] if found[0] in "\n\t" else _escape(found[0]), text)


def in_line(text: object) -> str:
    """The text as a part of one line: newlines and tabs are escapes as well."""
    return CONTROL.sub(lambda found: _escape(found[0]), str(text))


def plural(count: int, one: str, many: str = "") -> str:
    """``1 session``, ``2,000 sessions``; ``many`` where the plural is not made with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def say(line: str, *, err: bool = False) -> None:
    """Print one line; a newline in it is shown as an escape."""
    _write(in_line(line) + "\n", err=err)


def say_text(text: str, *, err: bool = False) -> None:
    """Print a text of several lines."""
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
"""What stands for our own typography where the output's encoding does not have it."""


def _spelled_out(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of codecs: our typography in ASCII, everything else as an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in bad), error.end


codecs.register_error("turnlog", _spelled_out)


def print_json(value: Any, *, indent: bool = True) -> None:
    """Print a value as JSON, to a pipe as to a terminal."""
    sys.stdout.buffer.write(json_text(value, indent=indent).encode() + b"\n")
    sys.stdout.buffer.flush()


def json_text(value: Any, *, indent: bool = True) -> str:
    """The value as JSON, with the control characters that JSON lets stand in strings as escapes too."""
    import orjson

    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        text = orjson.dumps(value, option=option).decode()
    except TypeError:  # integers beyond 64 bits, lone surrogates
        text = json.dumps(value, indent=2 if indent else None, default=str)
    return json_escaped(text)


def json_escaped(text: str) -> str:
    """The JSON, with the control characters that it lets stand in strings as escapes."""
    return CONTROL.sub(lambda found: found[0] if found[0] in "\n\t" else f"\\u{ord(found[0]):04x}", text)


class _Shown:
    """Standard output as a file of text: on a terminal it shows control characters."""

    def write(self, data: bytes) -> None:
        _write(escaped(data.decode(errors="backslashreplace")))

    def flush(self) -> None:
        sys.stdout.flush()


def stdout_file() -> IO[bytes]:
    """Where the bytes of a file go that is not given a name: to a pipe as they are, to a terminal escaped."""
    return _Shown() if sys.stdout.isatty() else sys.stdout.buffer  # type: ignore[return-value]


class _Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say_text(self.format(record), err=True)


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    say_text("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"), err=True)


def prepare() -> None:
    """Make this process's outputs safe: any encoding, log lines, and unexpected errors."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="turnlog")
    if not logging.root.handlers:
        handler = _Log(logging.WARNING)
        logging.root.addHandler(handler)
    sys.excepthook = _excepthook
