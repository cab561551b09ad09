"""``turnlog export``: write sessions to files, or send them to a collector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Annotated

import typer

from eventstore.codec import clocks
from eventstore.event import Event
from eventstore.stores.base import Store
from exporters.delivery.destination import NotConfigured
from exporters.files import perfetto as trace
from projections.boundary import replaying
from projections.caller import RULES as TURNLOG
from projections.caller import read
from projections.framework_figures import add_figures
from projections.measures import SessionRow
from projections.measures.row import measures_in, speech_of
from projections.readings import reading
from turnlog.cli.choice import named_sessions
from turnlog.cli.common import BadChoice, existing, headers_of, patient_progress, progress
from turnlog.cli.options import (
    AllOption,
    ArchiveOption,
    CollectorOption,
    DbOption,
    GrpcOption,
    HeaderOption,
    JobsOption,
    JsonOption,
    OutOption,
    ProfileOption,
    ProjectOption,
    RulesOption,
    ServiceOption,
    SessionArgument,
    SessionsArgument,
    wire_of,
)
from turnlog.cli.writing import Form, write_file, write_rows, write_sessions
from turnlog.sessions import events_of, read_session
from turnlog.survey import Survey
from turnlog.terminal import plural, print_json, say

app = typer.Typer(no_args_is_help=True)


Replayed = Callable[[str, Iterable[Event], str, int], Iterable[bytes]]
"""`Form.session` with the name of the rule set before the number."""


def _export_command(head: bytes = b"", between: bytes = b"", tail: bytes = b"") -> Callable[[Replayed], None]:
    """Register a function as a command that replays and writes sessions; its name and docstring become the help."""

    def register(replay: Replayed) -> None:
        def command(
            context: typer.Context,
            sessions: SessionsArgument = None,
            out: OutOption = None,
            every: AllOption = False,
            rules: RulesOption = TURNLOG,
            db: DbOption = None,
            archive: ArchiveOption = None,
        ) -> None:
            def pieces(name: str, events: Iterable[Event], number: int) -> Iterable[bytes]:
                return replay(name, events, rules, number)

            write_sessions(existing(context, db, archive), sessions, every, out, Form(pieces, head, between, tail))

        app.command(replay.__name__, help=replay.__doc__)(command)

    return register


@_export_command()
def payloads(_name: str, events: Iterable[Event], rules: str, _number: int) -> Iterable[bytes]:
    """Write analytics payloads as JSON lines, one per turn.

    With --rules framework they are what the framework sends.
    """
    from exporters.files.payloads import lines

    return lines(reading(events, rules).payloads)


@app.command()
def csv(
    context: typer.Context,
    sessions: SessionsArgument = None,
    out: OutOption = None,
    every: AllOption = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Keep text as it is, even if a spreadsheet would run it as a formula.")
    ] = False,
    rules: RulesOption = TURNLOG,
    jobs: JobsOption = None,
    db: DbOption = None,
    archive: ArchiveOption = None,
) -> None:
    """Write turns as CSV, one per row, latencies in milliseconds.

    Text that starts like a formula (=, +, -, @) gets an apostrophe in front, unless --exact.
    """
    from exporters.files.turns_csv import header, measured_rows, rows_of

    store = existing(context, db, archive)
    if rules == TURNLOG:

        def lines(name: str, row: SessionRow) -> Iterable[bytes]:
            return measured_rows(measures_in(row, name), speech_of(row), defused=not exact)

        write_rows(store, sessions, every, out, header(), lines, jobs)
        return

    def rows(_name: str, events: Iterable[Event], _number: int) -> Iterable[bytes]:
        return rows_of(reading(events, rules), defused=not exact)

    write_sessions(store, sessions, every, out, Form(rows, header(rules)))


@_export_command(trace.HEAD, trace.BETWEEN, trace.TAIL)
def perfetto(name: str, read: Iterable[Event], rules: str, number: int) -> Iterable[bytes]:
    """Write a timeline for ui.perfetto.dev or chrome://tracing."""
    events = events_of(name, read)
    # not always the first event: origins on several machines have different clocks
    zero_ns = min(clocks(event)[0] for event in events)
    return [trace.session_text(reading(events, rules), zero_ns, number)]


@app.command()
def jsonl(
    context: typer.Context,
    sessions: SessionsArgument = None,
    out: OutOption = None,
    every: AllOption = False,
    db: DbOption = None,
    archive: ArchiveOption = None,
) -> None:
    """Write the events byte for byte, for `turnlog import`."""
    from exporters.files.jsonl import lines, session_heading

    def pieces(name: str, store: Store, _number: int) -> Iterable[bytes]:
        return lines(store, session_heading(store, name))

    form = Form(pieces, sources=lambda store, names: ((name, store) for name in names))
    write_sessions(existing(context, db, archive), sessions, every, out, form)


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
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send span trees to an OpenTelemetry collector.

    Span ids follow from the log, so sending a session again creates no duplicates.
    """
    from exporters.otlp.spans import destination

    store = existing(context, db, archive)
    names = named_sessions(store, sessions, every)
    wire, headers = wire_of(grpc), headers_of(header)
    to, count = destination(endpoint, wire, headers, profile=profile, service_name=service_name, project=project), 0
    survey = Survey(alone=len(names) == 1)
    try:
        with progress() as bar:
            exported = survey.each_of(
                store.read_many(names), lambda name, read: to.items(reading(events_of(name, read), rules))
            )
            for _name, items in bar.track(exported, total=len(names), description="sending"):
                for start in range(0, len(items), to.batch):
                    to.send(items[start : start + to.batch])
                count += len(items)
    finally:
        to.close()
        store.close()
    sent = len(names) - len(survey.failed)
    if as_json:
        print_json({"sessions": sent, "spans": count, "failed": sorted(survey.failed)})
    else:
        say(f"{plural(sent, 'session')}, {plural(count, 'span')} sent")
    survey.finish()


@app.command()
def html(
    context: typer.Context,
    session: SessionArgument,
    out: OutOption = None,
    rules: RulesOption = TURNLOG,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave out what was said, and all other text of user code.")
    ] = False,
    db: DbOption = None,
    archive: ArchiveOption = None,
) -> None:
    """Write a session's page as one file that a browser opens from disk."""
    try:
        from turnlog.viewer.call.file import html_file, redacted
    except ImportError as error:
        raise NotConfigured(f"pages need the extra: pip install 'turnlog[view]' ({error})") from error
    with closing(existing(context, db, archive)) as store:
        events = read_session(store, session)
    with replaying(session), patient_progress("writing the page") as step:
        page = html_file(redacted(events) if redact else events, rules, step)
    write_file(out, page)


@app.command()
def svg(
    context: typer.Context,
    session: SessionArgument,
    turn: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Draw this turn; the first is 1.")],
    out: OutOption = None,
    db: DbOption = None,
    archive: ArchiveOption = None,
) -> None:
    """Write the waterfall of one turn as a picture, for a README or a chat."""
    from turnlog.viewer.call.svg import svg_file

    with closing(existing(context, db, archive)) as store:
        events = read_session(store, session)
    with replaying(session):
        r = read(events)
        if turn > len(r.exchanges):
            raise BadChoice(f"there is no turn {turn}; session {session!r} has {plural(len(r.exchanges), 'turn')}")
        add_figures(r, events)
        picture = svg_file(r, turn)
    write_file(out, picture)
