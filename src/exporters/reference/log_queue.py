"""Log records between the threads that log and the one that sends: bounded, counted, never waiting for a network."""

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
    """What became of the records."""

    sent: int
    waiting: int
    """Not sent yet, those that are on their way included."""
    dropped: int
    """Lost: the oldest at the bound, those that nobody sent before `LogManager.stop` had to return, and any that
    could not be put into words."""
    refused: int
    """Not taken by the endpoint, for good."""
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where records go. Nothing of it is shown, as it has tokens."""

    url: str = field(default="", repr=False)
    jwt_key: str = field(default="", repr=False)
    custom_headers: Mapping[str, str] | None = field(default=None, repr=False)

    def headers(self) -> dict[str, str]:
        return headers(self.jwt_key, self.custom_headers)


class LogQueue:
    """Bodies of log records, in order. After a fork, the child's is empty."""

    def __init__(self, limit: int, enough: int) -> None:
        """At ``limit`` records the oldest are dropped; ``enough`` are worth sending at once."""
        self.limit, self.enough = limit, enough
        self.endpoint = Endpoint()
        self.last_error: str | None = None
        self._sent = self._dropped = self._refused = 0
        self._round = 0
        self._reset()
        _queues.add(self)

    def _reset(self) -> None:
        self._changed = threading.Condition()  # on an RLock: a signal's handler may log, too
        self._waiting: deque[bytes] = deque()
        self._taken = 0
        self._closing = False

    # the threads that log --------------------------------------------------------------------------------------

    def put_nowait(self, body: bytes) -> None:
        with self._changed:
            self._waiting.append(body)
            if len(self._waiting) + self._taken > self.limit:
                self._waiting.popleft()
                self._dropped += 1
            if len(self._waiting) in (1, self.enough):
                self._changed.notify()

    def lose(self, why: str) -> None:
        """A record that could not be made."""
        with self._changed:
            self._dropped += 1
            self.last_error = why

    def set_endpoint(self, url: str, jwt_key: str, custom_headers: Mapping[str, str] | None) -> None:
        """A key or headers that are not given stay as they were (reference: ``update_endpoint``)."""
        with self._changed:
            known = self.endpoint
            self.endpoint = Endpoint(url, jwt_key or known.jwt_key, custom_headers or known.custom_headers)
            self._changed.notify()

    @property
    def health(self) -> LogHealth:
        with self._changed:
            waiting = len(self._waiting) + self._taken
            return LogHealth(self._sent, waiting, self._dropped, self._refused, self.last_error)

    # the thread that sends, one at a time: each has a round of its own -------------------------------------------

    def open(self) -> int:
        """Begin a round of sending, and return its number."""
        with self._changed:
            self._closing = False
            self._round += 1
            return self._round

    def take(self, number: int, interval_seconds: float) -> list[bytes]:
        """The oldest records, once there are enough or the first has waited for the interval, and an endpoint.

        Empty when the round is over.
        """
        since: float | None = None
        with self._changed:
            while number == self._round:
                there = len(self._waiting) if self.endpoint.url else 0
                if self._closing and not there:
                    break
                if there and since is None:
                    since = time.monotonic()
                left = None if since is None else since + interval_seconds - time.monotonic()
                if there and (there >= self.enough or self._closing or (left is not None and left <= 0)):
                    self._taken = min(there, self.enough)
                    return [self._waiting.popleft() for _ in range(self._taken)]
                self._changed.wait(left if there else None)
        return []

    def settle(self, number: int, records: int, refused: str | None = None) -> None:
        """That many of those taken were sent, or were refused for this reason."""
        with self._changed:
            if number != self._round:
                return  # too late: they have been counted as dropped
            self._taken -= records
            if refused is None:
                self._sent += records
            else:
                self._refused += records
                self.last_error = refused

    def pause(self, number: int, seconds: float, closing: bool) -> None:
        """Wait so long. If the round was not closing before, no longer than until it is: there may be no later."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing != closing or number != self._round, seconds)

    def close(self) -> None:
        """The round ends when what there is has been sent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def abandon(self) -> int:
        """End the round now. What is left is dropped; returns how many that are."""
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
    """The records are the parent's to send, and a lock may have been held by one of its threads."""
    for queue in list(_queues):
        queue._reset()


os.register_at_fork(after_in_child=_after_fork)
