"""Posting over HTTP, with every outcome kept apart: taken, `Busy`, `Refused`. Nothing secret gets into a message.

The other side is not trusted: one deadline covers a whole request, an answer is read up to `ANSWER_BYTES`, compressed
or not, redirects are not followed, and cookies are not kept.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import NamedTuple, Self

from exporters.delivery import io_loop
from exporters.delivery.destination import Busy, NotConfigured, Refused

try:
    import anyio
    import httpx
except ModuleNotFoundError as error:
    raise NotConfigured(f"delivery over HTTP needs the extra: pip install 'turnlog[deliver]' ({error})") from error

TIMEOUT_SECONDS = 10.0
"""For a whole request: name, connection, sending, and all of the answer."""
ANSWER_BYTES = 64 * 1024
"""An answer is read up to this; the headers, up to what httpcore allows (100 KiB)."""
RETRYABLE = frozenset({408, 425, 429})
"""Of the 4xx; all of the 5xx are."""
PUBLIC_HEADERS = frozenset({"content-type", "content-encoding", "accept", "idempotency-key"})
EXCERPT = 200
"""Characters of an answer that are shown."""


class Answer(NamedTuple):
    status: int
    reason: str
    content_type: str
    """Without parameters, in lower case."""
    retry_after: str | None
    content: bytes | None
    """None if there is more than `ANSWER_BYTES` of it, or it is encoded in a way that was not asked for."""


class Client:
    """Connections to endpoints, kept between posts. Safe to use from several threads; a fork's child makes its own."""

    def __init__(self, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._pid, self._http = os.getpid(), _http()
        io_loop.run_in_loop(
            anyio.sleep(0)
        )  # what is imported lazily is imported now: a fork must find no import half done

    def exchange(self, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer to a POST. Raises `TimeoutError` at the deadline, or what httpx raises."""
        return io_loop.run_in_loop(self._exchange(self._own(), url, content, headers))

    def close(self) -> None:
        """Close the connections, unless they are the parent's."""
        if self._pid == os.getpid():
            io_loop.run_in_loop(self._http.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _own(self) -> httpx.AsyncClient:
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._http, self._pid = _http(), os.getpid()
        return self._http

    async def _exchange(self, to: httpx.AsyncClient, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        missing = "answer"
        try:
            with anyio.fail_after(self.timeout_seconds):
                async with to.stream("POST", url, content=content, headers=headers) as response:
                    missing = "whole answer"
                    return Answer(
                        response.status_code,
                        response.reason_phrase,
                        response.headers.get("content-type", "").partition(";")[0].strip().lower(),
                        response.headers.get("retry-after"),
                        await _read(response),
                    )
        except TimeoutError:
            raise TimeoutError(f"no {missing} within {self.timeout_seconds:g} seconds") from None


def client(timeout_seconds: float = TIMEOUT_SECONDS) -> Client:
    """A client that keeps its connections. Proxies come from the environment, as with any tool."""
    return Client(timeout_seconds)


def post(to: Client, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
    """The answer to a POST that was taken (2xx). Raises `Busy` or `Refused`, naming the place and the reason."""
    place = shown(url)
    try:
        answer = to.exchange(url, content, headers)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Refused(f"{place} is not an address to post to: {type(error).__name__}") from None
    except (httpx.LocalProtocolError, UnicodeEncodeError):
        raise Refused(f"{place}: a header cannot be sent as it is: {', '.join(headers)}") from None
    except TimeoutError as error:
        raise Busy(f"{place}: {error}") from None
    except httpx.HTTPError as error:  # never its chain: a request in it has the headers
        raise Busy(f"{place}: {type(error).__name__}: {excerpt(headers, _cause(error))}".rstrip(": ")) from None
    if 200 <= answer.status < 300:
        return answer
    said = f"more than {ANSWER_BYTES >> 10} KiB" if answer.content is None else answer.content.decode(errors="replace")
    reason = f"{place}: {answer.status} {excerpt(headers, answer.reason)}: {excerpt(headers, said)}".rstrip(": ")
    if answer.status in RETRYABLE or answer.status >= 500:
        raise Busy(reason, _retry_after(answer.retry_after))
    raise Refused(reason)


def check_sendable(url: str, headers: Mapping[str, str]) -> None:
    """Raises `NotConfigured` if nothing can be posted to that address, or one of the headers not be sent."""
    try:
        parsed = httpx.URL(url)
        usable = parsed.scheme in ("http", "https") and bool(parsed.host)
    except (httpx.InvalidURL, TypeError):
        usable = False
    if not usable:
        raise NotConfigured(f"{shown(url)!r} is no address to post to: it has to be http(s)://HOST…")
    for name, value in headers.items():
        if not (isinstance(value, str) and all(text.isascii() and text.isprintable() for text in (name, value))):
            raise NotConfigured(f"the value of the header {name!r} cannot be sent: it has to be printable ASCII")


def shown(url: str) -> str:
    """The address as it may be shown and stored: without user, password and query."""
    try:
        return str(httpx.URL(url).copy_with(username=None, password=None, query=None, fragment=None))
    except (httpx.InvalidURL, TypeError):
        return "the endpoint"


def excerpt(headers: Mapping[str, str], text: str) -> str:
    """The beginning of what an endpoint says, as one line: without secrets, and with control characters escaped.

    It may answer with what it was sent, and a header may be a token, in words such as ``Bearer …``.
    """
    for name, value in headers.items():
        if name.lower() not in PUBLIC_HEADERS:
            for secret in (value, *value.split()):
                text = text.replace(secret, "***") if len(secret) >= 4 else text
    line = " ".join(text[: EXCERPT * 10].split())[:EXCERPT]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _http() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=None,
        headers={"accept-encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


async def _read(response: httpx.Response) -> bytes | None:
    """The body as in `Answer.content`. What is left of it is not read: the connection is closed."""
    raw = bytearray()
    async for piece in response.aiter_raw():
        raw += piece
        if len(raw) > ANSWER_BYTES:
            return None
    match response.headers.get("content-encoding", "").strip().lower():
        case "" | "identity":
            return bytes(raw)
        case "gzip" | "x-gzip" | "deflate":
            try:
                plain = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(bytes(raw), ANSWER_BYTES + 1)
            except zlib.error:
                return None
            return plain if len(plain) <= ANSWER_BYTES else None
        case _:
            return None


def _cause(error: BaseException) -> str:
    """The first of the errors that led to this one: it says why, where the last says only what could not be done."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def _retry_after(value: str | None) -> float | None:
    """Seconds; the header has them, or a date. None if it has neither. `Busy` bounds them."""
    if value is None or len(value) > 1000:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
        return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
