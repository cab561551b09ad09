"""LLM runs. Each start is a run of its own."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.timeline.activity import Activity
from projections.timeline.handlers.usage import add_tokens, run_of_usage
from projections.timeline.registry import with_args, without_args
from projections.timeline.state import Timeline

HUNG_NS = 10_000_000_000
"""A run without output for that long has hung: it has no end, and the next run does not supersede it."""


@without_args
def on_llm_start(t: Timeline, now: int) -> None:
    before = t.llm_before = t.llm
    t.llm = t.begin("llm", now)
    if before is not None and before.end is None and now - (before.first or before.start or now) < HUNG_NS:
        before.finish(now, "superseded", t.at, reported=False)
    t.resynthesised, t.cut_speech = True, None
    if t.llm_input is not None:
        t.llm.data["input"], at = t.llm_input
        t.llm.add_source("input", at)
        t.llm_input = None
    t.step("llm started", t.llm)


def _running(t: Timeline) -> Activity:
    if t.llm is None:
        t.llm = t.begin_unreported("llm")
        t.step("llm started", t.llm)
    return t.llm


@without_args
def on_llm_first_token(t: Timeline, now: int) -> None:
    _running(t).set_first_output(now, t.at)


@without_args
def on_llm_complete(t: Timeline, now: int) -> None:
    """End the run; a cancelled or failed one keeps its status."""
    run = _running(t)
    if not run.end_reported:
        status = run.status if run.status in ("cancelled", "failed") else "done"
        run.finish(now, status, t.at, reported=True)
        t.step("run ended", run)


@with_args
def set_llm_input(t: Timeline, now: int, args: Args) -> None:
    if t.llm is None or t.llm.first is not None or t.llm.end is not None:
        t.llm_input = args.get("text") or "", t.at  # for the next run
        return
    t.llm.data["input"] = args.get("text")
    t.llm.add_source("input", t.at)


@with_args
def set_llm_usage(t: Timeline, now: int, args: Args) -> None:
    usage = args.get("usage")
    if not isinstance(usage, dict) or not usage:
        t.ignore("the usage is empty")
        return
    run = run_of_usage(t, "llm", run_with_usage_due(t))
    if run is not None:
        tokens_in, tokens_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
        add_tokens(run, t.at, tokens_in, tokens_out, usage.get("total_tokens"), usage.get("prompt_cached_tokens"))


def run_with_usage_due(t: Timeline) -> Activity | None:
    """The run that usage without a run id belongs to: the latest, or the one before it if that ended without usage.

    A run reports usage after its first token, so a report before the latest run's first token is a late one.
    """
    latest, before = t.llm, t.llm_before
    if latest is None or latest.first is not None or latest.end is not None:
        return latest
    return before if before is not None and before.end is not None and "tokens" not in before.data else latest
