"""A small HTTP server whose only page is a session's playground stream, as Server-Sent Events."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from eventstore.errors import TurnlogError
from eventstore.store import Store
from exporters.playground import Published, attach, sse

log = logging.getLogger("turnlog.playground")

IDLE_SECONDS = 5.0
"""So long an idle stream is silent."""
STUCK_SECONDS = 30.0
"""A client that says or takes nothing for so long is given up."""


class CannotServe(TurnlogError):
    """The address cannot be listened on."""


class PlaygroundServer(ThreadingHTTPServer):
    """Serves in the background until `close`, to several clients at once; ``url`` is where.

    The session is followed once for all of them, so they all get the same in the same order. It knows no users: who
    can reach ``host`` can read what is said in the call.
    """

    daemon_threads = False  # `server_close` waits for them

    def __init__(self, store: Store, session_id: str, host: str, port: int, allow_origin: str | None = None) -> None:
        """``port`` 0 is any free one. ``allow_origin`` is a page elsewhere that may read. Raises `CannotServe`."""
        try:
            super().__init__((host, port), _Page)
        except OSError as error:
            raise CannotServe(f"cannot serve on {host}:{port}: {error.strerror or error}") from error
        self.url, self.allow_origin = f"http://{host}:{self.server_port}/", allow_origin
        self._changed = threading.Condition()
        self._told: list[Published] = []
        self._ended = False
        self._clients: set[Any] = set()
        self._attachment = attach(store, session_id, self._tell)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="turnlog-serve", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all streams."""
        self.shutdown()
        self._thread.join()
        self._attachment.close()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            for client in self._clients:  # also those that have not asked for anything yet, as browsers open them
                with contextlib.suppress(OSError):  # it has gone itself
                    client.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def messages(self, after: str | None) -> Iterator[Published | None]:
        """All that was told behind the message of that id, or from the beginning; None whenever nothing comes."""
        with self._changed:
            at = next((n for n, one in enumerate(self._told, 1) if one.id == after), 0)
        while True:
            new = self._behind(at)
            if new is None:
                return
            at += len(new)
            yield from new
            if not new:
                yield None

    def _behind(self, at: int) -> list[Published] | None:
        """What was told behind the first ``at``, as soon as there is something; None if there will be nothing."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._told) > at, IDLE_SECONDS)
            over = self._ended or not self._attachment.running
            return None if over and len(self._told) == at else self._told[at:]

    def _tell(self, one: Published) -> None:
        with self._changed:
            self._told.append(one)
            self._changed.notify_all()

    # as socketserver calls them, around each client's thread

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._clients.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._changed:
            self._clients.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("playground: a client's request failed", exc_info=True)


class _Page(BaseHTTPRequestHandler):
    server: PlaygroundServer
    timeout = STUCK_SECONDS

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/":
            self.send_error(404, "only / is here")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        if self.server.allow_origin is not None:
            self.send_header("Access-Control-Allow-Origin", self.server.allow_origin)
        self.end_headers()
        try:
            for piece in sse(self.server.messages(self.headers.get("Last-Event-ID"))):
                self.wfile.write(piece)
        except OSError as error:
            log.debug("playground: a client has gone: %s", error)

    def log_message(self, *_args: object) -> None:
        """Standard error is for errors."""
