"""Maps the framework's method calls to hooks, and manages the recorder of one call."""

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
from turnlog.adapters.videosdk.clock import RECORDING_CLOCK
from turnlog.adapters.videosdk.payload_check import SENT, Difference, payload_differences, rules_of
from turnlog.recorder import Recorder

RENAMED = {"_finalize_realtime_turn": "finalize_realtime_turn"}
"""Private methods that are recorded: a timer of the event loop calls this one."""

Write = Callable[["VideoSDKCall", Any, tuple[Any, ...], dict[str, Any]], Any]
"""Records a method call, given the call, the framework's object and the arguments; returns our hook's result."""


def agent_name(agent: Any) -> str:
    """The agent's id, or its class if the id is the framework's random default."""
    name = str(agent.id)
    try:
        uuid.UUID(name)
    except ValueError:
        return name
    return type(agent).__name__


class _FrameworkTimer:
    def cancel(self) -> None:
        """Do nothing: the framework runs its own timer."""


def _no_timer(_seconds: float, _call: Callable[[], None]) -> _FrameworkTimer:
    return _FrameworkTimer()


class VideoSDKCall:
    """One call: its recorder and its state."""

    def __init__(self, store: Store, session_id: str | None, version: str, *, timer: bool, reused: bool) -> None:
        """``timer``: the recorder completes realtime turns itself, as the framework's collector does not run.

        ``reused``: the collector was used for an earlier call of this process.
        """
        self.recorder = Recorder(store, session_id, clock=RECORDING_CLOCK, scheduler=event_loop if timer else _no_timer)
        self.recorder.set_framework("videosdk-agents", version)
        self.version = version
        self.reused = reused
        self.agent: str | None = None
        """Name of the active agent."""
        self.jobs: weakref.WeakSet[Any] = weakref.WeakSet()
        """The framework's jobs with pipelines in this call, which ends with the last of them."""
        self.a2a_spans: dict[int, tuple[Any, Any]] = {}
        """The framework's span and ours, by ``id`` of the former; keeping it alive keeps the id unique."""

    def close(self, *, jitter_ms: float, compare: bool, timeout: float = 10.0) -> list[Difference] | None:
        """Close the recorder; return the differences between sent and replayed payloads.

        None if not all events are stored yet, or without ``compare``. Raises `StoreError` if the store cannot be read.
        """
        recorder = self.recorder
        if not recorder.close(timeout) or not compare:
            return None
        events = list(recorder.store.read(recorder.session_id))
        return payload_differences(events, rules_of(self.version), jitter_ms=jitter_ms, reused=self.reused)

    def payload(self, payload: dict[str, Any]) -> None:
        self.recorder.framework_event(SENT, {"payload": payload})


def collector_write(name: str, method: Callable[..., Any]) -> tuple[Write, bool]:
    """The function that records calls of the collector's ``method``; True if as a hook, else as framework events."""
    hook = RENAMED.get(name, name)
    if hook not in HOOKS:
        return _as_framework_event(name, method), False
    if set(_signature(method).parameters) <= _hook_parameters(hook):
        record = getattr(Recorder, hook)
        return lambda log, _collector, args, kwargs: record(log.recorder, *args, **kwargs), True
    return _with_new_parameters(hook, method), True


def traces_write(name: str, method: Callable[..., Any]) -> tuple[Write, bool]:
    """The same for a method of the traces manager."""
    if TRACES + name not in HOOKS:
        return _as_framework_event(f"traces.{name}", method), False
    if name == "end_a2a_trace":
        return _end_a2a_trace, True

    def write(log: VideoSDKCall, _manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = getattr(log.recorder.traces, name)(*args, **kwargs)
        if inspect.iscoroutine(result):
            with contextlib.suppress(StopIteration):
                result.send(None)  # our hooks never wait
        return result

    return write, True


def _end_a2a_trace(log: VideoSDKCall, _manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    span = args[0] if args else kwargs.get("span")
    message = args[1] if len(args) > 1 else kwargs.get("message", "")
    _theirs, ours = log.a2a_spans.pop(id(span), (None, span))
    log.recorder.traces.end_a2a_trace(ours, message)


def _with_new_parameters(hook: str, method: Callable[..., Any]) -> Write:
    """Record a hook with parameters that this adapter does not know yet; a framework event keeps their arguments."""
    signature, known = _signature(method), _hook_parameters(hook)

    def write(log: VideoSDKCall, _collector: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments = signature.bind(*args, **kwargs).arguments
        if not arguments.keys() <= known:
            log.recorder.framework_event(hook, arguments)
        getattr(log.recorder, hook)(**{name: value for name, value in arguments.items() if name in known})

    return write


def _as_framework_event(name: str, method: Callable[..., Any]) -> Write:
    signature = _signature(method)

    def write(log: VideoSDKCall, _owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        log.recorder.framework_event(name, signature.bind(*args, **kwargs).arguments)

    return write


def _hook_parameters(hook: str) -> set[str]:
    return set(_signature(getattr(Recorder, hook)).parameters)


def _signature(method: Callable[..., Any]) -> inspect.Signature:
    """The signature of the bound method, without ``self``."""
    signature = inspect.signature(method)
    return signature.replace(parameters=list(signature.parameters.values())[1:])
