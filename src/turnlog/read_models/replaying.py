"""Replays of many sessions: in parallel processes if there is enough to do, else in this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from typing import NamedTuple

from eventstore.errors import StoreUnavailable, TurnlogError
from eventstore.event import Event
from eventstore.stores.base import Session, Store
from projections.boundary import replaying
from projections.measures import SessionRow, session_row
from turnlog.garbage import collect_rarely

PARALLEL_FROM = 100_000
"""Number of events from which on parallel processes are faster: starting them takes half a second."""
TASK_EVENTS = 4_000
"""Number of events in a task of a process, at least; a session is not divided."""
TASKS_AHEAD = 3
"""Number of tasks for each process that are submitted before their results are read."""


class ReplayFailed(TurnlogError):
    """A session that a different process could not replay."""


class _Failed(NamedTuple):
    """An error, as it is sent from one process to another."""

    message: str
    unavailable: bool


Result = SessionRow | TurnlogError


def replay_sessions(store: Store, sessions: Sequence[Session], rules: str, jobs: int) -> Generator[Result, None, None]:
    """The row of each session, in order, or the error that its replay raised."""
    events = sum(session.events for session in sessions)
    if jobs > 1 and len(sessions) > 1 and events >= PARALLEL_FROM and store.reopen is not None:
        return _in_parallel(store.reopen, sessions, rules, jobs)
    found = store.read_many(session.session_id for session in sessions)
    return (_row(name, read, rules) for name, read in found)


def replay_session(store: Store, name: str, rules: str) -> Result:
    """The row of one session, or the error that its replay raised."""
    return _row(name, store.read(name), rules)


def _row(name: str, events: Iterable[Event], rules: str) -> Result:
    try:
        with replaying(name):
            return session_row(events, rules)
    except TurnlogError as error:
        return error


def _in_parallel(
    reopen: Callable[[], Store], sessions: Sequence[Session], rules: str, jobs: int
) -> Generator[Result, None, None]:
    # not a fork: this process may have threads
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(jobs, context, _begin, (reopen,))
    tasks = _tasks(sessions)
    pending: deque[Future[list[SessionRow | _Failed]]] = deque()
    try:
        for task in chain(tasks, [None] * jobs * TASKS_AHEAD):
            if task is not None:
                pending.append(pool.submit(_replay_task, task, rules))
            if pending and (task is None or len(pending) > jobs * TASKS_AHEAD):
                yield from map(_received, pending.popleft().result())
    except BrokenProcessPool:
        raise StoreUnavailable("a process that replays sessions was killed; try again, or with --jobs 1") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _tasks(sessions: Sequence[Session]) -> Iterator[list[str]]:
    """The names of the sessions, divided into tasks."""
    task: list[str] = []
    events = 0
    for session in sessions:
        task.append(session.session_id)
        events += session.events
        if events >= TASK_EVENTS:
            yield task
            task, events = [], 0
    if task:
        yield task


def _received(result: SessionRow | _Failed) -> Result:
    if isinstance(result, SessionRow):
        return result
    return StoreUnavailable(result.message) if result.unavailable else ReplayFailed(result.message)


# in the other processes -------------------------------------------------------------------------------------------

_opened: list[Store] = []
"""The log of this process, as the first and only item."""


def _begin(reopen: Callable[[], Store]) -> None:
    collect_rarely()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _opened.append(reopen())


def _end_with_parent() -> None:
    """End this process if its parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _replay_task(names: list[str], rules: str) -> list[SessionRow | _Failed]:
    return [_sendable(_row(name, events, rules)) for name, events in _opened[0].read_many(names)]


def _sendable(result: Result) -> SessionRow | _Failed:
    return result if isinstance(result, SessionRow) else _Failed(str(result), isinstance(result, StoreUnavailable))
