"""Local web server: a Starlette app on a loopback port, guarded against other pages and DNS rebinding.

Any page in a browser can send requests to a local port, and a page whose name is rebound to 127.0.0.1 can read the
responses. So a request must name this server in ``Host`` and, if it has an ``Origin``, that must be an allowed one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from eventstore.errors import TurnlogError

CONNECTIONS = 256
"""Maximum number of open connections; beyond it, the one idle longest is closed."""
REQUEST_SECONDS = 10.0
"""Deadline for complete request headers, counted from the connection or the last response."""
STUCK_SECONDS = 30.0
"""A client that reads nothing of a response for this long is disconnected."""
CLOSE_SECONDS = 0.5
"""Time given to open responses when the server closes."""
HEADER_BYTES = 16 * 1024
CSP = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class CannotServe(TurnlogError):
    """The server cannot listen on the address, or not safely."""


class Server:
    """Serves ``routes`` in a thread, until `close`. ``url`` has the actual port, and a name that requests may have."""

    def __init__(
        self,
        routes: Sequence[BaseRoute],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        allow_hosts: Iterable[str] = (),
        allow_origin: str | None = None,
        csp: str = CSP,
    ) -> None:
        """Start to listen. Port 0 picks a free one.

        ``allow_hosts`` are additional ``Host`` names, ``NAME`` or ``NAME:PORT``; an address that other machines can
        reach needs one. ``allow_origin`` is an origin whose pages may read, such as ``http://localhost:3000``.
        Raises `CannotServe`.
        """
        self._socket = _listen(host, port)
        bound, self.port = self._socket.getsockname()[:2]
        names = [name.strip().lower() for name in allow_hosts]
        if not (ip_address(bound).is_loopback or names):
            self._socket.close()
            raise CannotServe(
                f"{host} can be reached from other machines: name it as they will call it (--allow-host NAME)"
            )
        written = f"[{host}]" if ":" in host else host
        everywhere = ip_address(bound).is_unspecified
        reached = names[0] if everywhere else written  # no request may name 0.0.0.0
        self.url = f"http://{reached if _has_port(reached) else f'{reached}:{self.port}'}/"
        own = {"127.0.0.1", "localhost", "[::1]"} | (set() if everywhere else {written})
        allowed = _allowed_hosts(own, names, self.port)
        app = Starlette(routes=list(routes), middleware=[Middleware(HostGuard, allowed, allow_origin, csp)])
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, http=_Protocol, ws="none", lifespan="off", log_config=None, log_level="error", access_log=False,
                timeout_graceful_shutdown=1,
                proxy_headers=False, server_header=False, h11_max_incomplete_event_size=HEADER_BYTES,
            )
        )  # fmt: skip
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._run, name="turnlog-serve", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], object]) -> None:
        """Schedule ``function`` on the server's event loop; does nothing once the server is closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Stop within a second: idle connections are closed, answers get `CLOSE_SECONDS` to end."""
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        with self._runner:
            self._runner.run(self._server.serve(sockets=[self._socket]))


class HostGuard:
    """Middleware that refuses a foreign ``Host`` or ``Origin`` (403) and sets the security headers."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], allow_origin: str | None, csp: str) -> None:
        self._app, self._hosts, self._allow_origin = app, hosts, allow_origin
        self._origins = {f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts}
        if allow_origin is not None:
            self._origins.add(allow_origin)
        self._headers = {
            "content-security-policy": csp,
            "cross-origin-resource-policy": "same-origin",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        origin = headers.get("origin")

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                response = MutableHeaders(scope=message)
                response.update(self._headers)
                response.setdefault("cache-control", "no-store")
                if origin is not None and origin == self._allow_origin:
                    response["access-control-allow-origin"] = origin
                if self._allow_origin is not None:
                    response.add_vary_header("Origin")
            await send(message)

        app = self._app
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            app = PlainTextResponse("this server does not go by that name: see --allow-host\n", 403)
        elif len(headers.getlist("origin")) > 1 or (origin is not None and origin not in self._origins):
            app = PlainTextResponse("pages of another origin may not read this: see --allow-origin\n", 403)
        await app(scope, receive, guarded)


class _Protocol(H11Protocol):
    """uvicorn's protocol with timeouts, as clients are not trusted: an idle one cannot keep its connection."""

    _waiting: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None
    idle_since = 0.0

    @property
    def idle(self) -> bool:
        """True while no response is in progress."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) > CONNECTIONS:
            idle = [other for other in self.connections if isinstance(other, _Protocol) and other.idle]
            min(idle, key=lambda other: other.idle_since).transport.abort()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._waiting, self._stuck):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(STUCK_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def shutdown(self) -> None:
        super().shutdown()
        self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def _await_request(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self.idle_since = self.loop.time()
        self._waiting = self.loop.call_later(REQUEST_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        if self.idle:
            self.transport.abort()


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `CannotServe`."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CannotServe(f"cannot serve on {host}:{port}: {reason}") from error


def _allowed_hosts(own: set[str], names: Iterable[str], port: int) -> frozenset[str]:
    """The accepted ``Host`` values. A name without a port is accepted with our port and, behind a proxy, without."""
    local = {f"{name}:{port}" for name in own} | (own if port == 80 else set())
    additional = {host for name in names for host in ([name] if _has_port(name) else [name, f"{name}:{port}"])}
    return frozenset(host.lower() for host in local | additional)


def _has_port(name: str) -> bool:
    return ":" in name.rpartition("]")[2]
