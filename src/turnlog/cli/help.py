"""The layout of help: plain text, without the types that metavars already show."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


def _usage_pieces(command: Any) -> list[str]:
    """The usage line's pieces, as in ``[OPTIONS] SESSION [FILE…]``."""
    pieces = ["[OPTIONS]"]
    for param in command.params:
        if param.param_type_name == "argument":
            name = _argument_name(param)
            pieces.append(name if param.required else f"[{name}]")
    return pieces


def _argument_name(argument: Any) -> str:
    return f"{argument.metavar or argument.name.upper()}{'…' if argument.nargs == -1 else ''}"


def _write_params(command: Any, ctx: Any, formatter: Any) -> None:
    """Write the arguments, then the options, each with its help."""
    arguments, options = [], []
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is None:
            continue
        if param.param_type_name == "argument":
            arguments.append((_argument_name(param), param.help or ""))
        else:
            options.append((record[0], record[1].replace("[required]", "(required)").rstrip()))
    for heading, rows in (("Arguments", arguments), ("Options", options)):
        if rows:
            with formatter.section(heading):
                formatter.write_dl(rows)


class Command(TyperCommand):
    """A command whose help has this layout."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return _usage_pieces(self)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_params(self, ctx, formatter)


class Group(TyperGroup):
    """A group of commands, each listed with the whole first line of its help."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_params(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, first_paragraph(command)) for name, command in self.commands.items()])


def first_paragraph(command: Any) -> str:
    """The first paragraph of a command's help, on one line."""
    return " ".join((command.help or "").split("\n\n")[0].split())
