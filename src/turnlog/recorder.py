"""The recorder with live reads: `eventstore.Recorder`, whose log is folded when it is looked at."""

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
from turnlog.finished import FinishedTurns, Unkept

log = logging.getLogger("turnlog")

SETTLE_AT = 4096
"""Calls that may wait unfolded after the first read; beyond, the writer's thread folds them."""
_NOT_SHOWN = [
    "payloads",
    "payloads_at",
    "discarded",
    "interruptions",
    "logs",
    "raised",
    "span_failures",
]
"""What a fold collects and live reads do not show: it would grow with the session."""
INBOX = 65_536
"""Calls that are kept for the fold at most; what is beyond is read from the journal and the store again."""


class Recorder(PlainRecorder):
    """Records a session's hook calls, and shows the session so far.

    A hook call folds nothing. `current_turn`, `turns` and `session` are caught up when they are read, by the very fold
    that a replay uses; they start from what the store has of the session when they are first read, and go on with this
    recorder's own calls. What they return is the fold's own data: read it, do not change it. Of a long session, the
    finished turns are kept compressed, and `turns` unpacks them each time.
    """

    def _open(self) -> None:
        super()._open()
        self._live = _Live(self.store, self._writer.backlog, self.session_id, self.origin)  # the origin's own

    @property
    def current_turn(self) -> Turn | None:
        """The turn that is open."""
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
    """A fold of one recorder's session. From the first read on it gets each call as it is recorded."""

    def __init__(self, store: Store, backlog: Backlog, session_id: str, origin: str) -> None:
        self.lock = threading.RLock()
        self.begun = False
        self.state = begin(spans=False, signals=False)
        self.finished = FinishedTurns()
        self.state.turns = cast("list[Turn]", self.finished)
        for name in _NOT_SHOWN:
            setattr(self.state, name, Unkept())
        self.inbox: deque[bytes | Pending] = deque(maxlen=INBOX)
        self._store, self._backlog, self._session_id, self._origin = store, backlog, session_id, origin

    def begin(self) -> None:
        """Fold what was recorded before: what waits is read first, as it may be moved to the store meanwhile."""
        waiting = self._waiting()
        try:
            fold(self.state, self._store.read(self._session_id))
        except StoreError as error:
            log.error("live reads of session %s begin without what the store has: %s", self._session_id, error)
        self._fold(waiting)

    def settle(self, at_least: int | None = None) -> None:
        """Fold what has come, if that is much; the writer's thread calls this."""
        if len(self.inbox) >= (at_least or SETTLE_AT):
            with self.lock:
                self.catch_up()

    def catch_up(self) -> None:
        """Fold what has come since."""
        came = []
        while self.inbox:
            came.append(as_event(self.inbox.popleft()))
        if self._has_gap(came):  # an overtaken call, or the inbox was full
            came += self._waiting()
        if self._has_gap(came):
            try:
                came += [event for event in self._store.read(self._session_id) if event.seq > self._last]
            except StoreError as error:
                log.error("live reads of session %s go on with a gap: %s", self._session_id, error)
        self._fold(came)

    def _waiting(self) -> list[Event]:
        return self._backlog.pending_events((self._session_id, self._origin))

    def _has_gap(self, came: list[Event]) -> bool:
        """Whether what comes next is not among them."""
        last = self._last
        return bool(came) and min((event.seq for event in came if event.seq > last), default=last + 1) > last + 1

    @property
    def _last(self) -> int:
        """The last of this recorder's calls that is folded."""
        state = self.state
        return state.last_seq if state.origin == self._origin else state.seqs.get(self._origin, -1)

    def _fold(self, events: Iterable[Event]) -> None:
        last, own = self._last, (self._session_id, self._origin)
        fresh = {e.seq: e for e in events if e.seq > last and (e.session_id, e.origin) == own}
        fold(self.state, [fresh[seq] for seq in sorted(fresh)])
