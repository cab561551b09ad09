"""What a place that calls are delivered to has to offer; `exporters.delivery.outbox` does the rest.

A destination turns a call into items in an order that only grows at its end while the call goes on, and sends them.
It keeps no state between sends, retries nothing and swallows nothing: it says `Busy` or `Refused`.
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
"""No longer wait is granted to the other side, whatever it asks for: then it is tried again."""


class NotConfigured(TurnlogError):
    """A destination cannot be used as it is configured: an address, a header, or a token that is missing."""


class Busy(TurnlogError):
    """Not taken now; trying again may help."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        """``retry_after_seconds`` is what the other side asked for: any number. It is kept within `LONGEST_SECONDS`."""
        super().__init__(message)
        asked = math.nan if retry_after_seconds is None else retry_after_seconds
        self.retry_after_seconds = None if math.isnan(asked) else min(max(asked, 0.0), LONGEST_SECONDS)


class Refused(TurnlogError):
    """Not taken, and never will be as it is."""


class Destination(Protocol[Item]):
    """Safe to use from several threads at once."""

    name: str
    """Of its cursors: the kind and the endpoint, without anything secret. A new name starts from the beginning."""
    rules: str
    """The rule set that it is delivered under, if no other is given."""
    batch: int
    """At most so many items go in one send."""

    def items(self, call: Call | Reading) -> Sequence[Item]:
        """All that there is to send of the call so far, in the order in which it is to arrive."""
        ...

    def encode(self, item: Item) -> bytes:
        """The item's content: the same for the same item, at any time and in any process."""
        ...

    def send(self, items: Sequence[Item]) -> None:
        """Send consecutive items of one call. Raises `Busy` or `Refused`; then all of them may be sent again."""
        ...

    def close(self) -> None: ...
