"""``turnlog export``: sessions as files that other programs open."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from eventstore.codec import clocks
from eventstore.store import Store
from projections.caller import RULES as TURNLOG
from projections.readings import reading
from turnlog.cli.calls import BadChoice, RulesOption
from turnlog.cli.common import HEADERS, DbOption, existing, headers_of, known, progress, read, whole_file

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


Pieces = Callable[[Store, Iterable[str]], Iterator[bytes]]
"""Makes a file of sessions, piece by piece."""


def _replayed(make: Callable[[Store, Iterable[str], str], Iterator[bytes]]) -> None:
    """A command that writes what a replay makes of the sessions; named and described as the function is."""

    def command(
        context: typer.Context,
        sessions: SessionsArgument = None,
        out: OutOption = None,
        every: AllOption = False,
        rules: RulesOption = TURNLOG,
        db: DbOption = None,
    ) -> None:
        write_pieces(existing(context, db), sessions, every, out, lambda store, names: make(store, names, rules))

    app.command(make.__name__, help=make.__doc__)(command)


@_replayed
def payloads(store: Store, names: Iterable[str], rules: str) -> Iterator[bytes]:
    """Analytics payloads as JSON lines, one for each turn; with --rules framework, as the framework sends them."""
    from exporters.payloads import lines

    for name in names:
        yield from lines(reading(store.read(name), rules).payloads)


@_replayed
def csv(store: Store, names: Iterable[str], rules: str) -> Iterator[bytes]:
    """Turns as CSV, one a row: texts, latencies in milliseconds, and what happened."""
    from exporters.turns_csv import rows_of

    yield from rows_of((reading(store.read(name), rules) for name in names), rules)


@_replayed
def perfetto(store: Store, names: Iterable[str], rules: str) -> Iterator[bytes]:
    """A timeline for ui.perfetto.dev or chrome://tracing: turns, components, speech and interruptions."""
    from exporters.perfetto import trace

    found = (read(store, name) for name in names)
    # the earliest is the first, but for origins on several machines, of which each has a clock of its own
    return trace((reading(events, rules), min(clocks(event)[0] for event in events)) for events in found)


@app.command()
def jsonl(
    context: typer.Context,
    sessions: SessionsArgument = None,
    out: OutOption = None,
    every: AllOption = False,
    db: DbOption = None,
) -> None:
    """The log itself, event by event and to the byte; `turnlog import` takes it."""
    from exporters.jsonl import heading, lines

    def pieces(store: Store, names: Iterable[str]) -> Iterator[bytes]:
        for name in names:
            yield from lines(store, heading(store, name))

    write_pieces(existing(context, db), sessions, every, out, pieces)


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
    from exporters.otlp import destination

    store = existing(context, db)
    names = chosen(store, sessions, every)
    wire, headers = wire_of(grpc), headers_of(header)
    to, count = destination(endpoint, wire, headers, profile=profile, service_name=service_name, project=project), 0
    try:
        with progress() as bar:
            for name in bar.track(names, description="sending"):
                items = to.items(reading(read(store, name), rules))
                for start in range(0, len(items), to.batch):
                    to.send(items[start : start + to.batch])
                count += len(items)
    finally:
        to.close()
        store.close()
    typer.echo(f"{len(names)} sessions, {count} spans sent")


def wire_of(grpc: bool) -> Literal["grpc", "http/protobuf"]:
    return "grpc" if grpc else "http/protobuf"


def write_pieces(
    store: Store,
    sessions: list[str] | None,
    every: bool,
    out: Path | None,
    pieces: Pieces,
) -> None:
    """Write the sessions' pieces as they come, so that never more than one session is in memory."""
    names = chosen(store, sessions, every)
    hidden = out is None and sys.stdout.isatty()  # the file itself goes there
    with whole_file(out) if out is not None else nullcontext(sys.stdout.buffer) as file, progress(hidden=hidden) as bar:
        for piece in pieces(store, bar.track(names, description="exporting")):
            file.write(piece)
        file.flush()
    store.close()


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
