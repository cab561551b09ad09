"""Endpoints that mean harm: none holds a sender beyond its deadline, or makes it keep more than a few KiB.

Each is a real server, each sender a process of its own, whose memory is measured.
"""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import pytest

from exporters.delivery import io_loop
from exporters.delivery.destination import LONGEST_SECONDS, Busy, Refused
from exporters.delivery.http import MAX_RESPONSE_BYTES, client, post
from support.http_receiver import Receiver

SECRET = "s3cr3t-t0ken"
MEGABYTES = 150
"""A sender takes some 60 at rest."""
OK, BAD, DOWN = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 400 Bad\r\n", b"HTTP/1.1 503 Down\r\n"
SENDER = """
import json, sys
from exporters.delivery.destination import Busy, Refused
from exporters.delivery.http import client, post
url, seconds, size = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
with client(seconds) as to:
    try:
        post(to, url, bytes(size), {"authorization": "Bearer s3cr3t-t0ken"})
        said = ["taken", ""]
    except (Busy, Refused) as error:
        said = [type(error).__name__, str(error)]
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([*said, int(peak.split()[1]) // 1024]))
"""

Behaviour = Callable[["Evil", socket.socket], None]


class Evil:
    """Accepts connections, reads a request from each, and then behaves as it likes until the other side goes."""

    def __init__(self, behave: Behaviour, *, accept: bool = True, read: bool = True) -> None:
        self._behave, self._accepts, self._reads = behave, accept, read
        self.over = threading.Event()
        self.requests = 0
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=8)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self._threads = [threading.Thread(target=self._accept)]

    def _accept(self) -> None:
        while self._accepts:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                if self._reads:
                    got = b""
                    while b"\r\n\r\n" not in got:
                        got += connection.recv(65536)
                self.requests += 1
                self._behave(self, connection)
            except OSError:
                pass

    def forever(self, connection: socket.socket, piece: bytes, every: float = 0.0) -> None:
        while not self.over.wait(every):
            connection.sendall(piece)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.over.set()
        self._accepts = False
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join()


def says(text: bytes, then: bytes = b"", every: float = 0.0) -> Behaviour:
    """``text``, and ``then`` again and again, or nothing more."""

    def behave(evil: Evil, connection: socket.socket) -> None:
        connection.sendall(text)
        if then:
            evil.forever(connection, then, every)

    return behave


def silent(evil: Evil, _connection: socket.socket) -> None:
    evil.over.wait()


