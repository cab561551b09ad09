"""``turnlog record``: a call to look at, made by a real framework without network, keys or sound card."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Annotated, Literal

import typer

from eventstore.errors import TurnlogError
from turnlog.cli.common import writable
from turnlog.cli.options import DbOption
from turnlog.terminal import say


class NoFramework(TurnlogError):
    """The framework is not installed here."""


def record(
    context: typer.Context,
    demo_agent: Annotated[
        Literal["videosdk", "livekit", "pipecat"], typer.Option(help="Whose agent; it needs the extra of that name.")
    ],
    session: Annotated[
        str | None, typer.Option(metavar="NAME", help="Record under this name.", show_default="demo-FRAMEWORK")
    ] = None,
    db: DbOption = None,
) -> None:
    """Run a small scripted agent of a framework, with made-up providers, and record its call."""
    try:
        run = import_module(f"turnlog.adapters.{demo_agent}.demo.agent").run
    except ModuleNotFoundError as error:
        raise NoFramework(
            f"{demo_agent} is not installed here: pip install 'turnlog[{demo_agent}]' ({error})"
        ) from error
    name = session or f"demo-{demo_agent}"
    store = writable(context, db)
    try:
        before = sum(found.events for found in store.sessions() if found.session_id == name)
        asyncio.run(run(store, name))
        events = sum(found.events for found in store.sessions() if found.session_id == name) - before
    finally:
        store.close()
    say(f"recorded {events} events as {name}; now: turnlog replay {name}")
