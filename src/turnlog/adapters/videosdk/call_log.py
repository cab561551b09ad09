"""The log of one call: which events the framework's method calls become, and the end of it."""

from __future__ import annotations

import contextlib
import inspect
import uuid
import weakref
from collections.abc import Callable
from typing import Any

from eventstore import Store
from eventstore.hooks.vocabulary import HOOKS, TRACES
from eventstore.recording.recorder import event_loop
from turnlog.adapters.videosdk.clock import NOTED
from turnlog.adapters.videosdk.payload_check import SENT, Difference, payload_differences, rules_of
from turnlog.recorder import Recorder

RENAMED = {"_finalize_realtime_turn": "finalize_realtime_turn"}
"""The one private entry point: a timer of the event loop calls it."""

Write = Callable[["CallLog", Any, tuple[Any, ...], dict[str, Any]], Any]
"""Records a method call: the log, the framework's object, and what the method is called with. Returns what our hook
returns."""


def agent_name(agent: Any) -> str:
    """Its id, or its class where the id is the random one that the framework gives an agent without."""
    name = str(agent.id)
    try:
        uuid.UUID(name)
    except ValueError:
        return name
    return type(agent).__name__


class _TheFrameworksTimer:
    def cancel(self) -> None:
        """It is not ours."""


def _leave_it(_seconds: float, _call: Callable[[], None]) -> _TheFrameworksTimer:
    return _TheFrameworksTimer()


class CallLog:
    """A call's recorder, and what belongs to it alone."""

    def __init__(self, store: Store, session_id: str | None, version: str, *, timer: bool, reused: bool) -> None:
        """``timer``: the recorder completes realtime turns itself, as the framework's collector does not run.

        ``reused``: the collector has served an earlier call in this process.
        """
        self.recorder = Recorder(store, session_id, clock=NOTED, scheduler=event_loop if timer else _leave_it)
        self.recorder.set_framework("videosdk-agents", version)
        self.version = version
        self.reused = reused
        self.agent: str | None = None
        """The one that speaks."""
        self.jobs: weakref.WeakSet[Any] = weakref.WeakSet()
        """The framework's jobs whose pipelines are recorded here; it ends with the last of them."""
        self.a2a_spans: dict[int, tuple[Any, Any]] = {}
        """By the id of the framework's span: that span, which keeps the id taken, and ours."""

    def close(self, *, jitter_ms: float, compare: bool, timeout: float = 10.0) -> list[Difference] | None:
        """Close the recorder; then, in what payloads sent and replayed differ. None if that is not told (yet).

        Raises `StoreError` if the store cannot be read.
        """
        recorder = self.recorder
        if not recorder.close(timeout) or not compare:
            return None
        events = list(recorder.store.read(recorder.session_id))
        return payload_differences(events, rules_of(self.version), jitter_ms=jitter_ms, reused=self.reused)

    def payload(self, payload: dict[str, Any]) -> None:
        self.recorder.framework_event(SENT, {"payload": payload})


def collector_write(name: str, method: Callable[..., Any]) -> tuple[Write, bool]:
    """How a call of the collector's ``method`` is recorded, and whether as a hook of ours or as a framework event."""
    hook = RENAMED.get(name, name)
    if hook not in HOOKS:
        return _as_framework_event(name, method), False
    if set(_signature(method).parameters) <= _hook_parameters(hook):
        record = getattr(Recorder, hook)
        return lambda log, _collector, args, kwargs: record(log.recorder, *args, **kwargs), True
    return _with_news(hook, method), True


def traces_write(name: str, method: Callable[..., Any]) -> tuple[Write, bool]:
    """The same for a method of the traces manager."""
    if TRACES + name not in HOOKS:
        return _as_framework_event(f"traces.{name}", method), False
    if name == "end_a2a_trace":
        return _end_a2a_trace, True

    def write(log: CallLog, _manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        made = getattr(log.recorder.traces, name)(*args, **kwargs)
        if inspect.iscoroutine(made):
            with contextlib.suppress(StopIteration):
                made.send(None)  # ours never waits
        return made

    return write, True


def _end_a2a_trace(log: CallLog, _manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    span = args[0] if args else kwargs.get("span")
    message = args[1] if len(args) > 1 else kwargs.get("message", "")
    _theirs, ours = log.a2a_spans.pop(id(span), (None, span))
    log.recorder.traces.end_a2a_trace(ours, message)


def _with_news(hook: str, method: Callable[..., Any]) -> Write:
    """A hook to which a release that is newer than this adapter has added parameters: a framework event keeps them."""
    signature, known = _signature(method), _hook_parameters(hook)

    def write(log: CallLog, _collector: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = signature.bind(*args, **kwargs).arguments
        if not given.keys() <= known:
            log.recorder.framework_event(hook, given)
        getattr(log.recorder, hook)(**{name: value for name, value in given.items() if name in known})

    return write


def _as_framework_event(name: str, method: Callable[..., Any]) -> Write:
    signature = _signature(method)

    def write(log: CallLog, _owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        log.recorder.framework_event(name, signature.bind(*args, **kwargs).arguments)

    return write


def _hook_parameters(hook: str) -> set[str]:
    return set(_signature(getattr(Recorder, hook)).parameters)


def _signature(method: Callable[..., Any]) -> inspect.Signature:
    """As a caller sees it who has the object."""
    signature = inspect.signature(method)
    return signature.replace(parameters=list(signature.parameters.values())[1:])
