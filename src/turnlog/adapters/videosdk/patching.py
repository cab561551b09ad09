"""Wrapping the framework's classes, and giving them back as they were."""

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
from turnlog.adapters.videosdk.call_log import RENAMED, CallLog, collector_write, traces_write
from turnlog.adapters.videosdk.clock import HERE, LentTime, enter, leave

Method = Callable[..., Any]
COMPLETES_LATER = "schedule_turn_complete"
"""Without an event loop it completes the turn at once; that is a call of its own, as the timer's firing is."""
CLOCKED = ("metrics_collector", "telemetry", "traces_flow")
"""Modules of ``videosdk.agents.metrics`` that read the clock."""


def wrap(adapter: VideoSDKAdapter) -> list[Callable[[], None]]:
    """Put the adapter into the framework's classes; returns what undoes it, to be called from the last to the first."""
    undo: list[Callable[[], None]] = []

    def put(owner: Any, name: str, value: Any) -> None:
        before = vars(owner).get(name, undo)
        setattr(owner, name, value)
        undo.append(lambda: delattr(owner, name) if before is undo else setattr(owner, name, before))

    if adapter.lends and not adapter.replaces:
        for module in CLOCKED:
            put(sys.modules[f"{metrics.__name__}.{module}"], "time", LentTime())
    for name, method in _methods(metrics.MetricsCollector):
        put(metrics.MetricsCollector, name, _collector_method(adapter, name, method))
    for name, method in _methods(metrics.TracesFlowManager):
        make = _traces_coroutine if inspect.iscoroutinefunction(method) else _traces_method
        put(metrics.TracesFlowManager, name, make(adapter, name, method))
    if adapter.replaces:
        for name, read in LIVE_READS.items():
            put(metrics.MetricsCollector, name, _live_read(adapter, name, read))
    put(AnalyticsClient, SENDS, _sending(adapter, vars(AnalyticsClient)[SENDS]))
    put(Pipeline, "set_agent", _setting_agent(adapter, vars(Pipeline)["set_agent"]))
    put(VideoSDKHandler, ENDS, _ending(adapter, vars(VideoSDKHandler)[ENDS]))
    put(JobContext, "shutdown", _shutdown(adapter, vars(JobContext)["shutdown"]))
    return undo


def _methods(of: type) -> list[tuple[str, Method]]:
    found = [(name, value) for name, value in vars(of).items() if inspect.isfunction(value)]
    return [(name, value) for name, value in found if not name.startswith("_") or name in RENAMED]


# the collector -------------------------------------------------------------------------------------------------------


def _collector_method(adapter: VideoSDKAdapter, name: str, original: Method) -> Method:
    write, is_hook = collector_write(name, original)
    instead = HELD.get(name, _nothing) if adapter.replaces and is_hook else None
    record, lends, completes_later = adapter.record, adapter.lends, name == COMPLETES_LATER

    @functools.wraps(original)
    def recorded(collector: Any, *args: Any, **kwargs: Any) -> Any:
        if HERE.inside:
            if not _from_metrics(sys._getframe(1)):  # a listener to what the collector emits
                record(write, name, collector, args, kwargs)
            return original(collector, *args, **kwargs)
        call = record(write, name, collector, args, kwargs)
        if instead is not None:
            return instead(collector, *args, **kwargs)
        if completes_later:
            return original(collector, *args, **kwargs)
        enter(call, lend=lends)
        try:
            return original(collector, *args, **kwargs)
        finally:
            leave()

    return recorded


def _from_metrics(caller: types.FrameType) -> bool:
    """Whether the collector, or the traces manager, calls itself: that is part of the call that is being passed on."""
    return str(caller.f_globals.get("__name__", "")).startswith(metrics.__name__)


def _nothing(_collector: Any, *_args: Any, **_kwargs: Any) -> None:
    """In replace mode the recorder has it, and nobody else."""


def _hold_traces(collector: Any, manager: Any) -> None:
    collector.traces_flow_manager = manager


