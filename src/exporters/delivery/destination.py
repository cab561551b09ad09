"""The `Destination` protocol and its errors; cursors, order and retries are in `exporters.delivery.outbox`.

A destination turns a call into items, whose sequence only grows at its end while the call goes on, and sends them.
It keeps no state between sends, retries nothing and swallows nothing: it raises `Busy` or `Refused`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

from eventstore.errors import TurnlogError
from projections.caller import Reading
from projections.reference.replay import Call

Item = TypeVar("Item")

LONGEST_SECONDS = 3600.0
"""Upper bound for ``Retry-After``, in seconds."""


class NotConfigured(TurnlogError):
    """The destination's configuration is unusable: a bad address or header, or a missing token."""


class Busy(TurnlogError):
    """The destination did not accept the items now; a retry may succeed."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        """``retry_after_seconds`` is the receiver's request; it is clamped to 0 … `LONGEST_SECONDS`."""
        super().__init__(message)
        requested = math.nan if retry_after_seconds is None else retry_after_seconds
        self.retry_after_seconds = None if math.isnan(requested) else min(max(requested, 0.0), LONGEST_SECONDS)


class Refused(TurnlogError):
    """The destination rejected the items for good; a retry cannot succeed."""


class Destination(Protocol[Item]):
    """A receiver of calls. Implementations are thread-safe."""

    name: str
    """Cursor name: kind and endpoint, without secrets. A new name starts from the beginning."""
    rules: str
    """The default rule set."""
    batch: int
    """Maximum number of items per send."""

    def items(self, call: Call | Reading) -> Sequence[Item]:
        """All items of the call so far, in sending order."""
        ...

    def encode(self, item: Item) -> bytes:
        """The item's content, stable over time and across processes."""
        ...

    def send(self, items: Sequence[Item]) -> None:
        """Send consecutive items of one call. Raises `Busy` or `Refused`; all of them may then be sent again."""
        ...

    def close(self) -> None: ...
