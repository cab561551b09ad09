"""Access to the viewer: one token a run, exchanged for a cookie, and a content policy without anything from outside.

Foreign names of this machine and pages of another origin are refused before, by `exporters.web.HostGuard`.
"""

from __future__ import annotations

import secrets

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
TOKEN = "token"  # noqa: S105 - the name of the parameter
REFUSED = "turnlog view: this page needs the token of this run; open the URL that `turnlog view` printed\n"


def new_token() -> str:
    """A token that cannot be guessed, from characters that need no escapes in a URL or a cookie."""
    return secrets.token_urlsafe(32)


class TokenGuard:
    """Middleware that serves requests with the cookie, exchanges a token for the cookie, and refuses the rest (403)."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope)
        given, cookie = request.query_params.get(TOKEN), cookie_name(scope)
        app: ASGIApp = PlainTextResponse(REFUSED, 403)
        if given is not None:
            if self._holds(given):
                app = self._exchange(scope, cookie)
        elif self._holds(request.cookies.get(cookie, "")):
            app = self._app
        await app(scope, receive, send)

    def _holds(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), self._token.encode())

    def _exchange(self, scope: Scope, cookie: str) -> Response:
        """A redirect to the same page without the token, so that it stays in no history and no bookmark."""
        path = "/" + scope["raw_path"].decode("ascii").partition("?")[0].lstrip("/")  # never //another.host
        rest = [part for part in scope["query_string"].decode("ascii").split("&") if not part.startswith(f"{TOKEN}=")]
        headers = {
            "location": "?".join(filter(None, (path, "&".join(rest)))),
            "set-cookie": f"{cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/",
        }
        return Response(status_code=303, headers=headers)


def cookie_name(scope: Scope) -> str:
    """The name of the cookie: with the port, as browsers send a cookie to every port of a host."""
    return f"turnlog-{scope['server'][1]}"
