"""Forgetting a session: its key, what journals hold of it, and an exact account of what cannot be reached from here."""

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

WAIT_SECONDS = 5.0
"""How long a living recorder has to store and wipe what it holds."""
_NO_MASTER = "none"


class Forgetting(NamedTuple):
    """What was forgotten of a session, and what was not."""

    forgotten_ns: int | None
    """When its key was destroyed, since the epoch; None if it has none, and nothing was done."""
    moved: int
    """Calls from journals that are in the log now, without their content."""
    dropped: int
    """What journals held and the log does not take; erased."""
    remains: list[str]
    """A line for each place that still has content of it, or may; empty if it is gone."""


def is_known(store: Store, session_id: str, journal: Path | None = None) -> bool:
    """Whether there is anything of that name: a session, a key, a tombstone, or calls in a journal."""
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
    """Destroy the session's key, and with it the content of its events, wherever those were copied to.

    What is in the ``journal`` folder (by default the store's) is stored without its content, and erased there; for the
    files of living processes this waits ``wait_seconds`` at most. Order, times and hash chain stay. Again is harmless.
    A session without a key that has readable events is left as it is. Raises `StoreError` if the store is not
    reachable, or may not be written.
    """
    folder = journal or store.journal
    stored = list(_stored(store, session_id))
    key = store.ledger.key(session_id)
    if key is None and (stored or not store.encrypts):
        held = {} if folder is None else count_calls(folder, session_id)
        advice = "let `turnlog recover` store them, then remove the session with `turnlog retention`"
        journals = [f"{path} holds {calls} call(s) of it in the clear; {advice}" for path, calls in held.items()]
        return Forgetting(None, 0, 0, stored + journals + list(_archived(store, session_id)))
    scrubbed = list(_destroy_key(store, session_id))
    done = Erased() if folder is None else erase(store, folder, session_id, wait_seconds)
    left = store.ledger.key(session_id)
    assert left is not None, "a key is never deleted"
    remains = [*scrubbed, *done.remains, *_stored(store, session_id), *_archived(store, session_id)]
    return Forgetting(left.forgotten_ns, done.moved, done.dropped, remains)


def _destroy_key(store: Store, session_id: str) -> Iterator[str]:
    if store.ledger.key(session_id) is None:  # only a journal has it: what is destroyed is the key that it would get
        store.ledger.add_key(Key(session_id, _NO_MASTER, os.urandom(60)))
    try:
        store.ledger.destroy_key(session_id, time.time_ns())
    except StoreUnavailable as error:
        key = store.ledger.key(session_id)
        if key is None or key.wrapped is not None:
            raise
        yield f"the destroyed key may still be in the database's files: {error}"


def _stored(store: Store, session_id: str) -> Iterator[str]:
    hooks: Counter[str] = Counter()
    for _origin, chain in store.chains(session_id):
        hooks.update(linked.event.hook for linked in chain if has_readable_content(linked.event))
    if hooks:
        named = ", ".join(f"{hook} {count}" for hook, count in sorted(hooks.items()))
        yield (
            f"{hooks.total()} event(s) of it were stored in the clear, and stay readable in the database ({named}); "
            f"remove the session with: turnlog retention --session {shlex.quote(session_id)} --no-archive"
        )


def _archived(store: Store, session_id: str) -> Iterator[str]:
    """Archives that tombstones of the session name, and that have readable events of it."""
    of = [r for r in store.ledger.tombstones() if r.session_id == session_id and r.archive]
    for path in sorted({Path(removal.archive) for removal in of}):
        if not path.is_file():
            continue
        try:
            events = [e for _place, found in archive.read_archive(path, seals={r.seal for r in of}) for e in found]
        except TurnlogError as error:
            yield f"the archive {path} may hold content of it, as it cannot be read: {error}"
            continue
        if count := sum(event.session_id == session_id and has_readable_content(event) for event in events):
            yield f"the archive {path} holds {count} readable event(s) of it; delete the file, and copies of it"
