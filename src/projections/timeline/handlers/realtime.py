"""Usage of realtime (speech-to-speech) models. Reports belong to a response, and add up."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.timeline.handlers.usage import add_tokens, run_of_usage
from projections.timeline.registry import with_args
from projections.timeline.state import Timeline


@with_args
def set_realtime_usage(t: Timeline, now: int, args: Args) -> None:
    """Add usage to its response; a report without a run id is a response of its own."""
    usage = args.get("usage")
    if not isinstance(usage, dict) or not usage:
        t.ignore("the usage is empty")
        return
    if "realtime" not in t.usage_of:
        t.response = t.begin("realtime", now)
        t.response.finish(now, "done", t.at, reported=False)
        t.step("realtime usage", t.response)
    run = run_of_usage(t, "realtime", t.response)
    if run is not None:
        add_tokens(run, t.at, usage.get("input_tokens"), usage.get("output_tokens"), usage.get("total_tokens"))
        run.data["usage"] = usage
