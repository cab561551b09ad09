"""A real HTTP server for tests, in a thread: it accepts, fails, hangs, breaks off or answers nonsense."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

import orjson

Answer = int | str | tuple[int, dict[str, str]]
"""A status, alone or with headers; ``hang``; ``reset``: no answer; ``cut``: an answer that breaks off in the middle;
``taken and cut``: one that was to say it is taken; or ``garbage``."""


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes
    answer: int | str = ""
    """What it got, without the headers."""

    def json(self) -> Any:
        return orjson.loads(self.body)


class Receiver(ThreadingHTTPServer):
    """What stands in ``script`` is what the next requests get, one each; then it is what ``behave`` says."""

    request_queue_size = 128

    def __init__(self, *script: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.script = list(script)
        self.behave: Callable[[Request], Answer] = lambda _request: 200
        self.text: bytes | None = None
        """What each answer says; without one, the values of the request's headers."""
        self.requests: list[Request] = []
        """All, in the order in which they came. A sender that died in the middle of one has sent none."""
        self.taken: list[Request] = []
        """Of them, those that got a 200, or were to."""
        self.released = threading.Event()
        """Ends what hangs."""
        self._came = threading.Condition()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def receive(self, request: Request) -> tuple[int | str, dict[str, str]]:
        with self._came:
            answer = self.script.pop(0) if self.script else self.behave(request)
            answer, headers = answer if isinstance(answer, tuple) else (answer, {})
            self.requests.append(request._replace(answer=answer))
            if answer in (200, "taken and cut"):
                self.taken.append(self.requests[-1])
            self._came.notify_all()
        return answer, headers

    def wait_for(self, count: int) -> Request:
        """The request of that number, from 1, as soon as it is here."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.requests) >= count, 60)
            return self.requests[count - 1]

    def handle_error(self, *_args: object) -> None:
        """Who sends may be killed at any moment."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        sent = {name.lower(): value for name, value in self.headers.items()}
        answer, headers = self.server.receive(Request(self.path, sent, body))
        if isinstance(answer, int):
            # a reason shows the beginning of an answer, and a sender's own headers come last
            echo = " ".join(["you sent", *reversed(sent.values())]).encode()
            text = echo if self.server.text is None else self.server.text
            self.send_response(answer)
            for name, value in (headers | {"content-length": str(len(text))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)
            return
        self.close_connection = True
        if answer == "hang":
            self.server.released.wait(60)
        elif answer in ("cut", "taken and cut"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        elif answer == "garbage":
            self.wfile.write(b"\x00\xff this is no HTTP\r\n\r\n")

    def log_message(self, *_args: object) -> None: ...
