"""Pages served from this machine: a Starlette app on a loopback port, answering only those it is meant for.

A browser lets any page send requests to a local port, and a page whose name is rebound to 127.0.0.1 read the answers.
So a request has to name this server (``Host``), and if it comes from a page, from one of ours (``Origin``).
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
"""Held at once. Beyond, the one that has waited longest without a request makes room."""
REQUEST_SECONDS = 10.0
"""For the headers of a request to be complete, from when the connection was made or the last answer sent."""
STUCK_SECONDS = 30.0
"""A client that takes nothing of an answer for this long is dropped."""
CLOSE_SECONDS = 0.5
"""For answers to end once the server closes; then they are cut off."""
HEADER_BYTES = 16 * 1024
CSP = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class CannotServe(TurnlogError):
    """The address cannot be listened on, or not safely."""


class Server:
    """Serves ``routes`` in a thread, until `close`. ``url`` is where, with the port that it really has."""

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
        """``port`` 0 is any free one.

        ``allow_hosts`` are further names, ``NAME`` or ``NAME:PORT``, under which it may be reached; an address that
        other machines can reach needs one. ``allow_origin`` is a page elsewhere that may read, as
        ``http://localhost:3000``. Raises `CannotServe`.
        """
        self._socket = _listen(host, port)
        bound, self.port = self._socket.getsockname()[:2]
        names = [name.strip().lower() for name in allow_hosts]
        if not (ip_address(bound).is_loopback or names):
            self._socket.close()
            raise CannotServe(
                f"{host} can be reached from other machines: name what they may call it (--allow-host NAME)"
            )
        written = f"[{host}]" if ":" in host else host
        self.url = f"http://{written}:{self.port}/"
        own = {"127.0.0.1", "localhost", "[::1]"} | (set() if ip_address(bound).is_unspecified else {written})
        allowed = _allowed(own, names, self.port)
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
        """Have it called on the server's event loop, soon. Nothing once the server is closed."""
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
    """Middleware: refuses a foreign ``Host`` or ``Origin`` (403), and sets the headers that browsers are to heed."""

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
                made = MutableHeaders(scope=message)
                made.update(self._headers)
                made.setdefault("cache-control", "no-store")
                if origin is not None and origin == self._allow_origin:
                    made["access-control-allow-origin"] = origin
                if self._allow_origin is not None:
                    made.add_vary_header("Origin")
            await send(message)

        app = self._app
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            app = PlainTextResponse("this server does not go by that name: see --allow-host\n", 403)
        elif len(headers.getlist("origin")) > 1 or (origin is not None and origin not in self._origins):
            app = PlainTextResponse("pages of another origin may not read this: see --allow-origin\n", 403)
        await app(scope, receive, guarded)


class _Protocol(H11Protocol):
    """uvicorn's, for clients that are not trusted: none holds its place by doing nothing."""

    _waiting: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None
    since = 0.0

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) > CONNECTIONS:
            idle = [other for other in self.connections if isinstance(other, _Protocol) and other.idle]
            min(idle, key=lambda other: other.since).transport.abort()

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
        self.since = self.loop.time()
        self._waiting = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self.idle:
            self.transport.abort()


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `CannotServe`."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CannotServe(f"cannot serve on {host}:{port}: {reason}") from error


def _allowed(own: set[str], names: Iterable[str], port: int) -> frozenset[str]:
    """The ``Host`` headers that name this server. A name without a port has ours, or a proxy's usual one."""
    ours = {f"{name}:{port}" for name in own} | (own if port == 80 else set())
    further = {host for name in names for host in ([name] if _has_port(name) else [name, f"{name}:{port}"])}
    return frozenset(host.lower() for host in ours | further)


def _has_port(name: str) -> bool:
    return ":" in name.rpartition("]")[2]
