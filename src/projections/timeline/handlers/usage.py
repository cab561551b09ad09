"""Run ids, run ends, and usage (tokens and seconds of audio) added to the run that caused it."""

from __future__ import annotations

from typing import Any

from eventstore.hooks.arguments import Args
from projections.timeline.activity import Activity
from projections.timeline.registry import count, text, with_args
from projections.timeline.state import Timeline

COMPONENTS = ("stt", "llm", "tts", "realtime")


def add_tokens(run: Activity, at: int, tokens_in: Any, tokens_out: Any, total: Any, cached: Any = None) -> None:
    """Add input, output, total and cached tokens to the run's usage."""
    tokens = run.data.setdefault("tokens", {"input": 0, "output": 0, "total": 0})
    tokens["input"] += count(tokens_in)
    tokens["output"] += count(tokens_out)
    tokens["total"] += count(total) or count(tokens_in) + count(tokens_out)
    if count(cached):
        tokens["cached"] = tokens.get("cached", 0) + count(cached)
    run.add_source("tokens", at)


def run_of_usage(t: Timeline, component: str, latest: Activity | None) -> Activity | None:
    """The run that a usage report belongs to: the one that ``name_usage`` named, else the latest.

    None if the run's usage was reported before.
    """
    run_id = t.usage_of.pop(component, None)
    if run_id is None:
        if latest is None:
            t.ignore(f"no {component} run had started")
        return latest
    key = component, run_id
    if key in t.usage_known:
        t.ignore(f"the usage of {component} run {run_id!r} was reported before")
        return None
    t.usage_known.add(key)
    return t.runs.get(key) or latest


@with_args
def name_run(t: Timeline, now: int, args: Args) -> None:
    component, run_id = args.get("component"), text(args.get("run_id"))
    if component == "realtime" and run_id and ("realtime", run_id) not in t.runs:
        t.response = t.begin("realtime", now)  # no other hook starts a realtime run
        t.step("realtime usage", t.response)
    run = _latest(t, component)
    if run is None or not run_id:
        t.ignore("there was no run to name")
        return
    run.id = run_id
    run.add_source("id", t.at)
    t.runs[str(component), run_id] = run


@with_args
def name_usage(t: Timeline, now: int, args: Args) -> None:
    component, run_id = args.get("component"), text(args.get("run_id"))
    if component in COMPONENTS and run_id:
        t.usage_of[component] = run_id


@with_args
def run_ended(t: Timeline, now: int, args: Args) -> None:
    component, status, run_id = args.get("component"), args.get("status"), text(args.get("run_id"))
    run = t.runs.get((str(component), run_id)) if run_id else _latest(t, component)
    if run is None or status not in ("done", "cancelled", "superseded", "failed"):
        t.ignore("unknown run or status")
    elif not run.end_reported:
        run.finish(now, status, t.at, reported=True)
    elif status in ("cancelled", "superseded"):  # its output is complete, but not used
        run.status = status
        run.add_source("end", t.at)


@with_args
def add_audio_seconds(t: Timeline, now: int, args: Args) -> None:
    component, seconds, run_id = args.get("component"), args.get("seconds"), text(args.get("run_id"))
    run = t.runs.get((str(component), run_id)) or _latest(t, component)
    if run is None or not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
        t.ignore("there was no run for the audio, or no valid duration")
        return
    run.data["audio_seconds"] = run.data.get("audio_seconds", 0.0) + seconds
    run.add_source("audio_seconds", t.at)


def _latest(t: Timeline, component: object) -> Activity | None:
    return {"stt": t.stt, "llm": t.llm, "tts": t.tts, "realtime": t.response}.get(str(component))
