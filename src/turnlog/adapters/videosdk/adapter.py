"""Makes running ``videosdk-agents`` record: every call that the framework makes of its metrics collector and its traces
manager becomes an event.

The framework's own classes are wrapped, so it does not matter who holds which object. See ``docs/videosdk.md``.
"""

# mypy: disable-error-code="import-not-found,import-untyped,misc,untyped-decorator"
# The framework is not installed where the types are checked.

from __future__ import annotations

import atexit
import importlib.metadata
import logging
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from videosdk.agents.job import get_current_job_context

from eventstore import Store
from eventstore.errors import TurnlogError
from turnlog.adapters.guard import Guard, Guarded
from turnlog.adapters.videosdk.call_log import CallLog, Write, agent_name
from turnlog.adapters.videosdk.clock import HERE

log = logging.getLogger("turnlog")

Mode = Literal["shadow", "replace"]
JITTER_MS = 5.0
"""How much later than the recorder the framework may read its clock where the recorder's is not lent to it."""
SHOWN = 10
"""So many differences are logged for each call; all are counted."""
BEGINS = "configure_pipeline"
"""Made by every ``Pipeline`` that is built. After a call has ended, only this begins the next."""


MATTERS = (BEGINS, "set_traces_flow_manager")
"""Calls that also say something to the adapter itself."""
LOG = "_turnlog"
"""Where a collector keeps its log; None after the call has ended."""


class AdapterInstalled(TurnlogError):
    """The adapter is installed already."""


INSTALLED: list[VideoSDKAdapter] = []


class VideoSDKAdapter(Guarded):
    """What `install` returns: how recording goes, and the way to end it."""

    def __init__(self, store: Store, mode: Mode, lend_clock: bool, session_id: Callable[[], str] | None) -> None:
        self.guard = Guard(log, "a call of the videosdk framework")
        self.late = 0
        """Calls of a collector between two calls of the agent: not recorded."""
        self.compared = 0
        """Ended calls whose payloads, as sent and as replayed, were compared (shadow mode)."""
        self.differences = 0
        """Values in which those differed."""
        self.store, self.lends, self.replaces = store, lend_clock, mode == "replace"
        self.version = importlib.metadata.version("videosdk-agents")
        self._name = session_id
        self._lock = threading.Lock()
        self._open: list[tuple[Any, CallLog]] = []
        """The collectors whose calls are going on, with their logs."""
        self._managers: weakref.WeakKeyDictionary[Any, CallLog] = weakref.WeakKeyDictionary()
        self._newest: CallLog | None = None
        self._closing: list[threading.Thread] = []
        self._undo: list[Callable[[], None]] = []

    def uninstall(self, timeout: float = 10.0) -> None:
        """Give the framework its methods back, and `close`."""
        while self._undo:
            self._undo.pop()()
        if self in INSTALLED:
            INSTALLED.remove(self)
        atexit.unregister(self.close)
        self.close(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """End the logs that are open, and wait up to ``timeout`` seconds until they are stored and compared."""
        for collector, call in list(self._open):
            self._end(collector, call)
        for thread in self._closing:
            thread.join(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.uninstall()

    # for the wrapped methods; none of these raises -----------------------------------------------------------------

    def record(
        self, write: Write, name: str, collector: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> CallLog | None:
        """A call of a collector's method; None if it is in no log."""
        with self.guard:
            call: CallLog | None = vars(collector).get(LOG)
            if call is None or name in MATTERS:
                call = self._log_of(collector, name)
                if name == "set_traces_flow_manager" and call is not None:
                    self._attach(args[0] if args else kwargs["manager"], call)
            if call is not None:
                write(call, collector, args, kwargs)
            HERE.recorded = call
            return call
        return None

    def record_traces(
        self, write: Write, manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[CallLog | None, Any]:
        """A call of a traces manager's method, and what our hook returns. A manager that no collector was ever given
        belongs to the call that began last."""
        with self.guard:
            call = self._managers.get(manager) or self._newest
            return call, write(call, manager, args, kwargs) if call is not None else None
        return None, None

    def live(self, collector: Any) -> CallLog | None:
        """The log that the collector's calls go to now."""
        found: CallLog | None = vars(collector).get(LOG)
        return found

    def agent_set(self, agent: Any) -> None:
        """A pipeline has a new agent; it has just said so to its collector."""
        with self.guard:
            call: CallLog | None = HERE.recorded
            name = agent_name(agent)
            if call is not None and call.agent != name:  # the constructor and the start of a session both say so
                call.agent = name
                call.recorder.agent_active(name)

    def session_ends(self, reason: str) -> None:
        """The room of the current job ends the session."""
        with self.guard:
            job = get_current_job_context()
            for _collector, call in list(self._open):
                if job in call.jobs:
                    call.recorder.session_ended(reason)

    def job_ended(self, job: Any) -> None:
        """A job has shut down. The logs that had only this one end."""
        with self.guard:
            for collector, call in list(self._open):
                if job in call.jobs:
                    call.jobs.discard(job)
                    if not call.jobs:
                        self._end(collector, call)

    # -----------------------------------------------------------------------------------------------------------------

    def _log_of(self, collector: Any, name: str) -> CallLog | None:
        with self._lock:
            found: CallLog | None = vars(collector).get(LOG)
            if found is None:
                reused = LOG in vars(collector)
                if reused and name != BEGINS:
                    self.late += 1
                    return None
                session_id = self._name() if self._name is not None else None
                found = CallLog(self.store, session_id, self.version, timer=self.replaces, reused=reused)
                vars(collector)[LOG] = self._newest = found
                self._open.append((collector, found))
        if name == BEGINS:
            job = get_current_job_context()
            if job is not None:
                found.jobs.add(job)
        return found

    def _attach(self, manager: Any, call: CallLog) -> None:
        if manager is not None:
            self._managers[manager] = call

    def _end(self, collector: Any, call: CallLog) -> None:
        """Storing may take a while, and the agent's event loop does not wait for it."""
        with self._lock:
            if (collector, call) not in self._open:
                return
            self._open.remove((collector, call))
            vars(collector)[LOG] = None
        thread = threading.Thread(target=self._close, args=(call,), name="turnlog-videosdk")
        self._closing = [thread, *(t for t in self._closing if t.is_alive())]
        thread.start()

    def _close(self, call: CallLog) -> None:
        found = None
        with self.guard:
            found = call.close(jitter_ms=0.0 if self.lends else JITTER_MS, compare=not self.replaces)
        if found is None:
            return
        self.compared += 1
        self.differences += len(found)
        for turn, path, sent, replayed in found[:SHOWN]:
            log.warning(
                "session %s: %s of turn %d was sent as %r and is replayed as %r",
                *(call.recorder.session_id, path or "the payload", turn, sent, replayed),
            )
        if len(found) > SHOWN:
            log.warning("session %s: and %d more differences", call.recorder.session_id, len(found) - SHOWN)
