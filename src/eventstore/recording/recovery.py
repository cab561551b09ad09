"""Recovery: moves calls that dead processes left in a journal folder, or that were set aside, into the store.

A damaged frame affects no other: all readable calls are stored, and the unreadable bytes are kept beside the journal
file, in a file of the same name plus ``.damaged``. Calls that the store refuses for good are set aside.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec

from eventstore.event import Event
from eventstore.recording.journal import SET_ASIDE, SUFFIX, Contents, discard, keep_damaged, left_behind
from eventstore.recording.refused_events import RefusedEvents, append_skipping_refused, set_aside
from eventstore.stores.base import Store

log = logging.getLogger("turnlog")

LIMIT_BYTES = 256 << 20
"""Size limit of a process's journal, and of all set-aside files in a folder."""
_BATCH = 1000


class Recovered(msgspec.Struct):
    """The result of a recovery."""

    moved: int = 0
    """Calls moved into the store."""
    refused: list[RefusedEvents] = []
    """Calls that the store refused; they are set aside."""
    dropped: int = 0
    """Calls that could not be set aside, as the size limit was reached."""
    damaged: list[str] = []
    """One line for each damaged journal file: its name, and how many bytes are kept where."""
    torn: list[str] = []
    """One line for each call cut off while it was written; it had not returned, so this is not damage."""
    left: list[str] = []
    """One line for each file left unchanged: not a journal, or not accessible."""

    @property
    def complete(self) -> bool:
        return not (self.refused or self.dropped or self.damaged or self.left)

    def lines(self) -> Iterator[str]:
        """Messages for the user, one per line."""
        yield from self.torn
        yield from self.damaged
        yield from self.left
        reasons: dict[tuple[str, str], int] = {}
        for part in self.refused:
            key = part.events[0].session_id, str(part.error)
            reasons[key] = reasons.get(key, 0) + len(part.events)
        for (session_id, reason), calls in reasons.items():
            yield f"{calls} call(s) of session {session_id!r} stay set aside: {reason}"
        if self.dropped:
            yield f"{self.dropped} call(s) are dropped, as the set-aside files have reached their size limit"


def recover(store: Store, journal: Path) -> int:
    """Move calls that dead processes left in the ``journal`` folder into the store; returns their number.

    Raises `StoreError`, leaving the files unchanged, if the store is not available. Idempotent, and safe at any time.
    Calls that could not be moved are logged; `recover_all` returns them.
    """
    return recover_all(store, journal).moved


def recover_all(store: Store, journal: Path) -> Recovered:
    """`recover`, with a detailed result."""
    found = Recovered()
    for _step in steps(store, journal, found):
        pass
    return found


def steps(store: Store, journal: Path, found: Recovered, *, unchanged_since: float | None = None) -> Iterator[None]:
    """Recover a folder, one append per step; the result is added to ``found``.

    ``unchanged_since``: retry only set-aside files that were not modified since (seconds since the epoch).
    """
    for suffix in (SET_ASIDE, SUFFIX):  # set-aside first, so that events refused now are not tried twice
        for path, contents in left_behind(journal, suffix, found.left):
            if suffix == SET_ASIDE and unchanged_since is not None and path.stat().st_mtime >= unchanged_since:
                continue
            try:
                if suffix == SUFFIX:
                    yield from _move(store, path, contents, found)
                else:
                    yield from _retry_refused(store, path, contents, found)
            except OSError as error:
                found.left.append(f"cannot process {path}: {error.strerror or error}; it is left unchanged")
                log.error("%s", found.left[-1])


def _move(store: Store, path: Path, contents: Contents, found: Recovered) -> Iterator[None]:
    for batch in _batches(contents.events):
        refused = append_skipping_refused(store, batch)
        for part in refused:
            kept = set_aside(path.parent, part.events, LIMIT_BYTES)
            if kept < len(part.events):
                found.dropped += len(part.events) - kept
                log.error("set-aside files in %s are at their size limit: %d calls dropped", path.parent, found.dropped)
            _report_refused(found, part)
        found.moved += len(batch) - sum(len(part.events) for part in refused)
        yield
    _keep_unreadable(path, contents, found)
    discard(path)


def _retry_refused(store: Store, path: Path, contents: Contents, found: Recovered) -> Iterator[None]:
    refused: list[RefusedEvents] = []
    events = list(dict.fromkeys(contents.events))  # a process killed before it acknowledged them has written duplicates
    for batch in _batches(events):
        refused += append_skipping_refused(store, batch)
        yield
    found.moved += len(events) - sum(len(part.events) for part in refused)
    for part in refused:
        _report_refused(found, part)
    if not refused:
        _keep_unreadable(path, contents, found)
        discard(path)


def _keep_unreadable(path: Path, contents: Contents, found: Recovered) -> None:
    if contents.torn:
        beside = keep_damaged(path, [contents.torn])
        found.torn.append(
            f"{path} ends in a call that was cut off while it was written; its bytes are in {beside.name}"
        )
        log.warning("%s", found.torn[-1])
    if contents.damage:
        beside = keep_damaged(path, contents.damage)
        found.damaged.append(
            f"{path} is damaged in {len(contents.damage)} place(s); these {sum(map(len, contents.damage))} bytes are "
            f"kept in {beside.name}, and the {len(contents.events)} calls that can be read were recovered"
        )
        log.error("%s", found.damaged[-1])


def _report_refused(found: Recovered, part: RefusedEvents) -> None:
    found.refused.append(part)
    log.error("%d call(s) of session %r are set aside: %s", len(part.events), part.events[0].session_id, part.error)


def _batches(events: list[Event]) -> Iterator[list[Event]]:
    return (events[at : at + _BATCH] for at in range(0, len(events), _BATCH))
