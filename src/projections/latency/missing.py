"""Reasons why a turn has no response."""

from __future__ import annotations

from typing import Literal

from projections.turns.exchange import Exchange

Reason = Literal[
    "no question", "no answer heard", "withdrawn", "cut off before it was heard", "error", "hang-up", "still open"
]  # fmt: skip


def no_response(x: Exchange, *, last: bool, ended: bool) -> Reason:
    """The reason for an exchange without a response; ``last``: it is the session's last, ``ended``: that has ended."""
    if not x.question:
        return "no question"
    if x.cut is not None:
        return "cut off before it was heard" if x.cut_by is not None or x.cut_by_words else "withdrawn"
    if x.of("error") or any(run.status == "failed" for run in (*x.of("llm"), *x.of("tts"))):
        return "error"
    if x.superseded:
        return "withdrawn"
    if last and not ended:
        return "still open"
    return "hang-up" if x.hung_up else "no answer heard"
