"""Continuous delivery while calls are in progress.

`follow` reads the log, not the recorder, so a slow or dead receiver costs the recording nothing, and what a crashed
agent left undelivered is delivered by the next follower. It runs in a process of its own (``turnlog deliver
--follow``), or in the agent's process with `attach`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from eventstore.errors import TurnlogError
from eventstore.stores.base import Store
from exporters.delivery.destination import Destination
from exporters.delivery.outbox import WORKERS, DeliveryOutcome, deliver, due_cursors
from exporters.delivery.retry import Patience
from projections.reference.rules import Rules

log = logging.getLogger("turnlog")

REST_SECONDS = 1.0
"""Polling interval."""
WORK_SHARE = 0.1
"""Maximum share of one CPU, so that an agent in the same process is not slowed down."""


def follow(
    store: Store,
    to: Destination[Any],
    *,
    rules: str | Rules | None = None,
    patience: Patience = Patience(),  # noqa: B008 - an immutable tuple
    workers: int = WORKERS,
    stop: threading.Event,
    on_outcome: Callable[[DeliveryOutcome], None] = lambda _outcome: None,
) -> None:
    """Deliver new items, again and again, until ``stop`` is set. Failures are logged and retried.

    Only one process delivers to a destination at a time; the others wait to take over.
    """
    last_problem = ""
    while not stop.is_set():
        began, work, rest = time.thread_time(), 0.0, REST_SECONDS
        problem = ""
        try:
            with store.ledger.exclusive_delivery(to.name):
                for outcome in deliver(
                    store, to, due_cursors(store, to.name), rules=rules, patience=patience, workers=workers, stop=stop
                ):
                    on_outcome(outcome)
                    if outcome.parked is not None:
                        log.warning("session %s is parked: %s", outcome.session_id, outcome.parked)
                    problem = outcome.left or problem
                    work += outcome.work_seconds
                    rest = max(rest, outcome.retry_after_seconds or 0.0)
        except TurnlogError as error:
            problem = str(error)
        if problem and problem != last_problem and not stop.is_set():
            log.warning("delivery to %s is postponed: %s", to.name, problem)
        last_problem = problem
        work += time.thread_time() - began
        stop.wait(max(rest, work * (1 / WORK_SHARE - 1)))


class DeliveryHealth(NamedTuple):
    """Counters of an attached delivery."""

    sent: int
    """Accepted items."""
    parked: int
    """Refused sessions."""
    last_error: str | None


class Attached:
    """Background delivery: one thread per destination, until `close`."""

    def __init__(
        self, store: Store, destinations: tuple[Destination[Any], ...], rules: str | Rules | None, patience: Patience
    ) -> None:
        self._store, self._rules, self._patience = store, rules, patience
        self._stop, self._ends = threading.Event(), 0.0
        self._lock = threading.Lock()
        self._sent = self._parked = 0
        self._last_error: str | None = None
        self._unfinished = {to.name for to in destinations}
        self._threads = [
            threading.Thread(target=self._run, args=(to,), name="turnlog-delivery", daemon=True) for to in destinations
        ]
        for thread in self._threads:
            thread.start()

    @property
    def health(self) -> DeliveryHealth:
        return DeliveryHealth(self._sent, self._parked, self._last_error)

    def close(self, timeout: float = 10.0) -> bool:
        """Deliver what is in the store now, and close the destinations; True if nothing is left.

        What is not delivered within ``timeout`` seconds is left to the next follower or ``turnlog deliver``.
        """
        self._ends = time.monotonic() + timeout
        self._stop.set()
        for thread in self._threads:
            thread.join(max(0.0, self._ends - time.monotonic()) + 0.1)
        return not self._unfinished

    def _run(self, to: Destination[Any]) -> None:
        follow(
            self._store,
            to,
            rules=self._rules,
            patience=self._patience,
            workers=1,
            stop=self._stop,
            on_outcome=self._count,
        )
        left = self._ends - time.monotonic()
        if left > 0 and self._finish(to, left):  # after the timeout, the store may be closed
            self._unfinished.discard(to.name)
        to.close()

    def _finish(self, to: Destination[Any], seconds: float) -> bool:
        stop = threading.Event()
        timer = threading.Timer(seconds, stop.set)
        timer.start()
        try:
            with self._store.ledger.exclusive_delivery(to.name):
                cursors, patience = due_cursors(self._store, to.name), Patience(first=0.1, in_all=seconds)
                rest = deliver(self._store, to, cursors, rules=self._rules, patience=patience, workers=1, stop=stop)
                outcomes = list(rest)
        except TurnlogError as error:
            log.warning("the last items were not delivered to %s: %s", to.name, error)
            return False
        finally:
            timer.cancel()
        for outcome in outcomes:
            self._count(outcome)
        return not any(outcome.left for outcome in outcomes)

    def _count(self, outcome: DeliveryOutcome) -> None:
        with self._lock:
            self._sent += outcome.sent
            self._parked += outcome.parked is not None
            self._last_error = outcome.left or outcome.parked or self._last_error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def attach(
    store: Store,
    *destinations: Destination[Any],
    rules: str | Rules | None = None,
    patience: Patience = Patience(),  # noqa: B008 - an immutable tuple
) -> Attached:
    """Deliver all calls of the store to the destinations, in threads of this process, until the result is closed.

    Close it after the recorders, which hold events that are not stored yet. A forked child has no delivery threads.
    """
    return Attached(store, destinations, rules, patience)
