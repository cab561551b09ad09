"""Why a turn has no response."""

from __future__ import annotations

from typing import Literal

from projections.turns.exchange import Exchange

Reason = Literal[
    "no question", "no answer heard", "withdrawn", "cut off before it was heard", "error", "hang-up", "still open"
]  # fmt: skip


def no_response(x: Exchange, *, last: bool, ended: bool) -> Reason:
    """Of an exchange in which nothing was asked, or the agent was not heard; ``last``: no other came after it."""
    if not x.question:
        return "no question"
    if x.cut is not None and (x.cut_by is not None or x.cut_by_words):
        return "cut off before it was heard"
    if x.cut is not None:
        return "hang-up" if last and ended else "withdrawn"  # the end of a call cancels what is in the making
    if x.of("error") or any(run.status == "failed" for run in (*x.of("llm"), *x.of("tts"))):
        return "error"
    if x.superseded:
        return "withdrawn"
    if last and not ended:
        return "still open"
    return "hang-up" if x.hung_up else "no answer heard"
