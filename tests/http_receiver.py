"""An HTTP endpoint for tests, real and in a thread, that takes, fails, hangs, breaks off or talks nonsense, as told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Behaviour = int | str
"""A status; or ``hang``, ``close`` (in the middle of the answer), ``reset`` (before it) or ``garbage``."""


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_args: object) -> None:
        """Who posts may be killed at any moment."""


class Receiver:
    def __init__(self) -> None:
        self.taken: list[Request] = []
        """What was answered with a 200, in the order in which it came."""
        self.seen = 0
        self.behave: Callable[[Request], Behaviour] = lambda _request: 200
        self.answer_headers: dict[str, str] = {}
        self.answer = b""
        self.lock = threading.Lock()
        self.released = threading.Event()
        """Ends what hangs."""
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/take"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(receiver) -> Any:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                body = self.rfile.read(length)
                if len(body) < length:  # the sender died
                    self.close_connection = True
                    return
                request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                with receiver.lock:
                    receiver.seen += 1
                    how = receiver.behave(request)
                    if how == 200:
                        receiver.taken.append(request)
                if isinstance(how, int):
                    self.send_response(how)
                    for name, value in receiver.answer_headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(receiver.answer)))
                    self.end_headers()
                    self.wfile.write(receiver.answer)
                    return
                self.close_connection = True
                if how == "hang":
                    receiver.released.wait(30)
                elif how == "close":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
                elif how == "garbage":
                    self.wfile.write(b"\x00\x01 this is no HTTP\r\n\r\n")

            def log_message(self, *_args: object) -> None:
                pass

        return Handler


@contextmanager
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    try:
        yield found
    finally:
        found.close()