def half_closed(evil: Evil, connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    evil.over.wait()


def sent(content: bytes, head: bytes = BAD, encoding: bytes = b"gzip") -> Behaviour:
    return says(head + b"content-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (encoding, len(content)) + content)


def raw_deflate(content: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(content) + made.flush()


DROP = 0.05
"""Seconds between bytes, of which the deadline of a second allows a few."""
EVIL: dict[str, tuple[Behaviour, str, str]] = {
    "a bomb": (sent(gzip.compress(bytes(100 << 20), 9)), "Refused", "400 Bad: more than 64 KiB"),
    "a small bomb": (sent(gzip.compress(bytes(50 << 20), 9)), "Refused", "400 Bad: more than 64 KiB"),
    "a bomb of zlib": (sent(zlib.compress(bytes(50 << 20), 9), DOWN, b"deflate"), "Busy", "503 Down: more than"),
    "a bomb in a bomb": (sent(gzip.compress(gzip.compress(bytes(100 << 20))), BAD, b"gzip, gzip"), "Refused", "400"),
    "what it calls br": (sent(b"\0" * 100, BAD, b"br"), "Refused", "400 Bad"),
    "a broken gzip": (sent(b"no gzip"), "Refused", "400 Bad"),
    "deflate without a head": (sent(raw_deflate(bytes(9)), BAD, b"deflate"), "Refused", "400 Bad"),
    "an endless answer": (says(DOWN + b"\r\n", b"x" * 65536), "Busy", "503 Down: more than 64 KiB"),
    "an endless answer that it was taken": (says(OK + b"\r\n", b"x" * 65536), "taken", ""),
    "a trickled answer": (says(OK + b"\r\n", b"x", DROP), "Busy", "no whole response within 1 seconds"),
    "trickled headers": (says(OK + b"a: ", b"x", DROP), "Busy", "no response within 1 seconds"),
    "a trickled status": (says(b"H", b"T", DROP), "Busy", "no response within 1 seconds"),
    "endless headers": (says(OK, b"name: value\r\n" * 999), "Busy", "RemoteProtocolError"),
    "an endless header": (says(OK + b"name: ", b"x" * 65536), "Busy", "RemoteProtocolError"),
    "endless promises": (says(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 999), "Busy", "no response within 1 seconds"),
    "an endless chunk size": (says(DOWN + b"transfer-encoding: chunked\r\n\r\n", b"0" * 999), "Busy", "Remote"),
    "trickled chunks": (says(OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n", DROP), "Busy", "no whole"),
    "endless trailers": (
        says(OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 999), "Busy", "RemoteProtocolError",
    ),
    "silence": (silent, "Busy", "no response within 1 seconds"),
    "half a connection": (half_closed, "Busy", "RemoteProtocolError"),
    "garbage": (says(b"\x00\xff\x1b[2J no HTTP\r\n\r\n"), "Busy", "RemoteProtocolError"),
    "a status that is none": (says(b"HTTP/1.1 9999999 OK\r\n\r\n"), "Busy", "RemoteProtocolError"),
    "less than it says": (says(OK + b"content-length: 100\r\n\r\nhalf"), "Busy", "RemoteProtocolError"),
    "a length that is none": (says(OK + b"content-length: -1\r\n\r\n"), "Busy", "RemoteProtocolError"),
    "a length without end": (says(OK + b"content-length: %s\r\n\r\n" % (b"9" * 400)), "Busy", "RemoteProtocolError"),
    "two lengths": (says(OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nxx"), "Busy", "RemoteProtocolError"),
    "another protocol": (says(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", b"x" * 65536), "Busy", "Remote"),
}  # fmt: skip


def send(url: str, *, seconds: float = 1.0, size: int = 10, before: str = "") -> tuple[str, str]:
    """What came of a post from a process of its own, which has not grown, and says no secret."""
    done = subprocess.run(
        [sys.executable, "-c", before + SENDER, url, str(seconds), str(size)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kind, reason, megabytes = json.loads(done.stdout)
    assert megabytes < MEGABYTES
    assert SECRET not in done.stdout + done.stderr
    assert reason.isprintable()
    return kind, reason


@pytest.mark.parametrize("name", EVIL)
def test_no_answer_holds_or_fills_a_sender(name: str) -> None:
    """Break: in exporters/delivery/http.py, ``_read``, without the bound; or in ``_exchange``, without the deadline."""
    behave, kind, part = EVIL[name]
    with Evil(behave) as evil:
        got, reason = send(evil.url)
    assert got == kind, reason
    assert part in reason


def test_what_does_not_take_the_request_is_given_up() -> None:
    """It never accepts; or it accepts, and reads nothing. Break: the same deadline."""
    with Evil(silent, accept=False) as evil:
        assert send(evil.url) == ("Busy", f"{evil.url}: no response within 1 seconds")
        address = evil._socket.getsockname()
        full = [socket.socket() for _ in range(20)]  # no more fit in: the next waits for its connection
        for one in full:
            one.setblocking(False)
            one.connect_ex(address)
        assert send(evil.url)[1].endswith("no response within 1 seconds")
        for one in full:
            one.close()
    with Evil(silent, read=False) as evil:
        assert send(evil.url, size=30 << 20)[1].endswith("no response within 1 seconds")


def test_a_name_that_nothing_answers_for() -> None:
    """A resolver that hangs, and one that fails; the process ends all the same.

    Break: in exporters/delivery/io_loop.py, leave `getaddrinfo` to asyncio.
    """
    hangs = "import socket, time\nsocket.getaddrinfo = lambda *_a, **_k: time.sleep(3600)\n"
    assert send("http://nowhere.invalid/", before=hangs) == (
        "Busy", "http://nowhere.invalid/: no response within 1 seconds",
    )  # fmt: skip
    kind, reason = send(f"http://{'a' * 70}.invalid/", seconds=60)
    assert kind == "Busy" or "InvalidURL" in reason


def test_exit_handlers_can_still_post() -> None:
    """As those of OpenTelemetry do. Break: in exporters/delivery/io_loop.py, leave `getaddrinfo` to asyncio."""
    script = """
import atexit, sys
from exporters.delivery.http import client, post
to = client(60)
def flush():
    post(to, sys.argv[1], b"last", {})
    to.close()
atexit.register(flush)
"""
    with Receiver() as endpoint:
        url = endpoint.url.replace("127.0.0.1", "localhost")
        done = subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert [request.body for request in endpoint.taken] == [b"last"]


def test_a_fork_s_child_posts_on_connections_of_its_own() -> None:
    """Break: in exporters/delivery/http.py, ``_own``, return the parent's;

    or in io_loop.py, do not look at the fork.
    """
    script = """
import os, sys
from exporters.delivery.http import client, post
with client(60) as to:
    post(to, sys.argv[1], b"parent", {})
    child = os.fork()
    post(to, sys.argv[1], b"child" if child == 0 else b"parent again", {})
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
    with Receiver() as endpoint:
        done = subprocess.run(
            # Python 3.12 and later warn of a fork beside threads, which is what is tried here
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, endpoint.url],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(request.body for request in endpoint.taken) == [b"child", b"parent", b"parent again"]


def test_no_redirect_is_followed_and_no_cookie_kept() -> None:
    """A token stays where it was sent to.

    Break: in exporters/delivery/http.py, ``_http``, follow redirects, or keep cookies.
    """
    with Receiver() as other, Receiver() as endpoint, client() as to:
        endpoint.behave = lambda _request: (307, {"location": other.url, "set-cookie": "a=b; Max-Age=999"})
        for _ in range(2):
            with pytest.raises(Refused, match="307"):
                post(to, endpoint.url, b"", {"authorization": SECRET})
        endpoint.behave = lambda _request: (302, {"location": endpoint.url})
        with pytest.raises(Refused, match="302"):
            post(to, endpoint.url, b"", {})
        assert len(endpoint.requests) == 3
        assert all("cookie" not in request.headers for request in endpoint.requests)
        assert {request.headers["accept-encoding"] for request in endpoint.requests} == {"identity"}
        assert other.requests == []


def test_an_answer_of_just_the_bound_is_read() -> None:
    """Break: in exporters/delivery/http.py, ``_read``, ``>=`` for ``>``."""
    with Receiver() as endpoint, client() as to:
        for size in (MAX_RESPONSE_BYTES, MAX_RESPONSE_BYTES + 1):
            endpoint.text = b"x" * size
            content = post(to, endpoint.url, b"", {}).content
            assert content == (endpoint.text if size == MAX_RESPONSE_BYTES else None)
    compressed = Evil(sent(gzip.compress(b"the queue is full"), DOWN))
    with compressed as evil, client() as to, pytest.raises(Busy, match="the queue is full"):
        post(to, evil.url, b"", {})


def test_nothing_an_endpoint_says_speaks_to_a_terminal() -> None:
    """Break: in exporters/delivery/http.py, ``excerpt``, escape nothing."""
    with Receiver() as endpoint, client() as to:
        endpoint.behave = lambda _request: 400
        endpoint.text = "\x1b]0;title\x07 \x9b2J \u202egnp.exe \x00".encode()
        with pytest.raises(Refused) as caught:
            post(to, endpoint.url, b"", {})
    assert str(caught.value).isprintable()
    assert "\\x1b]0;title\\x07" in str(caught.value)


RETRY_AFTER: dict[str, float | None] = {
    "9" * 400: LONGEST_SECONDS, "9" * 900: LONGEST_SECONDS, "86400": LONGEST_SECONDS, "7": 7.0, "0": 0.0, " 7 ": 7.0,
    "Fri, 31 Dec 9999 23:59:59 GMT": LONGEST_SECONDS, "Mon, 01 Jan 1900 00:00:00 GMT": 0.0,
    "Mon, 01 Jan 0001 00:00:00 +2359": 0.0, "Fri, 31 Dec 9999 23:59:59 -2359": LONGEST_SECONDS,
    "Mon, 01 Jan 2024 00:00:00 +99999999999": None, "Mon, 99 Jan 99999999999 00:00:00 GMT": None,
    "-5": None, "nan": None, "inf": None, "-inf": None, "1e999": None, "1.5": None, "soon": None, "\xb2": None,
    "": None, "9" * 5000: None, "Mon, " * 5000: None, ",": None, "(": None,
}  # fmt: skip


@pytest.mark.parametrize("asked", RETRY_AFTER, ids=lambda asked: repr(asked[:30]))
def test_retry_after_is_bounded(asked: str) -> None:
    """Break: in exporters/delivery/destination.py, ``Busy``, do not clamp the requested wait."""
    with Receiver() as endpoint, client() as to:
        endpoint.behave = lambda _request: (503, {"retry-after": asked})
        with pytest.raises(Busy) as caught:
            post(to, endpoint.url, b"", {})
    assert caught.value.retry_after_seconds == RETRY_AFTER[asked]


@pytest.mark.parametrize("asked", [float("nan"), float("inf"), -float("inf"), -1.0, 1e308, 7.0, None])
def test_so_is_any_other_wait_that_is_asked_for(asked: float | None) -> None:
    kept = Busy("", asked).retry_after_seconds
    assert kept is None or 0 <= kept <= LONGEST_SECONDS
    assert kept == 7.0 or asked != 7.0


def test_posts_of_several_threads_do_not_wait_for_each_other() -> None:
    """A sender at a silent endpoint holds up no other.

    Break: in exporters/delivery/io_loop.py, ``run_in_loop``, hold the lock.
    """
    with Evil(silent) as evil, Receiver() as endpoint, client(60) as to, ThreadPoolExecutor(8) as pool:
        held = pool.submit(post, to, evil.url, b"", {})
        done = [pool.submit(post, to, endpoint.url, b"%d" % n, {}) for n in range(50)]
        assert {found.result(60).status for found in done} == {200}
        assert not held.done()
        evil.over.set()
        with pytest.raises(Busy):
            held.result(60)


# gRPC ---------------------------------------------------------------------------------------------------------------

grpc = pytest.importorskip("grpc")


class Grpc:
    """A collector that answers each export as it is made to."""

    def __init__(self, answer: bytes = b"", trailing: Any = (), compression: Any = None, code: Any = None) -> None:
        def export(_request: bytes, context: Any) -> bytes:
            context.set_trailing_metadata(trailing)
            if code is not None:
                context.abort(code, "no")
            return answer

        method = grpc.unary_unary_rpc_method_handler(export)
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        self._pool = ThreadPoolExecutor(2)
        # its own bounds lifted, so that the client's are tried
        self._server = grpc.server(self._pool, compression=compression, options=[("grpc.max_metadata_size", 1 << 30)])
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"Export": method})])
        self.url = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.stop(None).wait()
        self._pool.shutdown()


def export(url: str, seconds: float = 30.0) -> Busy | Refused | None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from exporters.otlp.grpc import GrpcSender

    to = GrpcSender(url, {"authorization": SECRET}, seconds)
    try:
        to.send(ExportTraceServiceRequest())
    except (Busy, Refused) as error:
        assert str(error).isprintable()
        return error
    finally:
        to.close()
    return None


def message(size: int) -> bytes:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTracePartialSuccess,
        ExportTraceServiceResponse,
    )

    said = ExportTracePartialSuccess(error_message="x" * size)
    return ExportTraceServiceResponse(partial_success=said).SerializeToString()


def test_a_grpc_answer_is_bounded() -> None:
    """Break: in exporters/otlp/grpc.py, ``CHANNEL``, leave out the length of a message (gRPC's is 4 MiB)."""
    with Grpc(message(MAX_RESPONSE_BYTES // 2)) as fits:
        assert export(fits.url) is None
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with Grpc(message(MAX_RESPONSE_BYTES * 2), compression=compression) as large:
            error = export(large.url)
        assert isinstance(error, Busy)
        assert "RESOURCE_EXHAUSTED" in str(error)


def test_grpc_trailers_are_bounded() -> None:
    with Grpc(trailing=[("x", "y" * 100_000)]) as large:
        assert isinstance(export(large.url), Busy)


@pytest.mark.parametrize(("seconds", "kept"), [(2**62, LONGEST_SECONDS), (-(2**62), 0.0), (-7, 0.0), (7, 7.0)])
def test_grpc_retry_info_is_bounded(seconds: int, kept: float) -> None:
    """Break: in exporters/delivery/destination.py, ``Busy``, do not clamp the requested wait."""
    from google.protobuf.any_pb2 import Any as Packed
    from google.protobuf.duration_pb2 import Duration
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    detail = Packed()
    detail.Pack(RetryInfo(retry_delay=Duration(seconds=seconds)))
    status = Status(code=8, details=[detail]).SerializeToString()
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    with Grpc(trailing=[("grpc-status-details-bin", status)], code=code) as asking:
        error = export(asking.url)
    assert isinstance(error, Busy)
    assert error.retry_after_seconds == kept


@pytest.mark.parametrize("name", ["silence", "garbage", "half a connection", "never accepted", "HTTP/1"])
def test_grpc_keeps_its_deadline(name: str) -> None:
    """Of connecting, too."""
    behave = EVIL[name][0] if name in EVIL else says(OK + b"\r\n")
    with Evil(behave, accept=name != "never accepted", read=False) as evil:
        error = export(evil.url.removeprefix("http://").rstrip("/"), 1.0)
    assert isinstance(error, Busy)


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    """One thread for all of it, however many clients there were."""
    yield
    assert sum(thread.name == io_loop.THREAD for thread in threading.enumerate()) <= 1
