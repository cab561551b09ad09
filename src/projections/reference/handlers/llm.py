"""The language model. A turn has one entry, however often the model is started; or one a call (``llm_calls_apart``)."""

from __future__ import annotations

from eventstore.arguments import Args
from projections.reference.handlers.served import served
from projections.reference.handlers.table import bare, with_args
from projections.reference.handlers.turn import turn_for
from projections.reference.metrics import Llm, Turn
from projections.reference.signals import component_metric, play, play_all
from projections.reference.state import State
from projections.reference.timing import milliseconds


def _last(s: State, turn: Turn) -> Llm:
    if not turn.llm_metrics:
        turn.llm_metrics.append(served(s, "llm", Llm()))
    return turn.llm_metrics[-1]


@bare
def on_llm_start(s: State, now: float) -> None:
    s.llm_start = now
    turn = turn_for(s, now)
    if turn is None:
        return
    llm = _last(s, turn)
    if llm.llm_start_time is not None and s.rules.llm_calls_apart:
        turn.llm_metrics.append(served(s, "llm", Llm(llm_start_time=now)))
    else:
        llm.llm_start_time = now


@bare
def on_llm_first_token(s: State, now: float) -> None:
    if s.turn is None or not s.turn.llm_metrics:
        return
    llm = s.turn.llm_metrics[-1]
    if llm.llm_start_time:
        served(s, "llm", llm)
        llm.llm_first_token_time = now
        llm.llm_ttft = milliseconds(now - llm.llm_start_time)
        play(s, "llm_ttft", llm.llm_ttft)


@bare
def on_llm_complete(s: State, now: float) -> None:
    start = _begun(s.turn) if s.rules.own_start else s.llm_start
    if not start:
        return
    duration = milliseconds(now - start)
    if s.turn is not None and s.turn.llm_metrics:
        llm = s.turn.llm_metrics[-1]
        llm.llm_end_time = now
        llm.llm_duration = duration
        if s.rules.tokens_per_second_late:
            _set_speed(llm)
        play(s, "llm_duration", duration)
        if s.rules.component_signals:
            component_metric(s, "llm", llm)
    s.llm_start = None


def _begun(turn: Turn | None) -> float | None:
    """When the call began that is going on in the turn."""
    if turn is None or not turn.llm_metrics or turn.llm_metrics[-1].llm_end_time is not None:
        return None
    return turn.llm_metrics[-1].llm_start_time


def _set_speed(llm: Llm) -> None:
    """Tokens per second, if both are known."""
    if llm.llm_duration and llm.llm_duration > 0 and llm.completion_tokens and llm.completion_tokens > 0:
        llm.tokens_per_second = round(llm.completion_tokens / (llm.llm_duration / 1000), 2)


@with_args
def set_llm_input(s: State, now: float, args: Args) -> None:
    turn = turn_for(s, now)
    if turn is None:
        return
    llm = _last(s, turn)
    if llm.llm_end_time is not None and s.rules.llm_calls_apart:  # of the call that comes
        llm = served(s, "llm", Llm())
        turn.llm_metrics.append(llm)
    llm.llm_input = args["text"]


@with_args
def set_llm_usage(s: State, now: float, args: Args) -> None:
    """Token counts; tokens per second only if the duration is known by now."""
    usage = args["usage"]
    if s.turn is None or not usage:
        return
    llm = _last(s, s.turn)
    llm.prompt_tokens = usage.get("prompt_tokens")
    llm.completion_tokens = usage.get("completion_tokens")
    llm.total_tokens = usage.get("total_tokens")
    llm.prompt_cached_tokens = usage.get("prompt_cached_tokens")
    _set_speed(llm)
    play_all(
        s,
        prompt_tokens=llm.prompt_tokens,
        completion_tokens=llm.completion_tokens,
        total_tokens=llm.total_tokens,
        tokens_per_second=llm.tokens_per_second,
    )
