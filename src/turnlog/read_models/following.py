"""Rows kept up to date while calls are recorded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from eventstore.errors import StoreUnavailable
from eventstore.stores.base import Session, Store
from turnlog.read_models.refresh import Plan, plan

LOOK_SECONDS = 2.0
"""How often changes are looked for."""
QUIET_SECONDS = 5.0
"""Without new events for this long, a session is replayed; before that it would soon be stale again."""


def follow(
    store: Store,
    choose: Callable[[], Sequence[Session]],
    rules: str,
    replay: Callable[[Plan], set[str]],
    stop: threading.Event,
    on_unavailable: Callable[[StoreUnavailable], object],
) -> None:
    """Replay each of the sessions that has changed, once it is quiet, until ``stop`` is set.

    ``replay`` makes and stores the rows of a plan, and returns the sessions that failed; they are tried again once they
    have changed. The heads of all sessions are one query, while `Store.follow` would begin with every event of the log.
    """
    changed: dict[str, tuple[str, float]] = {}
    """By stale session: its seal, and when that was first seen."""
    failed: dict[str, str] = {}
    """Seals of sessions that could not be replayed."""
    while not stop.wait(LOOK_SECONDS):
        try:
            planned = plan(store, choose(), rules)
            changed = {
                session.session_id: _first_seen(planned.keys[session.session_id].seal, changed.get(session.session_id))
                for session in planned.stale
            }
            quiet = [s for s in planned.stale if _is_due(changed[s.session_id], failed.get(s.session_id))]
            if quiet:
                unreadable = replay(planned._replace(sessions=quiet, stale=quiet))
                failed |= {name: changed[name][0] for name in unreadable}
        except StoreUnavailable as error:
            on_unavailable(error)


def _first_seen(seal: str, before: tuple[str, float] | None) -> tuple[str, float]:
    return before if before is not None and before[0] == seal else (seal, time.monotonic())


def _is_due(changed: tuple[str, float], failed: str | None) -> bool:
    seal, since = changed
    return seal != failed and time.monotonic() - since >= QUIET_SECONDS
