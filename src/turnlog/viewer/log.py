"""The log that the viewer shows, with its read models, which are made in the background where that takes long."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from eventstore.errors import TurnlogError
from eventstore.stores.base import Session, Store
from eventstore.stores.records import Head, RowKey
from projections.caller import RULES as TURNLOG
from projections.measures import SessionRow
from projections.measures.row import speech_of
from turnlog.read_models import Plan, model_rows, plan
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


class _Read(NamedTuple):
    """What was read under one rule set."""

    heads: dict[str, Head]
    """The log as it was then: what has the same head has not changed."""
    rows: dict[str, tuple[Session, SessionRow | None]]
    """By session; None for one that cannot be read."""
    calls: Calls


class Log:
    """A store, with the calls that were read from it: what has not changed since is not read again."""

    def __init__(self, store: Store, jobs: int = 1) -> None:
        """``jobs``: number of processes that replay in the background."""
        self.store = store
        self._jobs = jobs
        self._lock = threading.Lock()
        self._read: dict[str, _Read] = {}
        """By rule set."""
        self._replay: _Replay | None = None
        self._unreadable: set[RowKey] = set()

    def matching(self, wanted: Filter, rules: str = TURNLOG) -> Matching:
        """The calls that match. Raises `Replaying`, `UnknownRules` and `StoreUnavailable`."""
        with self._lock:
            read = self._read[rules] = self._updated(self._read.get(rules), rules)
        return read.calls.matching(wanted, lambda names: self._said(read, names, wanted.text, rules))

    def close(self) -> None:
        """Stop the replay in the background."""
        if self._replay is not None:
            self._replay.stop()

    def _updated(self, before: _Read | None, rules: str) -> _Read:
        """What was read, with what has changed since; raises `Replaying` if that takes long."""
        heads = self.store.heads()
        old = before or _Read({}, {}, Calls([]))
        if before is not None and heads == before.heads:
            return before
        changed = [session for session in self.store.sessions() if _differs(heads, old.heads, session.session_id)]
        planned = self._readable(plan(self.store, changed, rules))
        if planned.stale_events > AT_ONCE:
            self._in_background(planned)
        survey = Survey(quiet=True)
        rows = dict(model_rows(self.store, planned, ("numbers", "labels"), survey=survey))
        self._remember(planned, survey.failed)
        kept = {name: pair for name, pair in old.rows.items() if name in heads}
        kept |= {session.session_id: (session, rows.get(session)) for session in changed}
        return _Read(heads, kept, Calls(kept.values()))

    def _said(self, read: _Read, names: list[str], text: str, rules: str) -> set[str]:
        """Those of the sessions in which the user or the agent said ``text``; case is ignored."""
        planned = plan(self.store, [read.rows[name][0] for name in names], rules)
        rows = model_rows(self.store, planned, ["speech"], survey=Survey(quiet=True))
        return {session.session_id for session, row in rows if _was_said(row, text.casefold())}

    def _readable(self, planned: Plan) -> Plan:
        """The plan without the sessions that are known to be unreadable, as they are."""

        def readable(sessions: Iterable[Session]) -> list[Session]:
            return [session for session in sessions if planned.keys[session.session_id] not in self._unreadable]

        return planned._replace(sessions=readable(planned.sessions), stale=readable(planned.stale))

    def _remember(self, planned: Plan, failed: Iterable[str]) -> None:
        self._unreadable |= {planned.keys[name] for name in failed}

    def _in_background(self, planned: Plan) -> None:
        """Start the replay of what is stale, unless one runs; raises `Replaying`."""
        replay = self._replay
        if replay is None:
            replay = self._replay = _Replay(self.store, planned, self._jobs)
        elif replay.ended.is_set():
            self._replay = None
            self._remember(replay.planned, replay.survey.failed)
            if replay.error is not None:
                raise replay.error
        raise Replaying(replay.done, replay.planned.stale_events)


def _differs(heads: Mapping[str, Head], before: Mapping[str, Head], name: str) -> bool:
    return name in heads and heads[name] != before.get(name)


def _was_said(row: SessionRow, text: str) -> bool:
    return any(text in words.casefold() for each in speech_of(row) for words in each if words)


class _Replay:
    """A replay of stale sessions in a thread, which stores their rows."""

    def __init__(self, store: Store, planned: Plan, jobs: int) -> None:
        self.planned, self.survey = planned, Survey(quiet=True)
        self.done = 0
        """Number of events replayed."""
        self.ended = threading.Event()
        self.error: TurnlogError | None = None
        self._store, self._jobs, self._stopping = store, jobs, False
        self._thread = threading.Thread(target=self._run, name="turnlog-replay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()

    def _run(self) -> None:
        only_stale = self.planned._replace(sessions=self.planned.stale)
        rows = model_rows(self._store, only_stale, jobs=self._jobs, on_replayed=self._advance, survey=self.survey)
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
