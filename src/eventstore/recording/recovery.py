"""Bringing into the store what dead processes left in a journal folder, and what was set aside there.

A damaged frame costs itself alone: all that can be read is stored, and the bytes that cannot are kept in a file beside
the journal file, of the same name with ``.damaged`` behind it. What the store refuses for good is set aside.
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
"""The bound of a process's journal, and of all that is set aside in a folder."""
_BATCH = 1000


class Recovered(msgspec.Struct):
    """What came of a recovery."""

    moved: int = 0
    """Calls that are in the store now."""
    refused: list[RefusedEvents] = []
    """What the store does not take; it is set aside."""
    dropped: int = 0
    """Calls that could not be set aside, as what is there has reached the bound."""
    damaged: list[str] = []
    """A line for each journal file that could not be read in whole: its name, and how much of it is kept where."""
    torn: list[str] = []
    """A line for each call that was cut off while it was written; it had not returned, so that is no damage."""
    left: list[str] = []
    """A line for each file that was left as it is: what is no journal, or cannot be opened."""

    @property
    def complete(self) -> bool:
        return not (self.refused or self.dropped or self.damaged or self.left)

    def lines(self) -> Iterator[str]:
        """What has to be said, one thing a line."""
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
            yield f"{self.dropped} call(s) are dropped, as what is set aside has reached its bound"


def recover(store: Store, journal: Path) -> int:
    """Move what dead processes left in the ``journal`` folder into the store; returns how many calls that were.

    Raises `StoreError` if the store takes nothing now; the files then stay as they are. Safe to run at any time and
    twice. What could not be moved is in the log; `recover_all` returns it.
    """
    return recover_all(store, journal).moved


def recover_all(store: Store, journal: Path) -> Recovered:
    """As `recover`, returning all that there is to say."""
    found = Recovered()
    for _step in steps(store, journal, found):
        pass
    return found


def steps(store: Store, journal: Path, found: Recovered, *, unchanged_since: float | None = None) -> Iterator[None]:
    """The recovery of a folder, one append at a time; what it did is added to ``found``.

    ``unchanged_since``: of what was set aside, only what has not grown since (seconds since the epoch) is tried again.
    """
    for suffix in (SET_ASIDE, SUFFIX):  # what is refused now need not be tried twice
        for path, contents in left_behind(journal, suffix, found.left):
            if suffix == SET_ASIDE and unchanged_since is not None and path.stat().st_mtime >= unchanged_since:
                continue
            try:
                if suffix == SUFFIX:
                    yield from _move(store, path, contents, found)
                else:
                    yield from _retry_refused(store, path, contents, found)
            except OSError as error:
                found.left.append(f"cannot keep what is left of {path}: {error.strerror or error}; it stays as it is")
                log.error("%s", found.left[-1])


def _move(store: Store, path: Path, contents: Contents, found: Recovered) -> Iterator[None]:
    for batch in _batches(contents.events):
        refused = append_skipping_refused(store, batch)
        for part in refused:
            kept = set_aside(path.parent, part.events, LIMIT_BYTES)
            if kept < len(part.events):
                found.dropped += len(part.events) - kept
                log.error("what is set aside in %s is at its bound: %d calls dropped", path.parent, found.dropped)
            _report_refused(found, part)
        found.moved += len(batch) - sum(len(part.events) for part in refused)
        yield
    _keep_unreadable(path, contents, found)
    discard(path)


def _retry_refused(store: Store, path: Path, contents: Contents, found: Recovered) -> Iterator[None]:
    refused: list[RefusedEvents] = []
    events = list(dict.fromkeys(contents.events))  # a process killed between setting aside and acknowledging repeats
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
