"""The program: its commands, and how it ends when something is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer

from eventstore.errors import TurnlogError
from turnlog.cli.commands import (  # fmt: skip
    barge_ins,
    calls,
    check,
    deliver,
    demo,
    diff,
    digest,
    explain,
    export,
    keys,
    log,
    playground,
    rules,
    stats,
    trust,
    verify,
)
from turnlog.cli.options import DbOption
from turnlog.terminal import errors_to, prepare, safe, say

app = typer.Typer(
    help="What happened in that call, and why did it take two seconds? Replays recorded calls of voice agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: list[Callable[..., None]] = [
    demo.demo, log.init, log.sessions, calls.replay, log.events, calls.payloads, calls.schema, calls.spans,
    barge_ins.barge_ins, stats.stats, check.check, diff.diff, digest.digest, explain.explain, rules.rules, log.tail,
    demo.record, log.recover,
    playground.playground, verify.verify, verify.seal, trust.forget, trust.retention,
]  # fmt: skip
for command in COMMANDS:
    app.command()(command)
app.command("import")(log.import_)
app.command()(rules.conformance)
app.add_typer(export.app, name="export")
app.add_typer(deliver.app, name="deliver")
app.add_typer(keys.app, name="keys")


def _print_version(wanted: bool) -> None:
    if wanted:
        say(version("turnlog"))
        raise typer.Exit


@app.callback()
def options(
    db: DbOption = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Nothing but options; what becomes of the database: see `turnlog.cli.common.url`."""


def main() -> None:
    """Run; any error that is foreseen is one line on standard error: exit code 1, or 2 for a wrong command line."""
    prepare()
    try:
        code = typer.main.get_command(app)(standalone_mode=False)
    except TurnlogError as error:
        code = _complain(str(error))
    except _UsageError as error:
        code = _misused(error)
    except typer.Abort:
        code = _complain("aborted")
    except UnicodeEncodeError as error:
        code = _complain(f"{error.object!r} is not text in UTF-8")
    except BrokenPipeError:  # the reader of our output had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        code = _complain(f"{error.filename or 'a file'}: {error.strerror or error}")
    sys.exit(code if isinstance(code, int) else 0)


_UsageError: Any = typer.BadParameter.__mro__[1]  # typer does not export it


def _complain(line: str) -> int:
    errors_to().print(f"[bold red]turnlog:[/] {safe(line)}", soft_wrap=True)
    return 1


def _misused(error: Any) -> int:
    """A command line that cannot be understood; without any, the help."""
    if not error.ctx or type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        _complain(f"{error.format_message()}; see: {error.ctx.command_path} --help")
    return int(error.exit_code)
