"""What a log endpoint was sent."""

from __future__ import annotations

from typing import Any

from support.http_receiver import Receiver, Request


def bodies(*requests: Request) -> list[Any]:
    """The log lines: a request is one, or an array of them."""
    found = [request.json() for request in requests]
    return [body for one in found for body in (one if isinstance(one, list) else [one])]


def texts(endpoint: Receiver, answer: int = 200) -> list[str]:
    """What was logged, of the requests with that answer."""
    return [body["logText"] for body in bodies(*[one for one in endpoint.requests if one.answer == answer])]
