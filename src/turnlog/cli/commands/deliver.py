"""``turnlog deliver``: deliver calls to other systems, resuming at the last cursor."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple

import typer
from rich.table import Table

from eventstore.errors import TurnlogError
from eventstore.stores.base import Store
from eventstore.stores.records import Cursor
from exporters.delivery.destination import Destination, NotConfigured
from exporters.delivery.outbox import WORKERS, DeliveryOutcome, due_cursors
from exporters.delivery.outbox import deliver as deliver_due
from turnlog.cli.common import BadChoice, existing, headers_of, progress
from turnlog.cli.options import (
    CollectorOption,
    DbOption,
    GrpcOption,
    HeaderOption,
    JsonOption,
    ProfileOption,
    ProjectOption,
    ServiceOption,
    wire_of,
)
from turnlog.console import output, safe
from turnlog.sessions import format_time
from turnlog.terminal import plural, print_json, say, say_text

app = typer.Typer(invoke_without_command=True)

FollowOption = Annotated[bool, typer.Option("--follow", help="Keep running and deliver calls while they are recorded.")]
ParkedOption = Annotated[bool, typer.Option("--parked", help="Retry only the sessions that were refused.")]
NameOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Cursor name; set it if one endpoint serves several tenants.  [default: the endpoint]",
        show_default=False,
    ),
]
WorkersOption = Annotated[int, typer.Option(metavar="NUMBER", min=1, max=64, help="Sessions to deliver in parallel.")]

DeliveredRulesOption = Annotated[
    str | None,
    typer.Option(
        "--rules",
        metavar="RULES",
        help="Rule set to replay under; see `turnlog rules`.  [default: turnlog; for analytics the session's framework "
        "release]",
        show_default=False,
    ),
]


class NotDelivered(TurnlogError):
    """Sessions were parked, or could not be delivered in this run."""


class DeliveryOptions(NamedTuple):
    follow: bool
    parked: bool
    name: str | None
    workers: int
    rules: str | None
    as_json: bool


@app.callback()
def deliver(
    context: typer.Context,
    parked: Annotated[bool, typer.Option("--parked", help="List refused sessions with the reasons.")] = False,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    if context.invoked_subcommand is not None:
        if parked or as_json:
            raise BadChoice(f"options of {context.invoked_subcommand} go after its name")
    elif parked:
        _list_parked(existing(context, db), as_json)
    else:
        say_text(context.get_help())


@app.command()
def otlp(
    context: typer.Context,
    endpoint: CollectorOption,
    grpc: GrpcOption = False,
    profile: ProfileOption = "reference",
    service_name: ServiceOption = None,
    project: ProjectOption = None,
    header: HeaderOption = None,
    follow: FollowOption = False,
    parked: ParkedOption = False,
    name: NameOption = None,
    workers: WorkersOption = WORKERS,
    rules: DeliveredRulesOption = None,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deliver span trees to an OpenTelemetry collector."""
    from exporters.otlp.spans import destination

    wire, headers = wire_of(grpc), headers_of(header)
    to = destination(endpoint, wire, headers, profile=profile, service_name=service_name, project=project)
    _run(context, db, to, DeliveryOptions(follow, parked, name, workers, rules, as_json))


@app.command()
def analytics(
    context: typer.Context,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Your own endpoint.  [default: VideoSDK's]", show_default=False)
    ] = None,
    vendor_first_turn: Annotated[
        bool,
        typer.Option(
            "--vendor-first-turn", help="Also send each call's first turn to VideoSDK, as videosdk-agents does."
        ),
    ] = False,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="Base URL of VideoSDK's API.")] = None,
    header: HeaderOption = None,
    follow: FollowOption = False,
    parked: ParkedOption = False,
    name: NameOption = None,
    workers: WorkersOption = WORKERS,
    rules: DeliveredRulesOption = None,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deliver analytics payloads to VideoSDK or your own endpoint.

    VideoSDK needs its token in VIDEOSDK_AUTH_TOKEN.
    """
    from exporters.analytics.destination import BASE_URL, Analytics, routing

    if header and not endpoint:
        raise BadChoice("--header needs --endpoint; VideoSDK gets the token instead")
    route = routing(
        export_url=endpoint,
        export_headers=headers_of(header),
        vendor_first_turn=vendor_first_turn,
        base_url=base_url or BASE_URL,
    )
    _run(context, db, Analytics(route), DeliveryOptions(follow, parked, name, workers, rules, as_json))


@app.command()
def logs(
    context: typer.Context,
    endpoint: Annotated[
        str, typer.Option(metavar="URL", help="Log endpoint; with --otlp a collector: http://localhost:4318/v1/logs.")
    ],
    otlp: Annotated[
        bool, typer.Option("--otlp", help="Send OpenTelemetry log records instead of videosdk-agents' format.")
    ] = False,
    arrays: Annotated[bool, typer.Option("--arrays", help="Send many lines per request, as a JSON array.")] = False,
    profile: ProfileOption = "reference",
    header: HeaderOption = None,
    follow: FollowOption = False,
    parked: ParkedOption = False,
    name: NameOption = None,
    workers: WorkersOption = WORKERS,
    rules: DeliveredRulesOption = None,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deliver log lines to a log endpoint or an OpenTelemetry collector."""
    to: Destination[Any]
    if otlp:
        if arrays:
            raise BadChoice("--otlp always sends many lines per request; leave out --arrays")
        try:
            from exporters.otlp.logs import OtelLogs
        except ModuleNotFoundError as error:
            raise NotConfigured(f"OTLP needs the extra: pip install 'turnlog[otlp]' ({error})") from error
        to = OtelLogs(endpoint, headers_of(header), profile=profile)
    else:
        from exporters.logs.destination import HttpLogs

        to = HttpLogs(endpoint, custom_headers=headers_of(header), arrays=arrays)
    _run(context, db, to, DeliveryOptions(follow, parked, name, workers, rules, as_json))


