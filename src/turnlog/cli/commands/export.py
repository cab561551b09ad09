"""``turnlog export``: sessions as files that other programs open."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Annotated, Literal, NamedTuple

import typer

from eventstore.codec import clocks
from eventstore.stores.base import Store
from exporters.files import perfetto as trace
from projections.caller import RULES as TURNLOG
from projections.readings import reading
from turnlog.cli.commands.calls import BadChoice, RulesOption
from turnlog.cli.common import HEADERS, DbOption, existing, headers_of, known, progress, read, whole_file
from turnlog.survey import Survey
from turnlog.terminal import say, stdout_file

SPOOLED_BYTES = 8_000_000
"""A session that makes a longer file than this waits on the disk until it is whole."""

app = typer.Typer(help="Write sessions as files for other programs.", no_args_is_help=True)

SessionsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="SESSION…", help="As `turnlog sessions` lists them.", show_default=False)
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write here.", show_default="standard output")
]
CollectorOption = Annotated[
    str, typer.Option("--endpoint", metavar="URL", help="http://localhost:4318/v1/traces, or :4317 for gRPC.")
]
GrpcOption = Annotated[bool, typer.Option("--grpc", help="gRPC instead of HTTP.")]
ProfileOption = Annotated[
    Literal["reference", "semconv"],
    typer.Option(help="Attributes: the reference's, or those of OpenTelemetry GenAI and OpenInference."),
]
ServiceOption = Annotated[
    str | None, typer.Option(envvar="OTEL_SERVICE_NAME", metavar="NAME", show_default="the reference's")
]
ProjectOption = Annotated[str | None, typer.Option(metavar="NAME", help="For Arize Phoenix.")]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header", metavar="NAME=VALUE", help=f"Sent with every request; else those in {HEADERS}, between commas."
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every session of the log, the oldest first.")]


class Form(NamedTuple):
    """How sessions stand in a file."""

    session: Callable[[Store, str, int], Iterable[bytes]]
    """The pieces of the one of that name, which is the n-th in the file, from 1."""
    head: bytes = b""
    between: bytes = b""
    tail: bytes = b""


Replayed = Callable[[Store, str, str, int], Iterable[bytes]]
"""Like `Form.session`, with the rules before the number."""


def _replayed(head: bytes = b"", between: bytes = b"", tail: bytes = b"") -> Callable[[Replayed], None]:
    """A command that writes what a replay makes of the sessions; named and described as the function is."""

    def register(make: Replayed) -> None:
        def command(
            context: typer.Context,
            sessions: SessionsArgument = None,
            out: OutOption = None,
            every: AllOption = False,
            rules: RulesOption = TURNLOG,
            db: DbOption = None,
        ) -> None:
            def made(store: Store, name: str, number: int) -> Iterable[bytes]:
                return make(store, name, rules, number)

            write_sessions(existing(context, db), sessions, every, out, Form(made, head, between, tail))

        app.command(make.__name__, help=make.__doc__)(command)

    return register


@_replayed()
def payloads(store: Store, name: str, rules: str, _number: int) -> Iterable[bytes]:
    """Analytics payloads as JSON lines, one for each turn; with --rules framework, as the framework sends them."""
    from exporters.files.payloads import lines

    return lines(reading(store.read(name), rules).payloads)


@app.command()
def csv(
    context: typer.Context,
    sessions: SessionsArgument = None,
    out: OutOption = None,
    every: AllOption = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Text as it is, also where a spreadsheet would run it as a formula.")
    ] = False,
    rules: RulesOption = TURNLOG,
    db: DbOption = None,
) -> None:
    """Turns as CSV, one a row: texts, latencies in milliseconds, and what happened.

    A text that begins as a formula does (=, +, -, @) gets an apostrophe in front, unless --exact.
    """
    from exporters.files.turns_csv import header, rows_of

    def made(store: Store, name: str, _number: int) -> Iterable[bytes]:
        return rows_of(reading(store.read(name), rules), defused=not exact)

    write_sessions(existing(context, db), sessions, every, out, Form(made, header(rules)))


@_replayed(trace.HEAD, trace.BETWEEN, trace.TAIL)
def perfetto(store: Store, name: str, rules: str, number: int) -> Iterable[bytes]:
    """A timeline for ui.perfetto.dev or chrome://tracing: turns, components, speech and interruptions."""
    events = read(store, name)
    # the earliest is the first, but for origins on several machines, of which each has a clock of its own
    zero_ns = min(clocks(event)[0] for event in events)
    return [trace.session_text(reading(events, rules), zero_ns, number)]


