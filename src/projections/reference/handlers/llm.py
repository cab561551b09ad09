"""LLM metrics. A turn has one entry, however often the model is started."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.reference.metrics import Llm, Turn
from projections.reference.registry import with_args, without_args
from projections.reference.signals import component_metric, send_playground, send_playground_values
from projections.reference.state import State
from projections.reference.timing import milliseconds


def _last(turn: Turn) -> Llm:
    if not turn.llm_metrics:
        turn.llm_metrics.append(Llm())
    return turn.llm_metrics[-1]


@without_args
def on_llm_start(s: State, now: float) -> None:
    s.llm_start = now
    if s.turn is not None:
        _last(s.turn).llm_start_time = now


@without_args
def on_llm_first_token(s: State, now: float) -> None:
    if s.turn is None or not s.turn.llm_metrics:
        return
    llm = s.turn.llm_metrics[-1]
    if llm.llm_start_time:
        llm.llm_first_token_time = now
        llm.llm_ttft = milliseconds(now - llm.llm_start_time)
        send_playground(s, "llm_ttft", llm.llm_ttft)


@without_args
def on_llm_complete(s: State, now: float) -> None:
    if not s.llm_start:
        return
    duration = milliseconds(now - s.llm_start)
    if s.turn is not None and s.turn.llm_metrics:
        llm = s.turn.llm_metrics[-1]
        llm.llm_end_time = now
        llm.llm_duration = duration
        send_playground(s, "llm_duration", duration)
        if s.rules.component_signals:
            component_metric(s, "llm", llm)
    s.llm_start = None


@with_args
def set_llm_input(s: State, now: float, args: Args) -> None:
    if s.turn is not None:
        _last(s.turn).llm_input = args["text"]


@with_args
def set_llm_usage(s: State, now: float, args: Args) -> None:
    """Set token counts, and tokens per second if the duration is already known."""
    usage = args["usage"]
    if s.turn is None or not usage:
        return
    llm = _last(s.turn)
    llm.prompt_tokens = usage.get("prompt_tokens")
    llm.completion_tokens = usage.get("completion_tokens")
    llm.total_tokens = usage.get("total_tokens")
    llm.prompt_cached_tokens = usage.get("prompt_cached_tokens")
    if llm.llm_duration and llm.llm_duration > 0 and llm.completion_tokens and llm.completion_tokens > 0:
        llm.tokens_per_second = round(llm.completion_tokens / (llm.llm_duration / 1000), 2)
    send_playground_values(
        s,
        prompt_tokens=llm.prompt_tokens,
        completion_tokens=llm.completion_tokens,
        total_tokens=llm.total_tokens,
        tokens_per_second=llm.tokens_per_second,
    )
