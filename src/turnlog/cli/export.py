"""``turnlog export``: sessions as files that other programs open."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eventstore.store import Store
from projections.replay import analytics_payloads, replay, turns
from projections.rules import VIDEOSDK_1_0
from turnlog.cli.calls import BadChoice, RulesOption
from turnlog.cli.common import DbOption, errors_to, existing, known, read, whole_file

app = typer.Typer(help="Write sessions as files for other programs.", no_args_is_help=True)

SessionsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="SESSION…", help="As `turnlog sessions` lists them.", show_default=False)
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write here.", show_default="standard output")
]
AllOption = Annotated[bool, typer.Option("--all", help="Every session of the log, the oldest first.")]


@app.command()
def payloads(
    context: typer.Context,
    sessions: SessionsArgument = None,
    out: OutOption = None,
    every: AllOption = False,
    rules: RulesOption = VIDEOSDK_1_0.name,
    db: DbOption = None,
) -> None:
    """Analytics payloads as JSON lines, one for each completed turn, as the reference sends them."""
    from exporters.payloads import lines

    def pieces(store: Store, names: Iterable[str]) -> Iterator[bytes]:
        for name in names:
            yield from lines(analytics_payloads(store.read(name), rules))

    _export(existing(context, db), sessions, every, out, pieces)


@app.command()
def csv(
    context: typer.Context,
    sessions: SessionsArgument = None,
    out: OutOption = None,
    every: AllOption = False,
    rules: RulesOption = VIDEOSDK_1_0.name,
    db: DbOption = None,
) -> None:
    """Completed turns as CSV, one a row: texts, latencies in milliseconds, and what happened."""
    from exporters.turns_csv import header, rows

    def pieces(store: Store, names: Iterable[str]) -> Iterator[bytes]:
        yield header()
        for name in names:
            yield from rows(name, turns(store.read(name), rules))

    _export(existing(context, db), sessions, every, out, pieces)


@app.command()
def perfetto(
    context: typer.Context,
    sessions: SessionsArgument = None,
    out: OutOption = None,
    every: AllOption = False,
    rules: RulesOption = VIDEOSDK_1_0.name,
    db: DbOption = None,
) -> None:
    """A timeline for ui.perfetto.dev or chrome://tracing: turns, components, speech and interruptions."""
    from exporters.perfetto import trace

    def pieces(store: Store, names: Iterable[str]) -> Iterator[bytes]:
        found = (read(store, name) for name in names)
        # the earliest is the first, but for origins on several machines, of which each has a clock of its own
        return trace((replay(events, rules), min(event.perf_ns for event in events)) for events in found)

    _export(existing(context, db), sessions, every, out, pieces)


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

    _export(existing(context, db), sessions, every, out, pieces)


@app.command()
def otlp(
    context: typer.Context,
    endpoint: Annotated[str, typer.Option(metavar="URL", help="http://localhost:4318/v1/traces, or :4317 for gRPC.")],
    sessions: SessionsArgument = None,
    every: AllOption = False,
    grpc: Annotated[bool, typer.Option("--grpc", help="gRPC instead of HTTP.")] = False,
    header: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Sent with every request.")] = None,
    rules: RulesOption = VIDEOSDK_1_0.name,
    db: DbOption = None,
) -> None:
    """Send the span trees to an OpenTelemetry collector; sending them again gives the same spans, not more."""
    from exporters.otlp import exporter, otel_spans, send

    store = existing(context, db)
    names = _chosen(store, sessions, every)
    headers = dict(_pair(text) for text in header or ())
    to, count = exporter(endpoint, "grpc" if grpc else "http/protobuf", headers), 0
    try:
        with _progress(None) as bar:
            for name in bar.track(names, description="sending"):
                count += send(otel_spans(replay(read(store, name), rules), name), to)
    finally:
        to.shutdown()
        store.close()
    typer.echo(f"{len(names)} sessions, {count} spans sent")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadChoice("a header is NAME=VALUE")  # not shown: it may be a token
    return name.strip().lower(), value.strip()


def _export(
    store: Store,
    sessions: list[str] | None,
    every: bool,
    out: Path | None,
    pieces: Callable[[Store, Iterable[str]], Iterator[bytes]],
) -> None:
    """Write the sessions' pieces as they come, so that never more than one session is in memory."""
    names = _chosen(store, sessions, every)
    with whole_file(out) if out is not None else nullcontext(sys.stdout.buffer) as file, _progress(out) as bar:
        for piece in pieces(store, bar.track(names, description="exporting")):
            file.write(piece)
        file.flush()
    store.close()


def _chosen(store: Store, sessions: list[str] | None, every: bool) -> list[str]:
    """The sessions to write, once each; all are looked up before the first is written. Raises `UnknownSession`."""
    if every == bool(sessions):
        raise BadChoice("name the sessions to export, or take --all of them")
    recorded = [session.session_id for session in store.sessions()]
    if every:
        return recorded[::-1]
    asked = list(dict.fromkeys(sessions or ()))
    for name in asked:
        if name not in recorded:
            known(store, name)
    return asked


def _progress(out: Path | None) -> Progress:
    """A bar over sessions; only on a terminal, and not on one that the file itself goes to."""
    console = errors_to()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    hidden = not console.is_terminal or (out is None and sys.stdout.isatty())
    return Progress(*columns, console=console, transient=True, disable=hidden)
