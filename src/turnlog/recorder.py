"""The recorder with live reads: `eventstore.Recorder`, with a fold of its log on demand."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable
from typing import cast

from eventstore.errors import StoreError
from eventstore.event import Event
from eventstore.recording.backlog import Backlog, Pending, as_event
from eventstore.recording.recorder import Recorder as PlainRecorder
from eventstore.stores.base import Store
from projections.model import SessionDetails
from projections.reference.fold import begin, fold
from projections.reference.metrics import Turn
from projections.reference.state import State
from turnlog.finished import DiscardingList, FinishedTurns

log = logging.getLogger("turnlog")

SETTLE_AT = 4096
"""Number of unfolded calls, after the first read, from which on the writer's thread folds them."""
_NOT_KEPT = [
    "payloads",
    "payloads_at",
    "discarded",
    "interruptions",
    "logs",
    "raised",
    "span_failures",
]
"""Lists of the state that live reads do not need; they would grow with the session."""
INBOX = 65_536
"""Maximum number of calls queued for the fold; beyond it, they are read from the journal and the store."""


class Recorder(PlainRecorder):
    """Records a session's hook calls, and shows the session so far.

    A hook call folds nothing. `current_turn`, `turns` and `session` are updated when they are read, by the same fold as
    a replay; they start from the session's stored events at the first read and continue with this recorder's calls.
    They return the fold's own data: do not modify it. Finished turns are kept compressed, and `turns` unpacks them on
    each read.
    """

    def _open(self) -> None:
        super()._open()
        self._live = _Live(self.store, self._writer.backlog, self.session_id, self.origin)  # one per origin

    @property
    def current_turn(self) -> Turn | None:
        """The open turn."""
        return self._live_state().turn

    @property
    def turns(self) -> list[Turn]:
        """The completed turns."""
        with self._live.lock:
            self._live_state()
            return self._live.finished.turns()

    @property
    def session(self) -> SessionDetails:
        return self._live_state().session

    def _live_state(self) -> State:
        live = self._live
        with live.lock:
            if not live.begun:
                live.begun = True
                self._attach_tap(live.inbox.append, live.settle)
                live.begin()
            live.catch_up()
            return live.state

    def close(self, timeout: float = 10.0) -> bool:
        if self._live.begun:
            self._live.settle(at_least=1)
        return super().close(timeout)


class _Live:
    """A fold of one recorder's session, which receives each call from the first read on."""

    def __init__(self, store: Store, backlog: Backlog, session_id: str, origin: str) -> None:
        self.lock = threading.RLock()
        self.begun = False
        self.state = begin(spans=False, signals=False)
        self.finished = FinishedTurns()
        self.state.turns = cast("list[Turn]", self.finished)
        for name in _NOT_KEPT:
            setattr(self.state, name, DiscardingList())
        self.inbox: deque[bytes | Pending] = deque(maxlen=INBOX)
        self._store, self._backlog, self._session_id, self._origin = store, backlog, session_id, origin

    def begin(self) -> None:
        """Fold earlier events. Pending ones are read first, as they may move to the store in the meantime."""
        waiting = self._waiting()
        try:
            fold(self.state, self._store.read(self._session_id))
        except StoreError as error:
            log.error("live reads of session %s begin without its stored events: %s", self._session_id, error)
        self._fold(waiting)

    def settle(self, at_least: int | None = None) -> None:
        """Fold the inbox if it has ``at_least`` calls (default `SETTLE_AT`); called by the writer's thread."""
        if len(self.inbox) >= (at_least or SETTLE_AT):
            with self.lock:
                self.catch_up()

    def catch_up(self) -> None:
        """Fold the inbox, and fill gaps from the journal and the store."""
        events = []
        while self.inbox:
            events.append(as_event(self.inbox.popleft()))
        if self._has_gap(events):  # calls out of order, or the inbox was full
            events += self._waiting()
        if self._has_gap(events):
            try:
                events += [event for event in self._store.read(self._session_id) if event.seq > self._last]
            except StoreError as error:
                log.error("live reads of session %s continue with a gap: %s", self._session_id, error)
        self._fold(events)

    def _waiting(self) -> list[Event]:
        return self._backlog.pending_events((self._session_id, self._origin))

    def _has_gap(self, events: list[Event]) -> bool:
        """True if the next event to fold is missing."""
        last = self._last
        return bool(events) and min((event.seq for event in events if event.seq > last), default=last + 1) > last + 1

    @property
    def _last(self) -> int:
        """The ``seq`` of this recorder's last folded call."""
        state = self.state
        return state.last_seq if state.origin == self._origin else state.seqs.get(self._origin, -1)

    def _fold(self, events: Iterable[Event]) -> None:
        last, own = self._last, (self._session_id, self._origin)
        fresh = {e.seq: e for e in events if e.seq > last and (e.session_id, e.origin) == own}
        fold(self.state, [fresh[seq] for seq in sorted(fresh)])
