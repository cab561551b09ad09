"""Decisions that assign runs, tool calls and agent speech to an exchange."""

from __future__ import annotations

from projections.timeline import Activity
from projections.turns.decisions import decision
from projections.turns.exchange import Exchange


@decision
def follows_a_tool(x: Exchange, now: int) -> bool:
    """An LLM run that starts after a tool result, with no new question, continues the same answer."""
    last = max((run.start for run in x.of("llm") if run.start is not None), default=x.opened)
    return any(
        tool.start is not None and tool.start >= last - 1_000_000 and (tool.end is None or tool.end <= now + 1_000_000)
        for tool in x.of("tool")
    )


@decision
def caller_of_tool(exchanges: list[Exchange], tool: Activity, run_ids: set[str]) -> Exchange | None:
    """A tool call belongs to the turn of the LLM run that made it: the last run that started before it."""
    run_id, start = tool.data.get("run_id"), tool.start or 0
    if not run_ids or (run_id and run_id not in run_ids):
        return None
    for x in reversed(exchanges):
        for run in x.of("llm"):
            if (run_id and run.id == run_id) or (not run_id and (run.start or 0) <= start):
                return x
    return None


@decision
def speaks_unasked(x: Exchange | None, now: int) -> bool:
    """Agent speech with no answer in progress is a turn of its own, without a question."""
    return x is None or x.is_over(now)


@decision
def filler(x: Exchange, now: int) -> bool:
    """Scripted speech while a tool runs is part of the answer that the tool is for."""
    run = max((run.start or 0 for run in x.of("llm")), default=0)
    return any(run <= (tool.start or 0) <= now for tool in x.of("tool"))


@decision
def run_is_due(x: Exchange) -> bool:
    """The first LLM run after a question was sent to the model answers it, whatever the user says meanwhile."""
    sent = x.sent if x.sent is not None and x.words_at else None
    return sent is not None and not any((run.start or 0) >= sent for run in x.of("llm"))


@decision
def goes_on_speaking(x: Exchange | None, now: int) -> bool:
    """Speech that resumes after a stop, with nothing newly synthesised, is the same answer."""
    return x is not None and x.has_speech and not x.closed
