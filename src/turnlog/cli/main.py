"""The program: its commands, and how it ends when something is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from eventstore.errors import TurnlogError
from turnlog.cli import (
    barge_ins,
    calls,
    check,
    conformance,
    deliver,
    diff,
    digest,
    explain,
    export,
    keys,
    log,
    playground,
    record,
    rules,
    stats,
    trust,
)  # fmt: skip
from turnlog.cli.common import DbOption, errors_to

app = typer.Typer(
    help="What happened in that call, and why did it take two seconds? Replays recorded calls of voice agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: list[Callable[..., None]] = [
    calls.demo, log.init, log.sessions, calls.replay, log.events, calls.payloads, calls.schema, calls.spans,
    barge_ins.barge_ins, stats.stats, check.check, diff.diff, digest.digest, explain.explain, rules.rules, log.tail,
    record.record, log.recover,
    playground.playground, trust.verify, trust.seal, trust.forget, trust.retention,
]  # fmt: skip
for command in COMMANDS:
    app.command()(command)
app.command("import")(log.import_)
app.command()(conformance.conformance)
app.add_typer(export.app, name="export")
app.add_typer(deliver.app, name="deliver")
app.add_typer(keys.app, name="keys")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("turnlog"))
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    db: DbOption = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    context.obj = db


def main() -> None:
    """Run; any error we know of is one line on standard error and exit code 1."""
    try:
        app()
    except TurnlogError as error:
        errors_to().print(f"[bold red]turnlog:[/] {_escaped(str(error))}", soft_wrap=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
