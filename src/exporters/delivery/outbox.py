"""Delivering recorded calls: at least once, in order within a session, from the log, at any time.

A cursor in the database for each (exporter, session) says how many of the session's items were taken. It moves after
every send, so that whoever delivers next, after a crash or a month later, goes on there; only what was sent and not yet
noted is sent again, and destinations make that harmless by ids or keys that follow from the log alone.

What is `Refused` parks its session, with the reason, and others go on. What is `Busy` is tried again, and left for the
next round if that takes too long. When several sessions in a row have failed, the others are left for it as well.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha256
from typing import Any, NamedTuple

from tenacity import Retrying

from eventstore.errors import TurnlogError
from eventstore.stores.base import Store
from eventstore.stores.records import Cursor
from exporters.delivery.destination import Busy, Destination, Refused
from exporters.delivery.retry import Patience, retrying
from projections.boundary import CannotReplay, replaying
from projections.readings import reading
from projections.reference.rules import Rules

log = logging.getLogger("turnlog")

WORKERS = 4
"""So many sessions are delivered at the same time."""
QUIET_NS = 600_000_000_000
"""A session without an end to which nothing came for that long goes on no more: its process was killed."""
IN_A_ROW = 3
"""After so many sessions that failed, no other is tried in the same round."""


class DeliveryOutcome(NamedTuple):
    """What became of a session that was due."""

    session_id: str
    sent: int = 0
    """Items that were taken."""
    parked: str | None = None
    """Why they were refused."""
    left: str | None = None
    """Why it is left for the next round."""
    unreadable: bool = False
    """It is left because the session cannot be replayed, which is not the destination's fault."""
    retry_after_seconds: float | None = None
    work_seconds: float = 0.0
    """Of a processor."""


def due(store: Store, exporter: str, *, parked: bool = False) -> list[Cursor]:
    """The cursors of the sessions that have events not delivered yet, the earliest session first.

    A session is due once more when it has been quiet for `QUIET_NS`: then what waited for more events is delivered.
    A parked session is due only if ``parked`` is asked for, and then no other is.
    """
    cursors = {cursor.session_id: cursor for cursor in store.ledger.cursors(exporter)}
    found, now = [], time.time_ns()
    for session in sorted(store.sessions(), key=lambda session: (session.started_ns, session.session_id)):
        cursor = cursors.get(session.session_id, Cursor(exporter, session.session_id))
        quiet_since = session.ended_ns + QUIET_NS
        due_again = cursor.updated_ns < quiet_since <= now
        if (cursor.parked is not None) == parked and (cursor.events != session.events or due_again):
            found.append(cursor)
    return found


def deliver(
    store: Store,
    to: Destination[Any],
    cursors: Iterable[Cursor],
    *,
    rules: str | Rules | None = None,
    patience: Patience = Patience(),  # noqa: B008 - an immutable tuple
    workers: int = WORKERS,
    stop: threading.Event | None = None,
) -> Iterator[DeliveryOutcome]:
    """Deliver the sessions, each outcome as it comes; without ``rules``, under those of the destination.

    Hold `Ledger.exclusive_delivery` meanwhile, or order is not kept.

    Setting ``stop``, or closing the iterator, ends it after the sends that are under way.
    """
    stop = stop or threading.Event()
    failures = _Failures()

    def one(cursor: Cursor) -> DeliveryOutcome:
        if failures.given_up or stop.is_set():
            return DeliveryOutcome(cursor.session_id, left=failures.given_up or "stopped")
        outcome = _session(store, to, cursor, to.rules if rules is None else rules, patience, stop)
        failures.count(outcome)
        return outcome

    with ThreadPoolExecutor(workers, "turnlog-delivery") as pool:
        futures = [pool.submit(one, cursor) for cursor in cursors]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            if not all(future.done() for future in futures):
                stop.set()
                pool.shutdown(cancel_futures=True)


class _Failures:
    """Of sessions in a row: a destination that fails every one of them is not asked for the others."""

    def __init__(self) -> None:
        self.given_up: str | None = None
        self._in_a_row = 0
        self._lock = threading.Lock()

    def count(self, outcome: DeliveryOutcome) -> None:
        with self._lock:
            if outcome.unreadable:
                return
            reason = outcome.left or outcome.parked
            self._in_a_row = self._in_a_row + 1 if reason is not None else 0
            if self._in_a_row >= IN_A_ROW:
                self.given_up = reason


def _session(
    store: Store, to: Destination[Any], cursor: Cursor, rules: str | Rules, patience: Patience, stop: threading.Event
) -> DeliveryOutcome:
    began, sent, parked, left, unreadable, asked = time.thread_time(), 0, None, None, False, None
    try:
        for cursor, more in _advance(store, to, cursor, rules, retrying(patience, stop)):  # noqa: B020, PLR1704
            store.ledger.save_cursor(cursor)
            sent += more
    except Refused as error:
        parked = str(error)
        store.ledger.save_cursor(cursor._replace(parked=parked, updated_ns=time.time_ns()))
    except Busy as error:
        left, asked = str(error), error.retry_after_seconds
    except CannotReplay as error:
        left, unreadable = str(error), True
    except TurnlogError as error:  # of the store
        left = str(error)
    except Exception as error:
        left = f"{type(error).__name__}: {error}"
        log.exception("session %s cannot be delivered", cursor.session_id)
    return DeliveryOutcome(cursor.session_id, sent, parked, left, unreadable, asked, time.thread_time() - began)


def _advance(
    store: Store, to: Destination[Any], cursor: Cursor, rules: str | Rules, retry: Retrying
) -> Iterator[tuple[Cursor, int]]:
    """Send what there is; after each send the cursor and how many were taken, and the cursor once all is sent."""
    with replaying(cursor.session_id):
        events = list(store.read(cursor.session_id))
        last_ns = max((event.wall_ns for event in events), default=0)
        call = reading(events, rules, ongoing=time.time_ns() - last_ns < QUIET_NS)
    items = to.items(call)
    done, digest = _taken(to, items, cursor)
    for at in range(done, len(items), to.batch):
        batch = items[at : at + to.batch]
        retry(to.send, batch)
        _extend(digest, to, batch)
        cursor = cursor._replace(done=at + len(batch), digest=digest.digest(), parked=None, updated_ns=time.time_ns())
        yield cursor, len(batch)
    yield cursor._replace(events=call.events, parked=None, updated_ns=time.time_ns()), 0


def _taken(to: Destination[Any], items: Sequence[Any], cursor: Cursor) -> tuple[int, Any]:
    """How many items need not be sent, and their digest.

    All are sent again if those that were taken are others now: events of another origin have come late, from before.
    """
    digest = sha256()
    _extend(digest, to, items[: cursor.done])
    if len(items) < cursor.done or cursor.digest not in (b"", digest.digest()):
        log.warning("session %s is not what was delivered to %s: it is sent again", cursor.session_id, to.name)
        return 0, sha256()
    return cursor.done, digest


def _extend(digest: Any, to: Destination[Any], items: Iterable[Any]) -> None:
    for item in items:
        digest.update(sha256(to.encode(item)).digest())
