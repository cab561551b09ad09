"""An HTTP endpoint for tests that answers, or fails to, as it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import orjson


class Taken(NamedTuple):
    path: str
    headers: dict[str, str]
    body: Any


class Endpoint(ThreadingHTTPServer):
    """Answers with what stands in ``script``, an outcome for each request to come, and then with ``otherwise``.

    An outcome is a status, or (status, headers), or ``hang``, ``cut`` (no answer), ``cut body`` (it is taken, but the
    answer breaks off) or ``garbage``.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Any] = []
        self.otherwise = 200
        self.taken: list[Taken] = []
        self.asked = 0
        self.changed = threading.Condition()
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def wait_until_asked(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.asked >= count, 60)

    def handle_error(self, request: object, client_address: object) -> None: ...


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    disable_nagle_algorithm = True
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.changed:
            outcome = self.server.script.pop(0) if self.server.script else self.server.otherwise
            status, headers = outcome if isinstance(outcome, tuple) else (outcome, {})
            if status in (200, 202, "cut body"):
                found = {name.lower(): value for name, value in self.headers.items()}
                self.server.taken.append(Taken(self.path, found, body))
            self.server.asked += 1
            self.server.changed.notify_all()
        if isinstance(status, int):
            echo = f"said {self.headers.get('authorization')} {self.headers.get('x-key')}".encode()
            self.send_response(status)
            for name, value in ({"content-length": str(len(echo))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(echo)
            return
        if status == "hang":
            self.server.released.wait(60)
        elif status == "cut body":
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        elif status == "garbage":
            self.wfile.write(b"\x00\xff this is not HTTP\r\n\r\n")
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_args: object) -> None: ...


@contextmanager
def serving() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
