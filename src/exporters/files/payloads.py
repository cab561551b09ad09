"""Analytics payloads as JSON lines, each as the reference sent it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson


def lines(payloads: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Yield one line per payload. Nothing is added: the session id is in it only where the reference put it there."""
    for payload in payloads:
        yield orjson.dumps(payload, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE)
