"""Delivery of recorded calls from the log: at least once, in order within a session.

A cursor in the database for each (exporter, session) counts the session's accepted items. It is saved after every
send, so the next delivery, after a crash or a month later, resumes there. Only items sent after the last save are
repeated, and destinations make that harmless with ids or keys derived from the log alone.

A session that is `Refused` is parked with the reason, and others continue. A `Busy` destination is retried; if that
takes too long, the session is left for the next round. After several failures in a row, all others are left as well.
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
"""Maximum number of sessions delivered concurrently."""
QUIET_NS = 600_000_000_000
"""A session without an end and without events for this long counts as over: its process was killed."""
MAX_CONSECUTIVE_FAILURES = 3
"""After this many consecutive failures, no further session is tried in the same round."""


class DeliveryOutcome(NamedTuple):
    """The result of delivering one session."""

    session_id: str
    sent: int = 0
    """Accepted items."""
    parked: str | None = None
    """Reason of the refusal."""
    left: str | None = None
    """Reason why it is left for the next round."""
    unreadable: bool = False
    """The session cannot be replayed, which does not count as a failure of the destination."""
    retry_after_seconds: float | None = None
    work_seconds: float = 0.0
    """CPU time."""


def due_cursors(store: Store, exporter: str, *, parked: bool = False) -> list[Cursor]:
    """The cursors of the sessions with undelivered events, the earliest session first.

    A session without events for `QUIET_NS` is due again: some items wait until a session is quiet.
    With ``parked``, only the parked sessions are returned; else only the others.
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
    """Deliver the sessions and yield each outcome as it completes. ``rules`` defaults to the destination's.

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
    """Counts consecutive failures, and gives up on a destination after `MAX_CONSECUTIVE_FAILURES` of them."""

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
            if self._in_a_row >= MAX_CONSECUTIVE_FAILURES:
                self.given_up = reason


def _session(
    store: Store, to: Destination[Any], cursor: Cursor, rules: str | Rules, patience: Patience, stop: threading.Event
) -> DeliveryOutcome:
    began, sent, parked, left, unreadable, retry_after = time.thread_time(), 0, None, None, False, None
    try:
        for cursor, more in _advance(store, to, cursor, rules, retrying(patience, stop)):  # noqa: B020, PLR1704
            store.ledger.save_cursor(cursor)
            sent += more
    except Refused as error:
        parked = str(error)
        store.ledger.save_cursor(cursor._replace(parked=parked, updated_ns=time.time_ns()))
    except Busy as error:
        left, retry_after = str(error), error.retry_after_seconds
    except CannotReplay as error:
        left, unreadable = str(error), True
    except TurnlogError as error:  # from the store
        left = str(error)
    except Exception as error:
        left = f"{type(error).__name__}: {error}"
        log.exception("session %s cannot be delivered", cursor.session_id)
    return DeliveryOutcome(cursor.session_id, sent, parked, left, unreadable, retry_after, time.thread_time() - began)


def _advance(
    store: Store, to: Destination[Any], cursor: Cursor, rules: str | Rules, retry: Retrying
) -> Iterator[tuple[Cursor, int]]:
    """Send the new items; yield the cursor and the number accepted after each send, and a final cursor at the end."""
    with replaying(cursor.session_id):
        events = list(store.read(cursor.session_id))
        last_ns = max((event.wall_ns for event in events), default=0)
        call = reading(events, rules, ongoing=time.time_ns() - last_ns < QUIET_NS)
    items = to.items(call)
    done, digest = _resume_at(to, items, cursor)
    for at in range(done, len(items), to.batch):
        batch = items[at : at + to.batch]
        retry(to.send, batch)
        _extend(digest, to, batch)
        cursor = cursor._replace(done=at + len(batch), digest=digest.digest(), parked=None, updated_ns=time.time_ns())
        yield cursor, len(batch)
    yield cursor._replace(events=call.events, parked=None, updated_ns=time.time_ns()), 0


def _resume_at(to: Destination[Any], items: Sequence[Any], cursor: Cursor) -> tuple[int, Any]:
    """The number of items already delivered, and their digest.

    It is 0 if those items have changed: earlier events of a different origin arrived late. Then all are sent again.
    """
    digest = sha256()
    _extend(digest, to, items[: cursor.done])
    if len(items) < cursor.done or cursor.digest not in (b"", digest.digest()):
        log.warning("session %s has changed since its delivery to %s; sending it again", cursor.session_id, to.name)
        return 0, sha256()
    return cursor.done, digest


def _extend(digest: Any, to: Destination[Any], items: Iterable[Any]) -> None:
    for item in items:
        digest.update(sha256(to.encode(item)).digest())
