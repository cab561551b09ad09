"""What the site has beside the pages in docs/: pages from the top of the repository, and the program's own help."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from turnlog.cli.app import app, load
from turnlog.cli.commands import COMMANDS

TOP = Path(__file__).resolve().parents[1]
FROM_TOP = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
}
"""Pages of the site, and the files that they are."""
ELSEWHERE = ("LICENSE", "CODE_OF_CONDUCT.md")
"""Files at the top that the site does not have: links to them become text."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for page, source in FROM_TOP.items():
        files.append(File.generated(config, page, content=_relinked((TOP / source).read_text())))
    files.append(File.generated(config, "cli.md", content=command_line()))
    return files


def _relinked(text: str) -> str:
    """The page with its links as they are within docs/."""
    pages = {source: page for page, source in FROM_TOP.items()}

    def link(found: re.Match[str]) -> str:
        shown, target = found[1], found[2].removeprefix("docs/")
        if target.partition("#")[0] in ELSEWHERE:
            return shown
        return f"[{shown}]({pages.get(target, target)})"

    return re.sub(r"(?<!!)\[([^]]*)\]\(([^)]*)\)", link, text.replace("](docs/pictures/", "](pictures/"))


def command_line() -> str:
    """The reference of all commands, from what ``--help`` says."""
    root: Any = typer.main.get_command(app)
    parts = ["# Command line", root.help, _table(root, root.make_context("turnlog", [], resilient_parsing=True))]
    for heading, section in COMMANDS.items():
        parts.append(f"## {heading}")
        for name in section:
            parts += _command(load(name), f"turnlog {name}")
    return "\n\n".join(parts) + "\n"


def _command(command: Any, name: str) -> list[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    parts = [f"### `{name}`", f"```text\n{_usage(command, context)}\n```", command.help, _table(command, context)]
    for child in command.list_commands(context) if hasattr(command, "list_commands") else ():
        if not (found := command.get_command(context, child)).hidden:
            parts += _command(found, f"{name} {child}")
    return list(filter(None, parts))


def _usage(command: Any, context: Any) -> str:
    return " ".join([context.command_path, *command.collect_usage_pieces(context)])


def _table(command: Any, context: Any) -> str:
    """The arguments and options as a table; empty if there are none."""
    rows = [record for p in command.get_params(context) if (record := _parameter(p, context))]
    if not rows:
        return ""
    return "\n".join(["| option | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)])


def _parameter(parameter: Any, context: Any) -> tuple[str, str] | None:
    record = parameter.get_help_record(context)
    if record is None or "--help" in parameter.opts:
        return None
    name, text = (" ".join(part.split()).replace("|", "\\|") for part in record)
    text = text.replace("[", "\\[")  # no link
    return f"`{name}`", re.sub(r"<(\w+)>", r"`\1`", text)
