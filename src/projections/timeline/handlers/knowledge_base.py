"""Knowledge base retrievals."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.timeline.registry import with_args
from projections.timeline.state import Timeline


@with_args
def on_knowledge_base_start(t: Timeline, now: int, args: Args) -> None:
    if t.knowledge_base is not None and t.knowledge_base.end is None:
        t.knowledge_base.add_source("start", t.at)
        return
    t.knowledge_base = t.begin("knowledge_base", now, kb_id=args.get("kb_id"))
    t.step("run started", t.knowledge_base)


@with_args
def on_knowledge_base_complete(t: Timeline, now: int, args: Args) -> None:
    found = t.knowledge_base
    if found is None:
        t.ignore("no retrieval was running")
        return
    if found.end is None:
        found.finish(now, "done", t.at, reported=True)
    else:
        found.add_source("documents", t.at)
    found.data |= {name: args.get(name) for name in ("documents", "scores", "retrievals")}
