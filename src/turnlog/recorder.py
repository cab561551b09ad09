"""The recorder with live reads: `eventstore.Recorder`, whose log is folded when somebody looks."""

from __future__ import annotations

import logging
import threading

from eventstore import Event
from eventstore import Recorder as PlainRecorder
from eventstore.errors import StoreError
from projections.fold import begin, fold
from projections.model import Session, Turn
from projections.state import State

log = logging.getLogger("turnlog")

SETTLE_AT = 4096
"""Events that may wait unfolded after the first read; beyond, the writer's thread folds them."""


class Recorder(PlainRecorder):
    """Records a session's hook calls, and shows the session so far.

    A hook call folds nothing. `current_turn`, `turns` and `session` are caught up when they are read, by the very fold
    that a replay uses; they start from what the store has of the session when they are first read, and go on with this
    recorder's own calls. What they return is the fold's own data: read it, do not change it.
    """

    def _open(self) -> None:
        super()._open()
        self._live = _Live(self)  # a new one after a fork, as the origin is new

    @property
    def current_turn(self) -> Turn | None:
        """The turn that is open."""
        return self._live.state().turn

    @property
    def turns(self) -> list[Turn]:
        """The completed turns."""
        return self._live.state().turns

    @property
    def session(self) -> Session:
        return self._live.state().session

    def close(self, timeout: float = 10.0) -> bool:
        self._live.finish()
        return super().close(timeout)


class _Live:
    """A fold of one recorder's session. It is the writer's listener from the first read on."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()
        self._begun = False
        self._state = begin(spans=False, signals=False)
        self._inbox: list[Event] = []

    def state(self) -> State:
        with self._lock:
            if not self._begun:
                self._begin()
            self._catch_up()
            return self._state

    def extend(self, events: list[Event]) -> None:
        """The writer's thread has moved these to the store. Called under the backlog's lock, so it only notes them."""
        self._inbox.extend(events)

    def settle(self) -> None:
        """Fold what is noted, if that is much."""
        if len(self._inbox) >= SETTLE_AT:
            self.finish()

    def finish(self) -> None:
        """Fold what there is, if anybody ever read."""
        if self._begun:
            with self._lock:
                self._catch_up()

    def _begin(self) -> None:
        recorder = self._recorder
        self._begun = True
        recorder._writer.listen(recorder.session_id, recorder.origin, self)
        try:
            fold(self._state, recorder.store.read(recorder.session_id))
        except StoreError as error:
            log.error("live reads of session %s begin without what the store has: %s", recorder.session_id, error)

    def _catch_up(self) -> None:
        """Fold what has come since, from the inbox and from what the store has not got yet."""
        recorder, backlog = self._recorder, self._recorder._writer.backlog
        with backlog.lock:
            events, self._inbox[:] = list(self._inbox), []
            waiting = backlog.waiting()
        state, origin = self._state, recorder.origin
        last = state.last_seq if state.origin == origin else state.seqs.get(origin, -1)
        own = recorder.session_id, origin
        fresh = {e.seq: e for e in events + waiting if e.seq > last and (e.session_id, e.origin) == own}
        fold(state, [fresh[seq] for seq in sorted(fresh)])