def _hold_playground(collector: Any, manager: Any) -> None:
    collector.playground_manager = manager


HELD: dict[str, Method] = {"set_traces_flow_manager": _hold_traces, "set_playground_manager": _hold_playground}
"""In replace mode: what the framework reads back from the collector is set on it."""

LIVE_READS: dict[str, Callable[[CallLog], Any]] = {
    "current_turn": lambda call: call.recorder.current_turn,
    "turns": lambda call: call.recorder.turns,
    "session": lambda call: call.recorder.session,
    "_stt_start_time": lambda call: call.recorder._live_state().stt_start,
}
"""In replace mode: what the framework reads of the collector while a call goes on, from the fold of the log."""


def _live_read(adapter: VideoSDKAdapter, name: str, read: Callable[[CallLog], Any]) -> property:
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


def _traces_method(adapter: VideoSDKAdapter, name: str, original: Method) -> Method:
    write, is_hook = traces_write(name, original)
    replaced = adapter.replaces and is_hook

    @functools.wraps(original)
    def recorded(manager: Any, *args: Any, **kwargs: Any) -> Any:
        if HERE.inside:
            return original(manager, *args, **kwargs)
        call, ours = adapter.record_traces(write, manager, args, kwargs)
        if replaced:
            return ours
        enter(call, lend=adapter.lends)
        try:
            theirs = original(manager, *args, **kwargs)
        finally:
            leave()
        if call is not None and ours is not None and theirs is not None:
            call.a2a_spans[id(theirs)] = theirs, ours
        return theirs

    return recorded


def _traces_coroutine(adapter: VideoSDKAdapter, name: str, original: Method) -> Method:
    write, is_hook = traces_write(name, original)
    replaced = adapter.replaces and is_hook

    @functools.wraps(original)
    async def recorded(manager: Any, *args: Any, **kwargs: Any) -> Any:
        ready = None if replaced else getattr(manager, "root_span_ready", None)
        if ready is not None:
            await ready.wait()  # the framework does nothing before, so it has not happened yet
        call, _ours = adapter.record_traces(write, manager, args, kwargs)
        if not replaced:
            return await _in_steps(original(manager, *args, **kwargs), call, adapter.lends)
        return None

    return recorded


@types.coroutine
def _in_steps(coroutine: Any, call: CallLog | None, lend: bool) -> Generator[Any, Any, Any]:
    """Await it, and be inside only while it runs: other tasks run while it waits."""
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
        except BaseException as error:  # noqa: BLE001 - a cancellation: it is the coroutine's
            step, value = coroutine.throw, error


# what is sent, and the end of a job ----------------------------------------------------------------------------------

SENDS = "send_interaction_analytics_safe"


def _sending(adapter: VideoSDKAdapter, original: Method) -> Method:
    @functools.wraps(original)
    def sent(client: Any, interaction_data: Any) -> Any:
        with adapter.guard:
            if HERE.log is not None:
                HERE.log.payload(interaction_data)
        return original(client, interaction_data)

    return sent


ENDS = "_end_session"
"""The room's one way to end a session, with the reason."""


def _ending(adapter: VideoSDKAdapter, original: Method) -> Method:
    @functools.wraps(original)
    async def ending(room: Any, reason: str = "session_ended") -> None:
        if not getattr(room, "_session_ended", False):  # the first reason is the reason
            adapter.session_ends(reason)
        await original(room, reason)

    return ending


def _setting_agent(adapter: VideoSDKAdapter, original: Method) -> Method:
    @functools.wraps(original)
    def set_agent(pipeline: Any, agent: Any) -> Any:
        made = original(pipeline, agent)
        adapter.agent_set(agent)
        return made

    return set_agent


def _shutdown(adapter: VideoSDKAdapter, original: Method) -> Method:
    @functools.wraps(original)
    async def shutdown(job: Any) -> None:
        if getattr(job, "_is_shutting_down", False):  # the first one does the work
            await original(job)
            return
        try:
            await original(job)
        finally:
            adapter.job_ended(job)

    return shutdown
