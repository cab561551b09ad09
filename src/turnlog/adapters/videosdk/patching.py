"""Wraps methods of the framework's classes, and restores them."""

# mypy: disable-error-code="import-not-found,import-untyped,misc,untyped-decorator"
# The framework is not installed where the types are checked.

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Generator
from typing import Any

from videosdk.agents import metrics
from videosdk.agents.job import JobContext
from videosdk.agents.metrics.analytics import AnalyticsClient
from videosdk.agents.pipeline import Pipeline
from videosdk.agents.room.room import VideoSDKHandler

from turnlog.adapters.videosdk.adapter import VideoSDKAdapter
from turnlog.adapters.videosdk.call import RENAMED, VideoSDKCall, collector_write, traces_write
from turnlog.adapters.videosdk.clock import CALL_CONTEXT, LentTime, enter, leave

Method = Callable[..., Any]
COMPLETE_LATER_HOOK = "schedule_turn_complete"
"""Without an event loop it completes the turn at once; that is recorded as a call of its own, as with a timer."""
CLOCK_MODULES = ("metrics_collector", "telemetry", "traces_flow")
"""The modules of ``videosdk.agents.metrics`` that read the clock."""


def wrap(adapter: VideoSDKAdapter) -> list[Callable[[], None]]:
    """Wrap the framework's methods; return functions that restore them, to be called in reverse order."""
    undo: list[Callable[[], None]] = []

    def put(owner: Any, name: str, value: Any) -> None:
        before = vars(owner).get(name, undo)
        setattr(owner, name, value)
        undo.append(lambda: delattr(owner, name) if before is undo else setattr(owner, name, before))

    if adapter.lends_clock and not adapter.replaces:
        for module in CLOCK_MODULES:
            put(sys.modules[f"{metrics.__name__}.{module}"], "time", LentTime())
    for name, method in _methods(metrics.MetricsCollector):
        put(metrics.MetricsCollector, name, _wrap_collector(adapter, name, method))
    for name, method in _methods(metrics.TracesFlowManager):
        make = _wrap_traces_coroutine if inspect.iscoroutinefunction(method) else _wrap_traces
        put(metrics.TracesFlowManager, name, make(adapter, name, method))
    if adapter.replaces:
        for name, read in LIVE_READS.items():
            put(metrics.MetricsCollector, name, _live_read(adapter, name, read))
    put(AnalyticsClient, SEND_METHOD, _wrap_send(adapter, vars(AnalyticsClient)[SEND_METHOD]))
    put(Pipeline, "set_agent", _wrap_set_agent(adapter, vars(Pipeline)["set_agent"]))
    put(VideoSDKHandler, END_METHOD, _wrap_end(adapter, vars(VideoSDKHandler)[END_METHOD]))
    put(JobContext, "shutdown", _wrap_shutdown(adapter, vars(JobContext)["shutdown"]))
    return undo


def _methods(cls: type) -> list[tuple[str, Method]]:
    found = [(name, value) for name, value in vars(cls).items() if inspect.isfunction(value)]
    return [(name, value) for name, value in found if not name.startswith("_") or name in RENAMED]


# the collector -------------------------------------------------------------------------------------------------------


def _wrap_collector(adapter: VideoSDKAdapter, name: str, original: Method) -> Method:
    write, is_hook = collector_write(name, original)
    instead = SETTERS.get(name, _ignore) if adapter.replaces and is_hook else None
    record, lends_clock, completes_later = adapter.record, adapter.lends_clock, name == COMPLETE_LATER_HOOK

    @functools.wraps(original)
    def recorded(collector: Any, *args: Any, **kwargs: Any) -> Any:
        if CALL_CONTEXT.inside:
            if not _from_metrics(sys._getframe(1)):  # called by a listener to the collector's events  # noqa: SLF001 - there is no public way
                record(write, name, collector, args, kwargs)
            return original(collector, *args, **kwargs)
        call = record(write, name, collector, args, kwargs)
        if instead is not None:
            return instead(collector, *args, **kwargs)
        if completes_later:
            return original(collector, *args, **kwargs)
        enter(call, lend=lends_clock)
        try:
            return original(collector, *args, **kwargs)
        finally:
            leave()

    return recorded


def _from_metrics(caller: types.FrameType) -> bool:
    """True if the collector or the traces manager calls itself, as part of a call already recorded."""
    return str(caller.f_globals.get("__name__", "")).startswith(metrics.__name__)


def _ignore(_collector: Any, *_args: Any, **_kwargs: Any) -> None:
    """The collector's method in replace mode: only the recorder gets the call."""


def _set_traces(collector: Any, manager: Any) -> None:
    collector.traces_flow_manager = manager


def _set_playground(collector: Any, manager: Any) -> None:
    collector.playground_manager = manager


