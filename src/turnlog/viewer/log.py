"""The log that the viewer shows, with its read models, which are made in the background where that takes long."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from eventstore.errors import TurnlogError
from eventstore.stores.base import Session, Store
from eventstore.stores.records import Part, RowKey
from projections.caller import RULES as TURNLOG
from turnlog.read_models import Plan, model_rows, plan
from turnlog.sessions import started_between
from turnlog.survey import Survey
from turnlog.viewer.calls import Calls, Matching
from turnlog.viewer.filters import Filter

AT_ONCE = 20_000
"""Maximum number of events that are replayed before a page is answered: about half a second."""


class Replaying(TurnlogError):
    """The read models are being made; the page has to be requested again."""

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"{done:,} of {total:,} events are replayed")
        self.done, self.total = done, total


class Log:
    """A store with what the viewer remembers of it: sessions that cannot be read, and the replay that runs."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._replay: _Replay | None = None
        self._unreadable: set[RowKey] = set()

    def matching(self, wanted: Filter, rules: str = TURNLOG) -> Matching:
        """The calls that match. Raises `Replaying`, `UnknownRules` and `StoreUnavailable`."""
        sessions = started_between(self.store.sessions(), wanted.since_ns, wanted.until_ns)[::-1]
        planned = self._readable(plan(self.store, sessions, rules))
        if planned.stale_events > AT_ONCE:
            self._in_background(planned)
        parts: list[Part] = ["numbers", "labels", "speech"] if wanted.text else ["numbers", "labels"]
        survey = Survey(quiet=True)
        rows = list(model_rows(self.store, planned, parts, jobs=1, survey=survey))
        self._remember(planned, survey.failed)
        read = {session.session_id for session, _row in rows}
        unreadable = [session for session in sessions if session.session_id not in read]
        return Calls(rows, unreadable).matching(wanted)

    def close(self) -> None:
        """Stop the replay in the background."""
        if self._replay is not None:
            self._replay.stop()

    def _readable(self, planned: Plan) -> Plan:
        """The plan without the sessions that are known to be unreadable, as they are."""

        def readable(sessions: Iterable[Session]) -> list[Session]:
            return [session for session in sessions if planned.keys[session.session_id] not in self._unreadable]

        return planned._replace(sessions=readable(planned.sessions), stale=readable(planned.stale))

    def _remember(self, planned: Plan, failed: Iterable[str]) -> None:
        self._unreadable |= {planned.keys[name] for name in failed}

    def _in_background(self, planned: Plan) -> None:
        """Start the replay of what is stale, unless one runs; raises `Replaying` until it has ended."""
        with self._lock:
            replay = self._replay
            if replay is None:
                replay = self._replay = _Replay(self.store, planned)
            elif replay.ended.is_set():
                self._replay = None
                self._remember(replay.planned, replay.survey.failed)
                if replay.error is not None:
                    raise replay.error
        raise Replaying(replay.done, replay.planned.stale_events)


class _Replay:
    """A replay of stale sessions in a thread, which stores their rows."""

    def __init__(self, store: Store, planned: Plan) -> None:
        self.planned, self.survey = planned, Survey(quiet=True)
        self.done = 0
        """Number of events replayed."""
        self.ended = threading.Event()
        self.error: TurnlogError | None = None
        self._store, self._stopping = store, False
        self._thread = threading.Thread(target=self._run, name="turnlog-replay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()

    def _run(self) -> None:
        only_stale = self.planned._replace(sessions=self.planned.stale)
        rows = model_rows(self._store, only_stale, on_replayed=self._advance, survey=self.survey)
        try:
            for _row in rows:
                if self._stopping:
                    break
        except TurnlogError as error:
            self.error = error
        finally:
            rows.close()
            self.ended.set()

    def _advance(self, events: int) -> None:
        self.done += events