def _run(context: typer.Context, db: list[str] | None, to: Destination[Any], options: DeliveryOptions) -> None:
    to.name = options.name or to.name
    try:
        store = existing(context, db)
        try:
            (_follow if options.follow else _deliver_once)(store, to, options)
        finally:
            store.close()
    finally:
        to.close()


def _deliver_once(store: Store, to: Destination[Any], options: DeliveryOptions) -> None:
    with store.ledger.exclusive_delivery(to.name), progress() as bar:
        cursors = due_cursors(store, to.name, parked=options.parked)
        found = deliver_due(store, to, cursors, rules=options.rules, workers=options.workers)
        outcomes = list(bar.track(found, total=len(cursors), description="delivering"))
    sent = sum(outcome.sent for outcome in outcomes)
    parked = {outcome.session_id: outcome.parked for outcome in outcomes if outcome.parked}
    left = {outcome.session_id: outcome.left for outcome in outcomes if outcome.left}
    if options.as_json:
        print_json({"exporter": to.name, "sessions": len(outcomes), "sent": sent, "parked": parked, "left": left})
    elif outcomes:
        delivered = plural(len(outcomes) - len(parked) - len(left), "session")
        result = f"delivered, {plural(sent, 'item')} sent" if sent else "up to date, nothing to send"
        say(f"{delivered} {result} to {to.name}")
    else:
        say(f"nothing {'parked' if options.parked else 'new'} for {to.name}")
    for outcome in outcomes:
        if outcome.unreadable:
            say(outcome.left or "", err=True)
    if parked or left:
        raise NotDelivered(_failure_summary(len(outcomes), list(parked.values()), list(left.values())))


def _failure_summary(sessions: int, parked: list[str | None], left: list[str | None]) -> str:
    parts = []
    if parked:
        parts.append(f"{len(parked)} of {plural(sessions, 'session')} parked (turnlog deliver --parked): {parked[0]}")
    if left:
        parts.append(f"{len(left)} of {plural(sessions, 'session')} not delivered, will be retried next run: {left[0]}")
    return "; ".join(parts)


def _follow(store: Store, to: Destination[Any], options: DeliveryOptions) -> None:
    from exporters.delivery.live import follow

    if options.parked:
        raise BadChoice("--parked runs once; leave out --follow")

    def show(outcome: DeliveryOutcome) -> None:
        if options.as_json:
            print_json(outcome._asdict(), indent=False)
        elif outcome.sent:
            say(f"{outcome.session_id}  {outcome.sent} sent")

    with _stop_event() as stop:
        follow(store, to, rules=options.rules, workers=options.workers, stop=stop, on_outcome=show)


@contextmanager
def _stop_event() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _list_parked(store: Store, as_json: bool) -> None:
    parked: list[Cursor] = [cursor for cursor in store.ledger.cursors() if cursor.parked is not None]
    store.close()
    if as_json:
        print_json([{k: v for k, v in cursor._asdict().items() if k != "digest"} for cursor in parked])
        return
    if not parked:
        say("nothing parked")
        return
    table = Table()
    for title in ("exporter", "session", "delivered", "parked", "reason"):
        table.add_column(title, overflow="fold")
    for cursor in parked:
        row = cursor.exporter, cursor.session_id, str(cursor.done), format_time(cursor.updated_ns), cursor.parked or ""
        table.add_row(*map(safe, row))
    output().print(table)
