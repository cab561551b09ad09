"""``turnlog view`` and ``playground``: what is served, to a browser or to a playground, until interrupted."""

from __future__ import annotations

import os
import signal
import sys
import threading
import webbrowser
from contextlib import closing
from typing import Annotated

import typer

from eventstore.stores.base import Store
from exporters.delivery.destination import NotConfigured
from projections.caller import RULES as TURNLOG
from projections.readings import DROP_IN, check_rules, reading
from turnlog.cli.common import existing, jobs_or_all, url
from turnlog.cli.options import ArchiveOption, DbOption, JobsOption, RulesOption, SessionArgument
from turnlog.sessions import display_name, find_session
from turnlog.terminal import print_json, say


def playground(
    context: typer.Context,
    session: SessionArgument,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Serve Server-Sent Events on this port; 0 picks a free one."
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Address to serve on; any client that can reach it can read the call."),
    ] = "127.0.0.1",
    allow_origin: Annotated[
        str | None,
        typer.Option(
            metavar="ORIGIN", help="Origin of a web page that may read the stream, such as http://localhost:3000."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Host name that clients use for this server; required if --host is not loopback."
        ),
    ] = None,
    db: DbOption = None,
) -> None:
    """Follow the playground messages of a VideoSDK session.

    Prints them as JSON lines, or serves them with --port, until interrupted. Only videosdk-agents 1.0.10 and older
    send such messages.
    """
    from exporters.playground.stream import messages

    store = existing(context, db)
    try:
        find_session(store, session)
        if port is not None:
            _serve_playground(store, session, host, port, allow_origin, allow_host or [])
            return
        say(_status_line(store, session), err=True)
        for item in messages(store, session):
            print_json({"id": item.id, **item.message}, indent=False)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    finally:
        store.close()


def _status_line(store: Store, session: str) -> str:
    """The status line: which messages are awaited, and whether any can come."""
    if reading(store.read(session), DROP_IN).playground:
        return f"following the playground messages of {session}; Ctrl-C ends"
    return (
        f"session {session!r} has no playground messages (only videosdk-agents 1.0.10 and older send them); "
        "waiting for new ones; Ctrl-C ends"
    )


def _serve_playground(
    store: Store, session: str, host: str, port: int, allow_origin: str | None, allow_hosts: list[str]
) -> None:
    try:
        from exporters.playground.server import PlaygroundServer
    except ModuleNotFoundError as error:
        raise NotConfigured(f"serving needs the extra: pip install 'turnlog[serve]' ({error})") from error

    ended = _interruption()
    server = PlaygroundServer(store, session, host, port, allow_origin=allow_origin, allow_hosts=allow_hosts)
    say(_status_line(store, session), err=True)
    say(f"serving {server.url}")
    try:
        ended.wait()
    finally:
        server.close()


def view(
    context: typer.Context,
    session: Annotated[
        str | None, typer.Argument(metavar="[SESSION]", help="Open this session; by default the list of sessions.")
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to serve on; 0 picks a free one.")
    ] = 0,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to serve on.")] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Host name that browsers use for this server; required if --host is not loopback."
        ),
    ] = None,
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in your browser.")] = True,
    rules: RulesOption = TURNLOG,
    jobs: JobsOption = None,
    db: DbOption = None,
    archive: ArchiveOption = None,
) -> None:
    """Show calls in a browser, until interrupted.

    Prints the URL of the page, which has the token of this run: who has it can read the log.
    """
    try:
        from turnlog.viewer.app import serve
        from turnlog.viewer.log import Log
    except ModuleNotFoundError as error:
        raise NotConfigured(f"the viewer needs the extra: pip install 'turnlog[view]' ({error})") from error

    check_rules(rules)
    with closing(existing(context, db, archive)) as store, closing(Log(store, jobs_or_all(jobs))) as log:
        if session is not None:
            find_session(store, session)
        ended, name = _interruption(), archive or display_name(url(context, db))
        server, page = serve(log, name, rules, session, host, port, allow_host or [])
        try:
            say(page)
            say("serving until Ctrl-C; anyone with this URL who can reach it can read the log", err=True)
            if browser and _has_display():
                webbrowser.open(page)
            ended.wait()
        finally:
            server.close()


def _has_display() -> bool:
    """Whether a browser would open beside the terminal, and not in it."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _interruption() -> threading.Event:
    """An event that SIGINT and SIGTERM set."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    return ended
