"""HTTP POST with classified outcomes: accepted, `Busy` or `Refused`. Messages contain no secrets.

The server is not trusted: one deadline covers the whole request, a response is read up to `MAX_RESPONSE_BYTES`,
compressed or not, redirects are not followed, and cookies are not kept.
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

import anyio.lowlevel

from exporters.delivery import io_loop
from exporters.delivery.destination import Busy, NotConfigured, Refused

try:
    import anyio
    import httpx
except ModuleNotFoundError as error:
    raise NotConfigured(f"delivery over HTTP needs the extra: pip install 'turnlog[deliver]' ({error})") from error

TIMEOUT_SECONDS = 10.0
"""Deadline for a whole request: name lookup, connection, sending and the complete response."""
MAX_RESPONSE_BYTES = 64 * 1024
"""Maximum size of a response body; headers are bounded by httpcore (100 KiB)."""
RETRYABLE = frozenset({408, 425, 429})
"""The retryable 4xx statuses; every 5xx is retryable."""
PUBLIC_HEADERS = frozenset({"content-type", "content-encoding", "accept", "idempotency-key"})
EXCERPT = 200
"""Maximum number of characters of a response shown in a message."""


class HttpResponse(NamedTuple):
    status: int
    reason: str
    content_type: str
    """Without parameters, in lower case."""
    retry_after: str | None
    content: bytes | None
    """None if longer than `MAX_RESPONSE_BYTES`, or in an unsupported encoding."""


class Client:
    """A pool of connections. Thread-safe; a forked child opens its own."""

    def __init__(self, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._pid, self._http = os.getpid(), _http()
        io_loop.run_in_loop(
            anyio.lowlevel.checkpoint()
        )  # trigger lazy imports now: a fork must not find an import half done

    def exchange(self, url: str, content: bytes, headers: Mapping[str, str]) -> HttpResponse:
        """Return the response to a POST. Raises `TimeoutError` at the deadline, or what httpx raises."""
        return io_loop.run_in_loop(self._exchange(self._client_of_process(), url, content, headers))

    def close(self) -> None:
        """Close the connections, unless they belong to the parent process."""
        if self._pid == os.getpid():
            io_loop.run_in_loop(self._http.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _client_of_process(self) -> httpx.AsyncClient:
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._http, self._pid = _http(), os.getpid()
        return self._http

    async def _exchange(
        self, to: httpx.AsyncClient, url: str, content: bytes, headers: Mapping[str, str]
    ) -> HttpResponse:
        missing = "response"
        try:
            with anyio.fail_after(self.timeout_seconds):
                async with to.stream("POST", url, content=content, headers=headers) as response:
                    missing = "whole response"
                    return HttpResponse(
                        response.status_code,
                        response.reason_phrase,
                        response.headers.get("content-type", "").partition(";")[0].strip().lower(),
                        response.headers.get("retry-after"),
                        await _read(response),
                    )
        except TimeoutError:
            raise TimeoutError(f"no {missing} within {self.timeout_seconds:g} seconds") from None


def client(timeout_seconds: float = TIMEOUT_SECONDS) -> Client:
    """Return a client with persistent connections; proxies come from the environment."""
    return Client(timeout_seconds)


def post(to: Client, url: str, content: bytes, headers: Mapping[str, str]) -> HttpResponse:
    """Return the response to an accepted POST (2xx). Raises `Busy` or `Refused` with the address and the reason."""
    place = redact_url(url)
    try:
        response = to.exchange(url, content, headers)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Refused(f"{place} is not a valid http(s) URL: {type(error).__name__}") from None
    except (httpx.LocalProtocolError, UnicodeEncodeError):
        raise Refused(f"{place}: a header cannot be sent as it is: {', '.join(headers)}") from None
    except TimeoutError as error:
        raise Busy(f"{place}: {error}") from None
    except httpx.HTTPError as error:  # suppress the chain: a request in it has the headers
        raise Busy(f"{place}: {type(error).__name__}: {excerpt(headers, _cause(error))}".rstrip(": ")) from None
    if 200 <= response.status < 300:
        return response
    body = (
        f"more than {MAX_RESPONSE_BYTES >> 10} KiB"
        if response.content is None
        else response.content.decode(errors="replace")
    )
    reason = f"{place}: {response.status} {excerpt(headers, response.reason)}: {excerpt(headers, body)}".rstrip(": ")
    if response.status in RETRYABLE or response.status >= 500:
        raise Busy(reason, _retry_after(response.retry_after))
    raise Refused(reason)


def check_sendable(url: str, headers: Mapping[str, str]) -> None:
    """Raise `NotConfigured` if the address is not a valid http(s) URL, or a header cannot be sent."""
    try:
        parsed = httpx.URL(url)
        usable = parsed.scheme in ("http", "https") and bool(parsed.host)
    except (httpx.InvalidURL, TypeError):
        usable = False
    if not usable:
        raise NotConfigured(f"{redact_url(url)!r} is not a valid URL: use http(s)://HOST…")
    for name, value in headers.items():
        if not (isinstance(value, str) and all(text.isascii() and text.isprintable() for text in (name, value))):
            raise NotConfigured(f"the value of the header {name!r} cannot be sent: it must be printable ASCII")


def redact_url(url: str) -> str:
    """The address without user, password, query and fragment, safe to show and store."""
    try:
        return str(httpx.URL(url).copy_with(username=None, password=None, query=None, fragment=None))
    except (httpx.InvalidURL, TypeError):
        return "the endpoint"


def excerpt(headers: Mapping[str, str], text: str) -> str:
    """The beginning of a response text, as one line: secrets masked, control characters escaped.

    An endpoint may echo the request, and a header may contain a token, as in ``Bearer …``.
    """
    for name, value in headers.items():
        if name.lower() not in PUBLIC_HEADERS:
            for secret in (value, *value.split()):
                text = text.replace(secret, "***") if len(secret) >= 4 else text
    line = " ".join(text[: EXCERPT * 10].split())[:EXCERPT]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _http() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=None,  # noqa: S113 - the deadline is over all of it
        headers={"accept-encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


async def _read(response: httpx.Response) -> bytes | None:
    """The body as in `HttpResponse.content`. The rest is left unread, so the connection is closed."""
    raw = bytearray()
    async for piece in response.aiter_raw():
        raw += piece
        if len(raw) > MAX_RESPONSE_BYTES:
            return None
    match response.headers.get("content-encoding", "").strip().lower():
        case "" | "identity":
            return bytes(raw)
        case "gzip" | "x-gzip" | "deflate":
            try:
                plain = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(bytes(raw), MAX_RESPONSE_BYTES + 1)
            except zlib.error:
                return None
            return plain if len(plain) <= MAX_RESPONSE_BYTES else None
        case _:
            return None


def _cause(error: BaseException) -> str:
    """The text of the root cause, which is more specific than the outermost error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def _retry_after(value: str | None) -> float | None:
    """``Retry-After`` in seconds, from a number or a date; None if it is neither. `Busy` clamps it."""
    if value is None or len(value) > 1000:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        return (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
