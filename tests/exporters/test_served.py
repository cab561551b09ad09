"""The server that pages are served from: whom it answers, and what no client can do to the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from eventstore import Recorder, open_store
from exporters import web as served
from exporters.web import CannotServe, Server
from support.program import Program


def page(_request: Request) -> Response:
    return PlainTextResponse("what was said in the call")


def endless(_request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"begun"
        while True:
            await asyncio.sleep(0.001)
            yield b"x" * 65536

    return StreamingResponse(pieces())


ROUTES = [Route("/", page), Route("/endless", endless)]


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server(ROUTES)
    yield found
    found.close()


def exchange(port: int, text: bytes, host: str = "127.0.0.1") -> bytes:
    """All that comes back for ``text``, to a connection that is closed then."""
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(text)
        found = b""
        while more := connection.recv(65536):
            found += more
    return found


def status(server: Server, *headers: str) -> int:
    lines = ["GET / HTTP/1.1", "connection: close", *headers]
    head, _, body = exchange(server.port, "\r\n".join([*lines, "", ""]).encode()).partition(b"\r\n\r\n")
    found = int(head.split()[1])
    assert (b"what was said" in body) == (found == 200)
    return found


FOREIGN = ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.:{port}", "127.1:{port}",
           "127.0.0.1.evil.example:{port}", "evil.example@127.0.0.1:{port}", "[::1]:{port}:{port}", "", "*",
           "127.0.0.1:{port}, evil.example", "2130706433:{port}", "[::ffff:127.0.0.1]:{port}"]  # fmt: skip


def test_a_foreign_host_is_refused(server: Server) -> None:
    """A page whose name was rebound to this machine reads nothing. Break: in served.py, ``Guard``, look at no host."""
    for host in ("127.0.0.1", "localhost", "[::1]", "LocalHost"):
        assert status(server, f"host: {host}:{server.port}") == 200
    for host in FOREIGN:
        found = status(server, "host: " + host.format(port=server.port))
        assert found in (400, 403), host
    mine = f"host: 127.0.0.1:{server.port}"
    assert status(server, mine, "host: evil.example") in (400, 403)
    assert status(server) == 400
    old = exchange(server.port, b"GET / HTTP/1.0\r\n\r\n")
    assert old.split()[1] == b"403"


def test_a_foreign_origin_is_refused(server: Server) -> None:
    """Break: in served.py, ``Guard``, look at no origin."""
    mine = f"host: 127.0.0.1:{server.port}"
    for origin in (server.url.rstrip("/"), f"http://localhost:{server.port}"):
        assert status(server, mine, f"origin: {origin}") == 200
    for origin in ("null", "http://evil.example", "http://127.0.0.1", "http://localhost:3000", "", "file://",
                   f"http://127.0.0.1:{server.port}.evil.example"):  # fmt: skip
        assert status(server, mine, f"origin: {origin}") == 403, origin
    ours = f"origin: http://localhost:{server.port}"
    assert status(server, mine, ours, "origin: http://evil.example") == 403


def test_what_a_browser_is_told(server: Server) -> None:
    """On every answer, also one that refuses. Break: in served.py, ``Guard``, set no headers."""
    for headers in ({}, {"host": "evil.example"}):
        got = httpx.get(server.url, headers=headers)
        assert got.headers["content-security-policy"].startswith("default-src 'none'")
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["referrer-policy"] == "no-referrer"
        assert got.headers["cross-origin-resource-policy"] == "same-origin"
        assert got.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in got.headers
        assert "server" not in got.headers
    assert httpx.get(server.url + "nothing").status_code == 404
    assert httpx.post(server.url).status_code == 405
    assert httpx.options(server.url, headers={"origin": "http://evil.example"}).status_code == 403


def test_an_origin_and_a_host_that_are_allowed() -> None:
    """Break: in served.py, ``_allowed``, leave out the further names; or in ``Guard``, allow every origin."""
    page, names = "http://localhost:3000", ["Calls.Example", "proxy:8443"]
    server = Server(ROUTES, allow_origin=page, allow_hosts=names, csp="default-src 'self'")
    try:
        got = httpx.get(server.url, headers={"origin": page})
        assert (got.status_code, got.headers["access-control-allow-origin"]) == (200, page)
        assert got.headers["vary"] == "Origin"
        assert got.headers["content-security-policy"] == "default-src 'self'"
        assert httpx.get(server.url, headers={"origin": "http://localhost:3001"}).status_code == 403
        for host in ("calls.example", f"calls.example:{server.port}", "proxy:8443"):
            assert status(server, f"host: {host}", f"origin: https://{host}") == 200
        for host in ("calls.example:1", "proxy", f"proxy:{server.port}"):
            assert status(server, f"host: {host}") == 403
    finally:
        server.close()


def test_other_machines_are_served_only_under_a_name() -> None:
    """Break: in served.py, ``Server``, do not look whether the address is loopback."""
    for host in ("0.0.0.0", "::"):
        with pytest.raises(CannotServe, match="--allow-host NAME"):
            Server(ROUTES, host)
    server = Server(ROUTES, "0.0.0.0", allow_hosts=["calls.example"])
    assert server.url == f"http://calls.example:{server.port}/"
    try:
        assert status(server, f"host: calls.example:{server.port}") == 200
        assert status(server, f"host: 0.0.0.0:{server.port}") == 403
    finally:
        server.close()
    with pytest.raises(CannotServe, match="cannot serve on nowhere.invalid:0"):
        Server(ROUTES, "nowhere.invalid")


def test_idle_clients_hold_up_no_other(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than it holds at once: the one that has waited longest makes room.

    Break: in served.py, ``_Protocol.connection_made``, close none.
    """
    monkeypatch.setattr(served, "CONNECTIONS", 50)
    monkeypatch.setattr(served, "REQUEST_SECONDS", 3600)
    idle = []
    for n in range(60):
        idle.append(socket.create_connection(("127.0.0.1", server.port), timeout=60))
        if n % 2:
            idle[-1].sendall(b"GET / HTTP/1.1\r\nx: ")  # and its headers never end
    assert httpx.get(server.url, timeout=60).status_code == 200
    assert idle[0].recv(1) == b"" or idle[1].recv(1) == b"", "the first had to go"
    for one in idle:
        one.close()


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: 127"])
def test_a_request_that_never_ends_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    """Also a second one, on a connection that was of use. Break: in served.py, ``_give_up``, do nothing."""
    monkeypatch.setattr(served, "REQUEST_SECONDS", 0.2)
    whole = b"GET / HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % server.port
    for before in (b"", whole):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(before + begun)
            with pytest.raises((ConnectionError, EOFError)):
                while connection.recv(65536):
                    pass
                raise EOFError


