"""A log endpoint for tests: a real HTTP server that fails as it is told to."""

from __future__ import annotations

import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import orjson


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    """By name in lower case."""
    content: bytes
    outcome: int | str

    def bodies(self) -> list[dict[str, Any]]:
        found = orjson.loads(self.content)
        return found if isinstance(found, list) else [found]


class LogEndpoint:
    """``outcomes`` are what the next requests get, then 200: a status, ``cut`` (in mid-answer) or ``hang``."""

    def __init__(self, *outcomes: int | str, headers: dict[str, str] | None = None) -> None:
        self.outcomes = list(outcomes)
        self.headers = headers or {}
        self.requests: list[Request] = []
        self.arrived: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self.released = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                endpoint.take(self)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/logs"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers["content-length"]))
        outcome = self.outcomes.pop(0) if self.outcomes else 200
        heads = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.path, heads, content, outcome)
        self.requests.append(request)
        self.arrived.put(request)
        if outcome == "hang":
            self.released.wait(60)
            handler.close_connection = True
            return
        status = outcome if isinstance(outcome, int) else 200
        said = "you sent " + ", ".join(f"{name}: {value}" for name, value in heads.items())
        answer = b"x" * 10 if outcome == "cut" else said.encode()
        handler.send_response(status)
        for name, value in self.headers.items() if status != 200 else ():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(answer) * (2 if outcome == "cut" else 1)))
        handler.end_headers()
        handler.wfile.write(answer)
        handler.close_connection = outcome == "cut"

    def texts(self, outcome: int | str = 200) -> list[str]:
        """What was logged, of the requests with that outcome."""
        return [body["logText"] for request in self.requests if request.outcome == outcome for body in request.bodies()]

    def __enter__(self) -> LogEndpoint:
        return self

    def __exit__(self, *_error: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