SETTERS: dict[str, Method] = {"set_traces_flow_manager": _set_traces, "set_playground_manager": _set_playground}
"""Setters in replace mode, for attributes that the framework reads back from the collector."""

LIVE_READS: dict[str, Callable[[VideoSDKCall], Any]] = {
    "current_turn": lambda call: call.recorder.current_turn,
    "turns": lambda call: call.recorder.turns,
    "session": lambda call: call.recorder.session,
    "_stt_start_time": lambda call: call.recorder._live_state().stt_start,  # noqa: SLF001 - there is no public way
}
"""The collector's attributes that the framework reads during a call; in replace mode they come from the fold."""


def _live_read(adapter: VideoSDKAdapter, name: str, read: Callable[[VideoSDKCall], Any]) -> property:
    def get(collector: Any) -> Any:
        with adapter.guard:
            call = adapter.live(collector)
            if call is not None:
                return read(call)
        return vars(collector).get(name)

    def put(collector: Any, value: Any) -> None:
        vars(collector)[name] = value

    return property(get, put)


# the traces manager --------------------------------------------------------------------------------------------------


def _wrap_traces(adapter: VideoSDKAdapter, name: str, original: Method) -> Method:
    write, is_hook = traces_write(name, original)
    replaced = adapter.replaces and is_hook

    @functools.wraps(original)
    def recorded(manager: Any, *args: Any, **kwargs: Any) -> Any:
        if CALL_CONTEXT.inside:
            return original(manager, *args, **kwargs)
        call, ours = adapter.record_traces(write, manager, args, kwargs)
        if replaced:
            return ours
        enter(call, lend=adapter.lends_clock)
        try:
            theirs = original(manager, *args, **kwargs)
        finally:
            leave()
        if call is not None and ours is not None and theirs is not None:
            call.a2a_spans[id(theirs)] = theirs, ours
        return theirs

    return recorded


def _wrap_traces_coroutine(adapter: VideoSDKAdapter, name: str, original: Method) -> Method:
    write, is_hook = traces_write(name, original)
    replaced = adapter.replaces and is_hook

    @functools.wraps(original)
    async def recorded(manager: Any, *args: Any, **kwargs: Any) -> Any:
        ready = None if replaced else getattr(manager, "root_span_ready", None)
        if ready is not None:
            await ready.wait()  # the framework waits for it, so the call takes effect only then
        call, _ours = adapter.record_traces(write, manager, args, kwargs)
        if not replaced:
            return await _drive(original(manager, *args, **kwargs), call, adapter.lends_clock)
        return None

    return recorded


@types.coroutine
def _drive(coroutine: Any, call: VideoSDKCall | None, lend: bool) -> Generator[Any, Any, Any]:
    """Await a coroutine, marking the thread as inside a recorded call only while it runs, not while it waits."""
    step, value = coroutine.send, None
    while True:
        enter(call, lend=lend)
        try:
            awaited = step(value)
        except StopIteration as done:
            return done.value
        finally:
            leave()
        try:
            step, value = coroutine.send, (yield awaited)
        except BaseException as error:  # noqa: BLE001 - a cancellation, to be raised in the coroutine
            step, value = coroutine.throw, error


# payloads, agents and the end of sessions and jobs -------------------------------------------------------------------

SEND_METHOD = "send_interaction_analytics_safe"


def _wrap_send(adapter: VideoSDKAdapter, original: Method) -> Method:
    @functools.wraps(original)
    def send(client: Any, interaction_data: Any) -> Any:
        with adapter.guard:
            if CALL_CONTEXT.log is not None:
                CALL_CONTEXT.log.payload(interaction_data)
        return original(client, interaction_data)

    return send


END_METHOD = "_end_session"
"""The room's only method to end a session; it takes the reason."""


def _wrap_end(adapter: VideoSDKAdapter, original: Method) -> Method:
    @functools.wraps(original)
    async def end(room: Any, reason: str = "session_ended") -> None:
        if not getattr(room, "_session_ended", False):  # the first reason counts
            adapter.session_ends(reason)
        await original(room, reason)

    return end


def _wrap_set_agent(adapter: VideoSDKAdapter, original: Method) -> Method:
    @functools.wraps(original)
    def set_agent(pipeline: Any, agent: Any) -> Any:
        result = original(pipeline, agent)
        adapter.agent_set(agent)
        return result

    return set_agent


def _wrap_shutdown(adapter: VideoSDKAdapter, original: Method) -> Method:
    @functools.wraps(original)
    async def shutdown(job: Any) -> None:
        if getattr(job, "_is_shutting_down", False):  # the first call does the work
            await original(job)
            return
        try:
            await original(job)
        finally:
            adapter.job_ended(job)

    return shutdown
