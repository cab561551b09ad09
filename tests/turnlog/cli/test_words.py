"""What people read on the command line: help is imperative, options are explained, words are the field's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.words import AVOIDED
from turnlog.cli.app import load
from turnlog.cli.commands import COMMANDS
from turnlog.cli.help import first_paragraph

SOURCE = Path(__file__).resolve().parents[3] / "src" / "turnlog"
VERBS = {
    "Archive",
    "Build",
    "Check",
    "Compare",
    "Create",
    "Deliver",
    "Destroy",
    "Erase",
    "Export",
    "Follow",
    "Import",
    "List",
    "Manage",
    "Move",
    "Print",
    "Record",
    "Replay",
    "Rewrap",
    "Run",
    "Send",
    "Show",
    "Verify",
    "Write",
}
BANNED = re.compile(
    AVOIDED.pattern + r"|\bthe reference\b|\b1 (sessions|turns|events|spans|items|interruptions|errors)\b",
    re.IGNORECASE,
)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command and group, by its whole name."""
    waiting = [(name, load(name)) for section in COMMANDS.values() for name in section]
    while waiting:
        name, command = waiting.pop()
        yield name, command
        waiting += [(f"{name} {sub}", inner) for sub, inner in getattr(command, "commands", {}).items()]


EVERY = dict(commands())


@pytest.mark.parametrize("name", EVERY)
def test_help_is_one_imperative_line_and_each_option_is_explained(name: str) -> None:
    """Break: in turnlog/cli/commands/log.py, begin the help of ``init`` with "Makes"."""
    line = first_paragraph(EVERY[name])
    assert line.split()[0].rstrip(",") in VERBS, f"{name}: {line!r} begins with no verb of the list"
    assert line.endswith(".")
    assert len(line) <= 72
    assert not BANNED.search(EVERY[name].help)
    for param in EVERY[name].params:
        assert param.help, f"{name}: {param.name} has no help"
        assert param.help.endswith((".", "]", "…")), f"{name}: {param.help!r}"
        assert param.help[0].isupper() or param.help.split()[0] in ("videosdk,", "calls.db"), f"{name}: {param.help!r}"
        assert not BANNED.search(param.help), f"{name}: {param.help!r}"


WITHOUT_JSON = {
    "demo", "init", "playground", "record", "view",
    "export csv", "export html", "export jsonl", "export payloads", "export perfetto", "export svg",
    "digest", "schema", "seal",
}  # fmt: skip
"""They serve, run a program, write a file for other programs, or print JSON anyway (the last three)."""


def test_every_other_command_that_shows_data_has_json() -> None:
    """Break: in turnlog/cli/commands/keys.py, ``rotate``, leave out ``as_json``."""
    bare = {
        name
        for name, command in EVERY.items()
        if not getattr(command, "commands", {}) and not any("--json" in param.opts for param in command.params)
    }
    assert bare == WITHOUT_JSON


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The string literals of a module, but for docstrings of what is not a command."""
    tree = ast.parse(path.read_text())
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.lineno, node.value


PRINTING = sorted(
    path for path in SOURCE.rglob("*.py") if "cli" in path.parts or path.parent.name == "stats" or path.parent == SOURCE
)


@pytest.mark.parametrize("path", PRINTING, ids=lambda path: str(path.relative_to(SOURCE)))
def test_messages_have_no_banned_words(path: Path) -> None:
    """Break: in turnlog/survey.py, write that "nobody" could replay the sessions."""
    for line, text in texts(path):
        assert not BANNED.search(text), f"{path.name}:{line}: {text!r}"


def test_spelling() -> None:
    """Break: in turnlog/cli/commands/__init__.py, write "recieve"."""
    codespell = pytest.importorskip("codespell_lib")
    help_texts = [text for command in EVERY.values() for text in (command.help, *(p.help for p in command.params))]
    misspellings: dict[str, Any] = {}
    dictionary = Path(codespell.__file__).parent / "data" / "dictionary.txt"
    for entry in dictionary.read_text(encoding="utf-8").splitlines():
        wrong, _arrow, right = entry.partition("->")
        misspellings[wrong] = right
    assert "recieve" in misspellings
    found = {word for text in help_texts for word in re.findall(r"[a-z]+", text.lower()) if word in misspellings}
    assert not found
