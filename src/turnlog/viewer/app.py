"""The viewer as a web application: its pages, its static files, and pages for what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from eventstore.errors import StoreUnavailable, TurnlogError
from exporters.web import Server
from projections.boundary import CannotReplay
from projections.reference.rules import UnknownRules
from turnlog.sessions import UnknownSession
from turnlog.viewer import comparison, sessions, statistics
from turnlog.viewer.call import page as call
from turnlog.viewer.filters import BadFilter
from turnlog.viewer.log import Log, Replaying
from turnlog.viewer.pages import STATIC, Render, call_url, link, renderer
from turnlog.viewer.security import CSP, TOKEN, TokenGuard, new_token

Handler = Callable[[Request, Exception], Response]

ERRORS: dict[type[TurnlogError], tuple[int, str]] = {
    UnknownSession: (404, "There is no such session"),
    UnknownRules: (400, "There is no such rule set"),
    call.BadRequest: (400, "The address is malformed"),
    BadFilter: (400, "The address is malformed"),
    CannotReplay: (422, "This session cannot be read"),
    StoreUnavailable: (503, "The log cannot be reached"),
}
"""Status and heading of the page, by error; others are the server's (500)."""


def serve(
    log: Log, log_name: str, rules: str, session: str | None, host: str, port: int, allow_hosts: Iterable[str]
) -> tuple[Server, str]:
    """A running server, with the URL that opens the session, or the list of sessions. Raises `CannotServe`."""
    token = new_token()
    app = application(log, log_name, token, rules)
    server = Server([Mount("/", app)], host, port, allow_hosts=allow_hosts, csp=CSP)
    path = link("/", {TOKEN: [token]}) if session is None else call_url(session, **{TOKEN: token})
    return server, server.url.rstrip("/") + path


def application(log: Log, log_name: str, token: str, rules: str) -> Starlette:
    """The application over a log, for those who hold the token; ``rules``: of pages whose URL names none."""
    render = renderer(log_name)
    return Starlette(
        routes=[
            *sessions.routes(log, render),
            *statistics.routes(log, render, rules),
            *comparison.routes(log, render, rules),
            *call.routes(log.store, render, rules),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(TokenGuard, token)],
        exception_handlers={
            Replaying: _replaying(render),
            TurnlogError: _failure(render),
            HTTPException: _http_error(render),
            Exception: _defect(render),
        },
    )


def _failure(render: Render) -> Handler:
    def failure(_request: Request, error: Exception) -> Response:
        status, heading = next(
            (found for kind, found in ERRORS.items() if isinstance(error, kind)), (500, "This page cannot be made")
        )
        return render("message.html", status, heading=heading, text=str(error))

    return failure


def _replaying(render: Render) -> Handler:
    def replaying(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Replaying)
        response = render("replaying.html", 503, done=error.done, total=error.total)
        response.headers["refresh"] = "1"  # also without scripts
        return response

    return replaying


def _http_error(render: Render) -> Handler:
    def http_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        missing = error.status_code == 404
        heading = "There is no such page" if missing else error.detail
        text = "Nothing is at this address." if missing else "The viewer only shows; it takes no other requests."
        return render("message.html", error.status_code, heading=heading, text=text)

    return http_error


def _defect(render: Render) -> Handler:
    def defect(_request: Request, error: Exception) -> Response:
        text = f"{type(error).__name__}: this is a defect of turnlog; the terminal has the traceback."
        return render("message.html", 500, heading="This page cannot be made", text=text)

    return defect
