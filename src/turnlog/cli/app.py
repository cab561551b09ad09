"""The program: its commands, error messages and exit codes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer

from eventstore.errors import TurnlogError
from turnlog.cli.commands import COMMANDS
from turnlog.cli.help import Command, Group
from turnlog.cli.options import DbOption
from turnlog.garbage import collect_rarely
from turnlog.terminal import prepare, say

_STYLE: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,  # plain help: it can be grepped, and importing rich would double the start-up time
}


class Commands(Group):
    """The commands of `COMMANDS`; a command's module is imported when it runs, not when it is listed."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for section in COMMANDS.values():
            self.commands.update((name, Command(name, help=row.summary)) for name, row in section.items())

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in self.commands:
            self.commands[args[0]] = load(args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for heading, section in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, row.summary) for name, row in section.items()])


def load(name: str) -> Any:
    """The command with this name; imports its module."""
    row = next(section[name] for section in COMMANDS.values() if name in section)
    found = getattr(import_module(f"turnlog.cli.commands.{row.module}"), row.function)
    parent = typer.Typer(**_STYLE)
    parent.callback()(lambda: None)  # makes it a group, which the command can be looked up in
    if isinstance(found, typer.Typer):
        for command in found.registered_commands:
            command.cls = Command
        parent.add_typer(found, name=name, help=row.summary, cls=Group)
    else:
        parent.command(name, cls=Command)(found)
    group: Any = typer.main.get_command(parent)
    return group.commands[name]


app = typer.Typer(
    cls=Commands,
    help="What happened in that call, and why did it take two seconds? Replays recorded calls of voice agents.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    **_STYLE,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(version("turnlog"))
        raise typer.Exit


@app.callback()
def options(
    db: DbOption = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Accept the options of the program; `turnlog.cli.common.url` resolves the database."""


def main() -> None:
    """Run the program; expected errors print one line on standard error and exit with 1, usage errors with 2."""
    prepare()
    collect_rarely()
    try:
        code = typer.main.get_command(app)(standalone_mode=False)
    except TurnlogError as error:
        code = _print_error(str(error))
    except _UsageError as error:
        code = _print_usage_error(error)
    except typer.Abort:
        code = _print_error("aborted")
    except UnicodeEncodeError as error:
        code = _print_error(f"{error.object!r} is not text in UTF-8")
    except BrokenPipeError:  # the reader of our output closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        code = _print_error(f"{error.filename or 'a file'}: {error.strerror or error}")
    sys.exit(code if isinstance(code, int) else 0)


_UsageError: Any = typer.BadParameter.__mro__[1]  # typer does not export it


def _print_error(line: str) -> int:
    from turnlog.console import errors_to, safe

    errors_to().print(f"[bold red]turnlog:[/] {safe(line)}", soft_wrap=True)
    return 1


def _print_usage_error(error: Any) -> int:
    """Print a usage error, or the help if the command line is empty; returns the exit code."""
    if not error.ctx or type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        message = error.format_message().replace("Value error, ", "").rstrip(".")
        _print_error(f"{message}; see: {error.ctx.command_path} --help")
    return int(error.exit_code)
