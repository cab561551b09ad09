"""The page of a call and its data over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from eventstore.errors import TurnlogError
from eventstore.event import Event
from eventstore.stores.base import Store
from projections.boundary import replaying
from projections.caller import RULES as TURNLOG
from projections.explain import explain
from projections.readings import VIDEOSDK, framework_of, release
from turnlog.sessions import UnknownSession, need_session, read_session
from turnlog.terminal import json_text
from turnlog.viewer.call.delta import delta
from turnlog.viewer.call.document import call_document, explanation_data, state_document
from turnlog.viewer.pages import Render, call_url, link

FIRST_EVENTS = 100
"""Number of events in which the name of the framework is looked for: an adapter records it first."""
IDLE_SECONDS = 5.0
"""Interval of keep-alive comments on an idle stream, by which a client that has gone is detected."""
WORK_SHARE = 0.2
"""Maximum share of the time in which a followed call is replayed."""
REST_SECONDS = 0.2
"""Minimum time between two updates of a followed call."""


def routes(store: Store, render: Render, rules: str = TURNLOG) -> list[Route]:
    """The routes below ``/call``; ``rules`` is the rule set of a page that names none.

    The session is a parameter: a browser changes some names in a path, such as ``..``.
    Errors of the page are the application's; the data is refused with one line.
    """

    def page(request: Request) -> Response:
        name = _session(request)
        need_session(store, name)
        framework, version = framework_of(islice(store.read(name), FIRST_EVENTS))
        other = release(framework, version).name if framework in ("", VIDEOSDK) else ""
        compare = link("/compare", {"one": [name], "other_rules": [other]}) if other else ""
        return render("call.html", layout="base.html", name=name, base=call_url(name), compare=compare)

    def document(request: Request, events: list[Event], under: str) -> Any:
        return call_document(events, under)

    def state(request: Request, events: list[Event], under: str) -> Any:
        return state_document(events[: _number(request, "at") + 1], under)

    def explanation(request: Request, events: list[Event], under: str) -> Any:
        path = request.query_params.get("path")
        if not path:
            raise BadRequest("path is missing; write ?path=turns[2].e2e_latency")
        return explanation_data(explain(events, path, under))

    def data(answer: Callable[[Request, list[Event], str], Any]) -> Callable[[Request], Response]:
        def endpoint(request: Request) -> Response:
            name, under = _session(request), request.query_params.get("rules") or rules
            with replaying(name):
                found = answer(request, read_session(store, name), under)
            return Response(json_text(found, indent=False), media_type="application/json")

        return _refusing(endpoint)

    async def follow(request: Request) -> Response:
        under = request.query_params.get("rules") or rules
        stream = _stream(store, _session(request), under, _number(request, "events"))
        return StreamingResponse(stream, media_type="text/event-stream")

    return [
        Route("/call", page),
        Route("/call/document", data(document)),
        Route("/call/state", data(state)),
        Route("/call/explain", data(explanation)),
        Route("/call/follow", follow),
    ]


class BadRequest(TurnlogError):
    """A parameter of the address is missing or malformed."""


def _session(request: Request) -> str:
    return request.query_params.get("session", "")


def _number(request: Request, name: str) -> int:
    """The parameter as a number. Raises `BadRequest`."""
    text = request.query_params.get(name, "")
    if not text.isdecimal():
        raise BadRequest(f"{name} is not a number; write ?{name}=0")
    return int(text)


def _refusing(endpoint: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """The endpoint with errors as one line: 404 for an unknown session, 400 for any other."""

    def answer(request: Request) -> Response:
        try:
            return endpoint(request)
        except UnknownSession as error:
            return PlainTextResponse(f"{error}\n", 404)
        except TurnlogError as error:
            return PlainTextResponse(f"{error}\n", 400)

    return answer


async def _stream(store: Store, session: str, rules: str, known: int) -> AsyncIterator[bytes]:
    """Server-sent events: the document, unless the client has all its events, then a delta for each change.

    The stream ends when the call does, or when it cannot be read; a browser then reconnects.
    """

    def document() -> dict[str, Any] | None:
        with contextlib.suppress(TurnlogError), replaying(session):
            return call_document(list(store.read(session)), rules)
        return None

    stop, news = threading.Event(), asyncio.Event()
    watching = asyncio.create_task(asyncio.to_thread(_watch, store, session, stop, asyncio.get_running_loop(), news))
    before: dict[str, Any] | None = None
    try:
        while True:
            news.clear()
            began = time.monotonic()
            after = await asyncio.to_thread(document)
            if after is None:
                return
            if before is None and len(after["events"]) != known:
                yield _message("document", after)
            elif before is not None and (change := delta(before, after)) != {"set": {}}:
                yield _message("delta", change)
            if after["ended"]:
                yield _message("ended", {})
                return
            before = after
            await asyncio.sleep(max(REST_SECONDS, (time.monotonic() - began) * (1 / WORK_SHARE - 1)))
            while not news.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), IDLE_SECONDS)
                if not news.is_set():
                    yield b": idle\n\n"
                if watching.done():
                    return
    finally:
        stop.set()


def _watch(
    store: Store, session: str, stop: threading.Event, loop: asyncio.AbstractEventLoop, news: asyncio.Event
) -> None:
    """Set ``news`` for new events of the session until ``stop`` is set, or the database goes away."""
    with contextlib.suppress(TurnlogError, RuntimeError):
        for _followed in store.follow(session_id=session, stop=stop):
            if not news.is_set():
                loop.call_soon_threadsafe(news.set)


def _message(event: str, data: dict[str, Any]) -> bytes:
    return f"event: {event}\ndata: {json_text(data, indent=False)}\n\n".encode("utf-8", "backslashreplace")