@app.command()
def jsonl(
    context: typer.Context,
    sessions: SessionsArgument = None,
    out: OutOption = None,
    every: AllOption = False,
    db: DbOption = None,
) -> None:
    """The log itself, event by event and to the byte; `turnlog import` takes it."""
    from exporters.files.jsonl import heading, lines

    def made(store: Store, name: str, _number: int) -> Iterable[bytes]:
        return lines(store, heading(store, name))

    write_sessions(existing(context, db), sessions, every, out, Form(made))


@app.command()
def otlp(
    context: typer.Context,
    endpoint: CollectorOption,
    sessions: SessionsArgument = None,
    every: AllOption = False,
    grpc: GrpcOption = False,
    profile: ProfileOption = "reference",
    service_name: ServiceOption = None,
    project: ProjectOption = None,
    header: HeaderOption = None,
    rules: RulesOption = TURNLOG,
    db: DbOption = None,
) -> None:
    """Send the span trees to an OpenTelemetry collector; sending them again gives the same spans, not more."""
    from exporters.otlp.spans import destination

    store = existing(context, db)
    names = chosen(store, sessions, every)
    wire, headers = wire_of(grpc), headers_of(header)
    to, count = destination(endpoint, wire, headers, profile=profile, service_name=service_name, project=project), 0
    survey = Survey(alone=len(names) == 1)
    try:
        with progress() as bar:
            made = survey.each(names, lambda name: to.items(reading(read(store, name), rules)))
            for _name, items in bar.track(made, total=len(names), description="sending"):
                for start in range(0, len(items), to.batch):
                    to.send(items[start : start + to.batch])
                count += len(items)
    finally:
        to.close()
        store.close()
    say(f"{len(names) - len(survey.failed)} sessions, {count} spans sent")
    survey.finish()


def wire_of(grpc: bool) -> Literal["grpc", "http/protobuf"]:
    return "grpc" if grpc else "http/protobuf"


def write_sessions(store: Store, sessions: list[str] | None, every: bool, out: Path | None, form: Form) -> None:
    """Write the sessions one by one, so that never more than one is in memory; each whole, or not at all."""
    names = chosen(store, sessions, every)
    survey = Survey(alone=len(names) == 1)
    hidden = out is None and sys.stdout.isatty()  # the file itself goes there
    with (
        whole_file(out) if out is not None else nullcontext(stdout_file()) as file,
        progress(hidden=hidden) as bar,
        SpooledTemporaryFile(SPOOLED_BYTES) as spool,
    ):

        def made(name: str) -> None:
            spool.seek(0)
            spool.truncate()
            spool.writelines(form.session(store, name, written + 1))

        file.write(form.head)
        written = 0
        whole = bar.track(survey.each(names, made), total=len(names), description="exporting")
        for written, _made in enumerate(whole, 1):
            file.write(form.between if written > 1 else b"")
            spool.seek(0)
            shutil.copyfileobj(spool, file)
        file.write(form.tail)
        file.flush()
    store.close()
    survey.finish()


def chosen(store: Store, sessions: list[str] | None, every: bool) -> list[str]:
    """The sessions to write, once each; all are looked up before the first is written. Raises `UnknownSession`."""
    if every == bool(sessions):
        raise BadChoice("name the sessions, or take --all of them")
    recorded = [session.session_id for session in store.sessions()]
    if every:
        return recorded[::-1]
    asked = list(dict.fromkeys(sessions or ()))
    for name in asked:
        if name not in recorded:
            known(store, name)
    return asked