def test_requests_that_are_none_are_answered_and_bounded(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    host = b"Host: 127.0.0.1:%d\r\n" % server.port
    for text in (
        b"\x00" * 100 + b"\r\n\r\n",
        b"GET " + b"/" * 1_000_000 + b" HTTP/1.1\r\n" + host + b"\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"Content-Length: -1\r\n\r\n",
    ):
        with contextlib.suppress(ConnectionError):  # it was closed while the rest was being sent
            assert exchange(server.port, text).startswith(b"HTTP/1.1 400")
    assert httpx.get(server.url).status_code == 200
    assert capfd.readouterr().err == ""


def test_a_client_that_takes_nothing_is_dropped(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break: in served.py, ``pause_writing``, set no timer."""
    monkeypatch.setattr(served, "STUCK_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % server.port)
        assert connection.recv(5)
        while server._server.server_state.connections:
            threading.Event().wait(0.01)


def test_it_stops_whatever_its_clients_do(server: Server) -> None:
    """One reads for ever, one takes nothing, one says nothing. Break: in served.py, ``_Protocol.shutdown``, leave out
    the abort."""
    asking = b"GET /endless HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % server.port
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(3)]
    for client in clients[:2]:
        client.sendall(asking)
        assert client.recv(10)
    closing = threading.Thread(target=server.close, daemon=True)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    for client in clients:
        client.close()
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", server.port))


def test_the_program_refuses_too(program: Program) -> None:
    """Break: in turnlog/cli/commands/serve.py, do not hand over ``allow_host``."""
    store = open_store(program.db)
    with Recorder(store, "s") as recorder:
        recorder.on_user_speech_start()
    store.close()
    arguments = ["playground", "s", "--port", "0", "--allow-host", "calls.example"]
    with subprocess.Popen(
        [sys.executable, "-m", "turnlog", *arguments],
        env=os.environ | {"TURNLOG_DB": str(program.db)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("serving ").strip()
        assert httpx.get(url, headers={"host": "evil.example"}).status_code == 403
        assert httpx.get(url, headers={"origin": "http://evil.example"}).status_code == 403
        with httpx.stream("GET", url, headers={"host": "calls.example"}) as answer:
            assert answer.status_code == 200
            process.send_signal(signal.SIGTERM)
            answer.read()
        _out, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert re.fullmatch("session 's' has no playground messages .*; waiting for new ones; Ctrl-C ends\n", errors)
    assert "--allow-host" in program.fails("playground", "s", "--port", "0", "--host", "0.0.0.0")


def test_the_extra_is_missing(program: Program) -> None:
    store = open_store(program.db)
    with Recorder(store, "s") as recorder:
        recorder.on_user_speech_start()
    store.close()
    script = """
import sys
for name in ("starlette", "uvicorn"):
    sys.modules[name] = None
sys.argv = ["turnlog", "playground", "s", "--port", "0"]
from turnlog.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"TURNLOG_DB": str(program.db)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install 'turnlog[serve]'" in done.stderr
    assert json.dumps(done.stderr).count("\\n") == 1
