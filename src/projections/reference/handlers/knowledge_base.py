"""Knowledge base retrievals."""

from __future__ import annotations

from typing import Any

from eventstore.hooks.arguments import Args
from projections.reference.metrics import Kb
from projections.reference.registry import with_args
from projections.reference.rules import Rules
from projections.reference.signals import send_playground_values
from projections.reference.state import State
from projections.reference.timing import milliseconds


def _new(rules: Rules, kb_id: Any, now: float) -> Kb:
    kb = Kb(kb_id=kb_id, kb_start_time=now)
    if rules.kb_retrievals:
        kb.kb_retrievals = kb.kb_names = None
    return kb


@with_args
def on_knowledge_base_start(s: State, now: float, args: Args) -> None:
    if s.turn is not None:
        s.turn.kb_metrics.append(_new(s.rules, args.get("kb_id"), now))


@with_args
def on_knowledge_base_complete(s: State, now: float, args: Args) -> None:
    if s.turn is None or not s.turn.kb_metrics:
        return
    kb = s.turn.kb_metrics[-1]
    kb.kb_documents = args["documents"]
    kb.kb_scores = args["scores"]
    if s.rules.kb_retrievals:
        kb.kb_retrievals = args.get("retrievals")
    kb.kb_end_time = now
    if kb.kb_start_time:
        kb.kb_retrieval_latency = milliseconds(now - kb.kb_start_time)
    send_playground_values(
        s,
        kb_id=kb.kb_id,
        kb_retrieval_latency=kb.kb_retrieval_latency,
        kb_documents=kb.kb_documents,
        kb_scores=kb.kb_scores,
    )
