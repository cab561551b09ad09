"""The adapter for ``videosdk-agents``: it records every call of the metrics collector and the traces manager.

The framework's classes are wrapped, so existing references to their objects are covered. See ``docs/videosdk.md``.
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
from turnlog.adapters.videosdk.call import VideoSDKCall, Write, agent_name
from turnlog.adapters.videosdk.clock import CALL_CONTEXT

log = logging.getLogger("turnlog")

Mode = Literal["shadow", "replace"]
CLOCK_JITTER_MS = 5.0
"""Tolerated difference of clock readings if the framework does not share the recorder's clock."""
MAX_LOGGED = 10
"""Maximum number of differences logged per call; all are counted."""
BEGIN_HOOK = "configure_pipeline"
"""Called by every new ``Pipeline``. After a call has ended, only this begins the next one."""
ADAPTER_HOOKS = (BEGIN_HOOK, "set_traces_flow_manager")
"""Hooks that the adapter itself acts on."""
LOG = "_turnlog"
"""The attribute of a collector with its current call; None after the call has ended."""


class AdapterInstalled(TurnlogError):
    """The adapter is already installed."""


INSTALLED: list[VideoSDKAdapter] = []


class VideoSDKAdapter(Guarded):
    """The installed adapter, as returned by `install`: counters, and methods to end the recording."""

    def __init__(self, store: Store, mode: Mode, lend_clock: bool, session_id: Callable[[], str] | None) -> None:
        self.guard = Guard(log, "a call of the videosdk framework")
        self.late = 0
        """Number of method calls on a collector between two calls; not recorded."""
        self.compared = 0
        """Number of ended calls whose sent and replayed payloads were compared (shadow mode)."""
        self.differences = 0
        """Number of values that differed."""
        self.store, self.lends_clock, self.replaces = store, lend_clock, mode == "replace"
        self.version = importlib.metadata.version("videosdk-agents")
        self._name = session_id
        self._lock = threading.Lock()
        self._open: list[tuple[Any, VideoSDKCall]] = []
        """The collectors with a call in progress."""
        self._managers: weakref.WeakKeyDictionary[Any, VideoSDKCall] = weakref.WeakKeyDictionary()
        self._newest: VideoSDKCall | None = None
        self._closing: list[threading.Thread] = []
        self._undo: list[Callable[[], None]] = []

    def uninstall(self, timeout: float = 10.0) -> None:
        """Restore the framework's methods, and `close`."""
        while self._undo:
            self._undo.pop()()
        if self in INSTALLED:
            INSTALLED.remove(self)
        atexit.unregister(self.close)
        self.close(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """End all calls, and wait up to ``timeout`` seconds for each to be stored and compared."""
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

    # called by the wrapped methods; these never raise --------------------------------------------------------------

    def record(
        self, write: Write, name: str, collector: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> VideoSDKCall | None:
        """Record a call of a collector's method; None if there is no call to record it in."""
        with self.guard:
            call: VideoSDKCall | None = vars(collector).get(LOG)
            if call is None or name in ADAPTER_HOOKS:
                call = self._call_of(collector, name)
                if name == "set_traces_flow_manager" and call is not None:
                    self._attach(args[0] if args else kwargs["manager"], call)
            if call is not None:
                write(call, collector, args, kwargs)
            CALL_CONTEXT.recorded = call
            return call
        return None

    def record_traces(
        self, write: Write, manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[VideoSDKCall | None, Any]:
        """Record a call of a traces manager's method; also return our hook's result.

        A manager that was never attached to a collector belongs to the newest call.
        """
        with self.guard:
            call = self._managers.get(manager) or self._newest
            return call, write(call, manager, args, kwargs) if call is not None else None
        return None, None

    def live(self, collector: Any) -> VideoSDKCall | None:
        """The collector's current call."""
        found: VideoSDKCall | None = vars(collector).get(LOG)
        return found

    def agent_set(self, agent: Any) -> None:
        """Record a pipeline's new agent, which its collector has just recorded."""
        with self.guard:
            call: VideoSDKCall | None = CALL_CONTEXT.recorded
            name = agent_name(agent)
            if call is not None and call.agent != name:  # reported by both the constructor and the session's start
                call.agent = name
                call.recorder.agent_active(name)

    def session_ends(self, reason: str) -> None:
        """Record that the room of the current job ends the session."""
        with self.guard:
            job = get_current_job_context()
            for _collector, call in list(self._open):
                if job in call.jobs:
                    call.recorder.session_ended(reason)

    def job_ended(self, job: Any) -> None:
        """A job has shut down: end the calls that have no other job."""
        with self.guard:
            for collector, call in list(self._open):
                if job in call.jobs:
                    call.jobs.discard(job)
                    if not call.jobs:
                        self._end(collector, call)

    # calls -----------------------------------------------------------------------------------------------------------

    def _call_of(self, collector: Any, name: str) -> VideoSDKCall | None:
        with self._lock:
            found: VideoSDKCall | None = vars(collector).get(LOG)
            if found is None:
                reused = LOG in vars(collector)
                if reused and name != BEGIN_HOOK:
                    self.late += 1
                    return None
                session_id = self._name() if self._name is not None else None
                found = VideoSDKCall(self.store, session_id, self.version, timer=self.replaces, reused=reused)
                vars(collector)[LOG] = self._newest = found
                self._open.append((collector, found))
        if name == BEGIN_HOOK:
            job = get_current_job_context()
            if job is not None:
                found.jobs.add(job)
        return found

    def _attach(self, manager: Any, call: VideoSDKCall) -> None:
        if manager is not None:
            self._managers[manager] = call

    def _end(self, collector: Any, call: VideoSDKCall) -> None:
        """End a call, in a thread: storing may take a while, and must not block the agent's event loop."""
        with self._lock:
            if (collector, call) not in self._open:
                return
            self._open.remove((collector, call))
            vars(collector)[LOG] = None
        thread = threading.Thread(target=self._close, args=(call,), name="turnlog-videosdk")
        self._closing = [thread, *(t for t in self._closing if t.is_alive())]
        thread.start()

    def _close(self, call: VideoSDKCall) -> None:
        found = None
        with self.guard:
            found = call.close(jitter_ms=0.0 if self.lends_clock else CLOCK_JITTER_MS, compare=not self.replaces)
        if found is None:
            return
        self.compared += 1
        self.differences += len(found)
        for turn, path, sent, replayed in found[:MAX_LOGGED]:
            log.warning(
                "session %s: %s of turn %d was sent as %r and is replayed as %r",
                *(call.recorder.session_id, path or "the payload", turn, sent, replayed),
            )
        if len(found) > MAX_LOGGED:
            log.warning("session %s: and %d more differences", call.recorder.session_id, len(found) - MAX_LOGGED)
