"""A bounded queue of log records between the logging threads and the sending one; it never waits for the network."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from exporters.logs.body import headers


class LogHealth(NamedTuple):
    """Counts of log records."""

    sent: int
    waiting: int
    """Queued or in transit."""
    dropped: int
    """Lost: the oldest at the limit, those not sent when `LogManager.stop` returned, and those that could not be
    formatted."""
    refused: int
    """Rejected by the endpoint for good."""
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The log endpoint. Its repr is empty, as the fields contain tokens."""

    url: str = field(default="", repr=False)
    jwt_key: str = field(default="", repr=False)
    custom_headers: Mapping[str, str] | None = field(default=None, repr=False)

    def headers(self) -> dict[str, str]:
        return headers(self.jwt_key, self.custom_headers)


class LogQueue:
    """A queue of log record bodies. After a fork, the child's is empty."""

    def __init__(self, limit: int, batch: int) -> None:
        """Beyond ``limit`` records the oldest are dropped; ``batch`` of them are sent without waiting for more."""
        self.limit, self.batch = limit, batch
        self.endpoint = Endpoint()
        self.last_error: str | None = None
        self._sent = self._dropped = self._refused = 0
        self._round = 0
        self._reset()
        _queues.add(self)

    def _reset(self) -> None:
        self._changed = threading.Condition()  # on an RLock: a signal handler may log, too
        self._waiting: deque[bytes] = deque()
        self._taken = 0
        self._closing = False

    # called by the logging threads -----------------------------------------------------------------------------

    def put_nowait(self, body: bytes) -> None:
        with self._changed:
            self._waiting.append(body)
            if len(self._waiting) + self._taken > self.limit:
                self._waiting.popleft()
                self._dropped += 1
            if len(self._waiting) in (1, self.batch):
                self._changed.notify()

    def count_lost(self, reason: str) -> None:
        """Count a record that could not be formatted."""
        with self._changed:
            self._dropped += 1
            self.last_error = reason

    def set_endpoint(self, url: str, jwt_key: str, custom_headers: Mapping[str, str] | None) -> None:
        """Set the endpoint; an empty key or headers keep their old value (reference: ``update_endpoint``)."""
        with self._changed:
            known = self.endpoint
            self.endpoint = Endpoint(url, jwt_key or known.jwt_key, custom_headers or known.custom_headers)
            self._changed.notify()

    @property
    def health(self) -> LogHealth:
        with self._changed:
            waiting = len(self._waiting) + self._taken
            return LogHealth(self._sent, waiting, self._dropped, self._refused, self.last_error)

    # called by the sending thread; each one has its own round ----------------------------------------------------

    def open(self) -> int:
        """Begin a round of sending; return its number."""
        with self._changed:
            self._closing = False
            self._round += 1
            return self._round

    def take(self, number: int, interval_seconds: float) -> list[bytes]:
        """Wait for a full batch or for the interval, and for an endpoint; return the oldest records.

        Returns an empty list when the round is over.
        """
        since: float | None = None
        with self._changed:
            while number == self._round:
                ready = len(self._waiting) if self.endpoint.url else 0
                if self._closing and not ready:
                    break
                if ready and since is None:
                    since = time.monotonic()
                left = None if since is None else since + interval_seconds - time.monotonic()
                if ready and (ready >= self.batch or self._closing or (left is not None and left <= 0)):
                    self._taken = min(ready, self.batch)
                    return [self._waiting.popleft() for _ in range(self._taken)]
                self._changed.wait(left if ready else None)
        return []

    def settle(self, number: int, records: int, refused: str | None = None) -> None:
        """Count records of the current batch as sent, or as refused with the reason."""
        with self._changed:
            if number != self._round:
                return  # already counted as dropped
            self._taken -= records
            if refused is None:
                self._sent += records
            else:
                self._refused += records
                self.last_error = refused

    def pause(self, number: int, seconds: float, closing: bool) -> None:
        """Sleep for a retry; wake up early when the round starts closing or ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing != closing or number != self._round, seconds)

    def close(self) -> None:
        """End the round once the queued records have been sent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def abandon(self) -> int:
        """End the round now and drop what is left; return the number of dropped records."""
        with self._changed:
            lost = len(self._waiting) + self._taken
            self._waiting.clear()
            self._taken = 0
            self._dropped += lost
            self._round += 1
            self._changed.notify_all()
            return lost


_queues: weakref.WeakSet[LogQueue] = weakref.WeakSet()


def _after_fork() -> None:
    """Empty the queues: the parent sends their records, and one of its threads may have held a lock."""
    for queue in list(_queues):
        queue._reset()  # noqa: SLF001 - its own fork handlers


os.register_at_fork(after_in_child=_after_fork)
