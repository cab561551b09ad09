"""Errors and provider fallbacks."""

from __future__ import annotations

from typing import Any

from eventstore.hooks.arguments import Args
from projections.timeline.registry import to_session_time, with_args
from projections.timeline.state import Timeline


@with_args
def add_error(t: Timeline, now: int, args: Args) -> None:
    _error(t, now, args.get("source"), args.get("message"))


@with_args
def set_realtime_model_error(t: Timeline, now: int, args: Args) -> None:
    error = args.get("error")
    _error(t, now, "REALTIME_MODEL", error.get("message") if isinstance(error, dict) else error)


def _error(t: Timeline, now: int, source: Any, message: Any) -> None:
    found = t.begin("error", now, source=str(source), message=str(message))
    found.finish(now, "done", t.at, reported=True)
    component = str(source).lower()
    run = {"llm": t.llm, "tts": t.tts, "stt": t.stt, "realtime_model": t.response}.get(component)
    if run is not None and run.end is None:
        run.data["error"] = now
        run.add_source("error", t.at)
    t.step("error", found)


@with_args
def on_fallback_event(t: Timeline, now: int, args: Args) -> None:
    """A provider failed and a different one took over, or it recovered. A failure spans the time that it cost."""
    event = args.get("event_data")
    event = event if isinstance(event, dict) else {}
    found = t.begin("fallback", now)
    found.data.update(event)
    component = str(event.get("component_type")).lower()
    run = {"llm": t.llm, "tts": t.tts, "stt": t.stt}.get(component)
    if not event.get("is_recovery"):
        running = run is not None and run.end is None and run.first is None
        start = to_session_time(t, event.get("original_connection_start")) or to_session_time(
            t, event.get("start_time")
        )
        begun = [s for s in (start, run.start if run is not None and running else None) if s is not None]
        found.start = min(begun, default=now)
        if run is not None and found.start == run.start:
            found.add_source("start", run.sources["start"][-1])
        if run is not None and running:
            run.data["failed_until"] = now
            run.add_source("failed_until", t.at)
    found.finish(now, "failed", t.at, reported=True)
    t.step("fallback", found)
