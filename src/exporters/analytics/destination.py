"""Analytics payloads over HTTP: one POST per turn, routed as the reference's ``AnalyticsClient`` does.

A body is ``{"data": [payload]}``, in UTF-8 and without spaces. The reference writes ``NaN`` and ``Infinity``, which is
not valid JSON; here they are null. Two things differ from the reference: outcomes are classified
(`exporters.delivery.http`), and every request has an ``Idempotency-Key`` that a repeated request repeats, so that an
endpoint which supports it stores a turn once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from exporters.delivery.destination import NotConfigured, Refused
from exporters.delivery.http import TIMEOUT_SECONDS, Client, check_sendable, client, post, redact_url
from projections.caller import Reading
from projections.readings import DROP_IN
from projections.reference.replay import Call

BASE_URL = "https://api.videosdk.live"
"""Base URL of the VideoSDK API ("the vendor" below)."""
TOKEN = "VIDEOSDK_AUTH_TOKEN"  # noqa: S105 - a variable's name
"""Environment variable with the vendor's token."""


class Post(NamedTuple):
    """A payload to be sent to one endpoint; contains no secrets."""

    to_vendor: bool
    session_id: str
    """The vendor's session id; empty if unknown."""
    body: bytes
    key: str
    """Idempotency key: unique per post, and the same whenever it is made again."""


@dataclass(frozen=True)
class Routing:
    """Where turns are sent. The first four fields are the vendor's token and the reference's ``MetricsOptions``."""

    token: str | None = field(default=None, repr=False)
    enabled: bool = True
    export_url: str | None = field(default=None, repr=False)
    """A custom endpoint. It gets all turns, and the vendor none."""
    export_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    vendor_first_turn: bool = False
    """The reference's rule: a call's first turn is sent to the vendor, even if metrics are off or go elsewhere."""
    base_url: str = BASE_URL

    def posts(self, number: int, payload: dict[str, Any], log_name: str, session_id: str) -> Iterator[Post]:
        """The posts of a call's ``number``-th payload, from 1. Raises `Refused` if it cannot be encoded as JSON.

        The key is derived from ``log_name`` and ``number``; ``session_id`` is the vendor's.
        """
        try:
            body = orjson.dumps({"data": [payload]}, option=orjson.OPT_NON_STR_KEYS)
        except TypeError as error:  # orjson.JSONEncodeError is one
            raise Refused(f"payload {number} of session {log_name!r} cannot be written as JSON: {error}") from None
        identity = f"{log_name}\0{number}\0".encode(errors="surrogatepass")
        key = hashlib.blake2b(identity + body, digest_size=16).hexdigest()
        for to_vendor in self._targets(number):
            yield Post(to_vendor, session_id, body, key)

    def send(self, to: Client, posted: Post) -> None:
        """Send one post. Raises `Busy` or `Refused`."""
        if posted.to_vendor:
            if not posted.session_id:
                raise Refused("the session has no id to send its analytics under: call set_session_id first")
            url, headers = vendor_url(self.base_url, posted.session_id), {"authorization": self.token or ""}
        else:
            url, headers = self.export_url or "", {name.lower(): value for name, value in self.export_headers.items()}
        key = {"idempotency-key": posted.key}
        post(to, url, posted.body, {"content-type": "application/json"} | headers | key)

    def _targets(self, number: int) -> Iterator[bool]:
        """Yield True for the vendor and False for the custom endpoint, the vendor first."""
        own = self.enabled and bool(self.export_url)
        if (self.vendor_first_turn and number == 1) or (self.enabled and not own):
            yield True
        if own:
            yield False


def routing(
    *,
    token: str | None = None,
    enabled: bool = True,
    export_url: str | None = None,
    export_headers: Mapping[str, str] | None = None,
    vendor_first_turn: bool = False,
    base_url: str = BASE_URL,
) -> Routing:
    """Return a validated `Routing`. ``token`` defaults to that of the environment. Raises `NotConfigured`."""
    own = enabled and bool(export_url)
    needs_token = vendor_first_turn or (enabled and not own)
    token = (token or os.environ.get(TOKEN) or "").strip() or None
    if needs_token and token is None:
        raise NotConfigured(
            f"no token for {redact_url(base_url)}: set {TOKEN}, or name your own endpoint (--endpoint, export_url=)"
        )
    headers = dict(export_headers or {})
    for url in [base_url] * needs_token + [export_url or ""] * own:
        check_sendable(url, headers | {"authorization": token or ""})
    return Routing(token, enabled, export_url, headers, vendor_first_turn, base_url.rstrip("/"))


def vendor_url(base_url: str, session_id: str) -> str:
    """The vendor's endpoint for a session, whose id is escaped to one path segment."""
    segment = quote(session_id, safe="", errors="replace")
    if segment in (".", ".."):  # relative segments
        segment = segment.replace(".", "%2E")
    return f"{base_url}/v2/sessions/{segment}/agent-analytics"


class Analytics:
    """A `Destination` for analytics payloads; its items are `Post`s, sent one at a time.

    The vendor's session id is the framework's, else the payload's ``sessionId``, else the session's name in the log.
    """

    batch = 1
    rules = DROP_IN

    def __init__(self, routing: Routing, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._routing = routing
        self._client = client(timeout_seconds)
        self.name = _name(routing)

    def items(self, call: Call | Reading) -> Sequence[Post]:
        """Raises `Refused` for a payload that cannot be written as JSON."""
        return [
            posted
            for number, payload in enumerate(call.payloads, 1)
            for posted in self._routing.posts(number, payload, call.session_name, _session_id(call, payload))
        ]

    def encode(self, item: Post) -> bytes:
        return item.body

    def send(self, items: Sequence[Post]) -> None:
        for item in items:
            self._routing.send(self._client, item)

    def close(self) -> None:
        self._client.close()


def _session_id(call: Call | Reading, payload: dict[str, Any]) -> str:
    return str(call.session.session_id or payload.get("sessionId") or call.session_name)


def _name(routing: Routing) -> str:
    """The cursor name; routings that produce different items have different names."""
    vendor = redact_url(routing.base_url)
    if not routing.enabled:
        return f"analytics {vendor} (first turn)" if routing.vendor_first_turn else "analytics (off)"
    if not routing.export_url:
        return f"analytics {vendor}"
    first = f" (first turn also {vendor})" if routing.vendor_first_turn else ""
    return f"analytics {redact_url(routing.export_url)}{first}"
