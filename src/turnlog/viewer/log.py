"""The log that the viewer shows, with its read models, which are made in the background where that takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from eventstore.errors import TurnlogError
from eventstore.stores.base import Session, Store
from eventstore.stores.records import Head
from projections.caller import RULES as TURNLOG
from projections.measures import SessionRow
from projections.measures.row import speech_of
from turnlog.read_models import model_rows, plan
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

    def matching(self, wanted: Filter, rules: str = TURNLOG) -> Matching:
        """The calls that match. Raises `Replaying`, `UnknownRules` and `StoreUnavailable`."""
        with self._lock:
            self._take_over()
            read = self._read[rules] = self._updated(self._read.get(rules), rules)
        return read.calls.matching(wanted, lambda names: self._said(read, names, wanted.text, rules))

    def close(self) -> None:
        """Stop the replay in the background."""
        if self._replay is not None:
            self._replay.stop()

    def _updated(self, before: _Read | None, rules: str) -> _Read:
        """What was read, with what has changed since. Raises `Replaying` if that takes long."""
        heads = self.store.heads()
        if before is not None and heads == before.heads:
            return before
        old = before or _Read({}, {}, Calls([]))
        changed = [session for session in self.store.sessions() if _differs(heads, old.heads, session.session_id)]
        planned = plan(self.store, changed, rules)

        def read(jobs: int, on_replayed: Callable[[int], object]) -> _Read:
            rows = dict(
                model_rows(
                    self.store, planned, ["numbers", "labels"],
                    jobs=jobs, on_replayed=on_replayed, survey=Survey(quiet=True),
                )
            )  # fmt: skip
            kept = {name: pair for name, pair in old.rows.items() if name in heads}
            kept |= {session.session_id: (session, rows.get(session)) for session in changed}
            # heads from before the plan: what has grown in between is read again
            return _Read(heads, kept, Calls(kept.values()))

        if planned.stale_events <= AT_ONCE:
            return read(1, lambda events: None)
        self._replay = _Replay(rules, planned.stale_events, partial(read, self._jobs))
        raise Replaying(0, planned.stale_events)

    def _take_over(self) -> None:
        """Use what the replay in the background has read. Raises `Replaying` until it has ended, and its error."""
        replay = self._replay
        if replay is None:
            return
        if not replay.ended.is_set():
            raise Replaying(replay.done, replay.total)
        self._replay = None
        if replay.error is not None:
            raise replay.error
        if replay.read is not None:
            self._read[replay.rules] = replay.read

    def _said(self, read: _Read, names: list[str], text: str, rules: str) -> set[str]:
        """Those of the sessions in which the user or the agent said ``text``; case is ignored."""
        planned = plan(self.store, [read.rows[name][0] for name in names], rules)
        rows = model_rows(self.store, planned, ["speech"], survey=Survey(quiet=True))
        return {session.session_id for session, row in rows if _was_said(row, text.casefold())}


class _Stopped(Exception):
    """The viewer is closing."""


class _Replay:
    """A replay in a thread, with its progress."""

    def __init__(self, rules: str, total: int, work: Callable[[Callable[[int], object]], _Read]) -> None:
        """``work`` calls what it is given with the number of events of each replay."""
        self.rules, self.total = rules, total
        self.done = 0
        """Number of events replayed."""
        self.ended = threading.Event()
        self.read: _Read | None = None
        self.error: Exception | None = None
        self._work, self._stopping = work, False
        self._thread = threading.Thread(target=self._run, name="turnlog-replay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it after the replay of one session; what is read is dropped, and what is stored stays."""
        self._stopping = True
        self._thread.join()

    def _run(self) -> None:
        try:
            self.read = self._work(self._advance)
        except _Stopped:
            pass
        except Exception as error:  # noqa: BLE001 - the next page raises it
            self.error = error
        finally:
            self.ended.set()

    def _advance(self, events: int) -> None:
        if self._stopping:
            raise _Stopped
        self.done += events


def _differs(heads: Mapping[str, Head], before: Mapping[str, Head], name: str) -> bool:
    return name in heads and heads[name] != before.get(name)


def _was_said(row: SessionRow, text: str) -> bool:
    return any(text in words.casefold() for each in speech_of(row) for words in each if words)
