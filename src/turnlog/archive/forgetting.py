"""Forgetting a session: destroy its key, erase it from journals, and report where readable content remains."""

from __future__ import annotations

import os
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from eventstore.errors import StoreUnavailable, TurnlogError
from eventstore.recording.forget_files import Erased, count_calls, erase
from eventstore.stores.base import Store
from eventstore.stores.encrypted import has_readable_content
from eventstore.stores.records import Key
from turnlog.archive import files as archive
from turnlog.read_models.cache import delete_cached

WAIT_SECONDS = 5.0
"""Time given to running recorders to store and wipe their journals."""
_NO_MASTER = "none"


class Forgetting(NamedTuple):
    """The result of forgetting a session."""

    forgotten_ns: int | None
    """When its key was destroyed, since the epoch; None if it has no key, so nothing was done."""
    moved: int
    """Number of calls moved from journals to the log, without their content."""
    dropped: int
    """Number of calls in journals that the log does not accept; erased."""
    remains: list[str]
    """A line for each place that has, or may have, readable content; empty if none has."""


def is_known(store: Store, session_id: str, journal: Path | None = None) -> bool:
    """True if the name has a session, a key, a tombstone or calls in a journal."""
    folder = journal or store.journal
    return (
        store.ledger.key(session_id) is not None
        or any(session.session_id == session_id for session in store.sessions())
        or any(removal.session_id == session_id for removal in store.ledger.tombstones())
        or (folder is not None and bool(count_calls(folder, session_id)))
    )


def forget(
    store: Store, session_id: str, *, journal: Path | None = None, wait_seconds: float = WAIT_SECONDS
) -> Forgetting:
    """Destroy the session's key, and with it the content of its events in all copies.

    Calls in the ``journal`` folder (default: the store's) are stored without their content and erased there; the files
    of running processes are waited for, up to ``wait_seconds``. Order, times and hash chain are kept. Idempotent.
    A session without a key that has readable events is left unchanged. Raises `StoreError` if the store is unreachable
    or read-only.
    """
    folder = journal or store.journal
    stored = list(_readable_events(store, session_id))
    key = store.ledger.key(session_id)
    if key is None and (stored or not store.encrypts):
        held = {} if folder is None else count_calls(folder, session_id)
        advice = "let `turnlog recover` store them, then remove the session with `turnlog retention`"
        journals = [f"{path} holds {calls} call(s) of it in the clear; {advice}" for path, calls in held.items()]
        return Forgetting(None, 0, 0, stored + journals + list(_readable_archives(store, session_id)))
    scrubbed = list(_destroy_key(store, session_id))
    delete_cached(store, session_id)
    done = Erased() if folder is None else erase(store, folder, session_id, wait_seconds)
    left = store.ledger.key(session_id)
    assert left is not None, "a key is never deleted"
    remains = [*scrubbed, *done.remains, *_readable_events(store, session_id), *_readable_archives(store, session_id)]
    return Forgetting(left.forgotten_ns, done.moved, done.dropped, remains)


def _destroy_key(store: Store, session_id: str) -> Iterator[str]:
    if store.ledger.key(session_id) is None:  # only a journal has it: destroy the key that it would get
        store.ledger.add_key(Key(session_id, _NO_MASTER, os.urandom(60)))
    try:
        store.ledger.destroy_key(session_id, time.time_ns())
    except StoreUnavailable as error:
        key = store.ledger.key(session_id)
        if key is None or key.wrapped is not None:
            raise
        yield f"the destroyed key may still be in the database's files: {error}"


def _readable_events(store: Store, session_id: str) -> Iterator[str]:
    hooks: Counter[str] = Counter()
    for _origin, chain in store.chains(session_id):
        hooks.update(linked.event.hook for linked in chain if has_readable_content(linked.event))
    if hooks:
        names = ", ".join(f"{hook} {count}" for hook, count in sorted(hooks.items()))
        yield (
            f"{hooks.total()} event(s) of it were stored in the clear, and stay readable in the database ({names}); "
            f"remove the session with: turnlog retention --session {shlex.quote(session_id)} --no-archive"
        )


def _readable_archives(store: Store, session_id: str) -> Iterator[str]:
    """Report the archives named in the session's tombstones that have readable events of it."""
    removals = [r for r in store.ledger.tombstones() if r.session_id == session_id and r.archive]
    seals = {removal.seal for removal in removals}
    for path in sorted({Path(removal.archive) for removal in removals}):
        if not path.is_file():
            continue
        try:
            events = [event for _name, found in archive.read_archive(path, seals=seals) for event in found]
        except TurnlogError as error:
            yield f"the archive {path} may hold content of it, as it cannot be read: {error}"
            continue
        if count := sum(event.session_id == session_id and has_readable_content(event) for event in events):
            yield f"the archive {path} holds {count} readable event(s) of it; delete the file, and copies of it"
