"""Posting over HTTP, with every outcome told apart: taken, `Busy`, `Refused`. Nothing secret gets into a message."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from exporters.destination import Busy, NotConfigured, Refused

TIMEOUT_SECONDS = 10.0
LONGEST_SECONDS = 86_400.0
"""No longer ``Retry-After`` is believed."""
RETRYABLE = frozenset({408, 425, 429})
"""Of the 4xx; all of the 5xx are."""
PUBLIC_HEADERS = frozenset({"content-type", "content-encoding", "accept", "idempotency-key"})
EXCERPT = 200
"""So many characters of an answer are shown."""


def client(timeout_seconds: float = TIMEOUT_SECONDS) -> httpx.Client:
    """A client that keeps its connections. Proxies come from the environment, as with any tool."""
    return httpx.Client(timeout=timeout_seconds)


def post(to: httpx.Client, url: str, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
    """The answer to a POST that was taken (2xx). Raises `Busy` or `Refused`, naming the place and the reason."""
    place = shown(url)
    try:
        answer = to.post(url, content=content, headers=headers)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise Refused(f"{place} is not an address to post to: {type(error).__name__}") from None
    except (httpx.LocalProtocolError, UnicodeEncodeError):
        raise Refused(f"{place}: a header cannot be sent as it is: {', '.join(headers)}") from None
    except httpx.HTTPError as error:  # never its chain: a request in it has the headers
        raise Busy(f"{place}: {type(error).__name__}: {without_secrets(headers, str(error))}".rstrip(": ")) from None
    if answer.is_success:
        return answer
    reason = f"{place}: {answer.status_code} {answer.reason_phrase}: {without_secrets(headers, answer.text)[:EXCERPT]}"
    reason = " ".join(reason.split()).rstrip(": ")
    if answer.status_code in RETRYABLE or answer.is_server_error:
        raise Busy(reason, _retry_after(answer.headers.get("retry-after")))
    raise Refused(reason)


def check(url: str, headers: Mapping[str, str]) -> None:
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


def _retry_after(value: str | None) -> float | None:
    """Seconds; the header has them, or a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(float(value), LONGEST_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    left = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, left), LONGEST_SECONDS)


def without_secrets(headers: Mapping[str, str], text: str) -> str:
    """An endpoint may answer with what it was sent, and a header may be a token, in words such as ``Bearer …``."""
    for name, value in headers.items():
        if name.lower() not in PUBLIC_HEADERS:
            for secret in (value, *value.split()):
                text = text.replace(secret, "***") if len(secret) >= 4 else text
    return text
