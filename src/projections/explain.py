"""A completed turn's response in a line or two."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.event import Event
from projections import rules as rule_sets
from projections.fold import begin, fold
from projections.response import response
from projections.rules import VIDEOSDK_1_0, Rules


def in_words(events: Sequence[Event], turn: int, rules: str | Rules = VIDEOSDK_1_0) -> list[str]:
    """What the caller of completed turn ``turn``, counted from 1, waited for, the longest first.

    No line for what was not measured, nor for a turn that there is not. Raises what `projections.replay.replay` does.
    """
    found = fold(begin(rule_sets.find(rules), spans=False, signals=False), events)
    if not 1 <= turn <= len(found.turns):
        return []
    told = found.turns[turn - 1]
    lines = []
    answered = response(told, found.session)
    if answered is not None:
        pieces = sorted((piece for piece in answered.pieces if piece.ms >= 1), key=lambda piece: -piece.ms)
        waits = ", ".join(f"{piece.name} {piece.ms:,.0f}" for piece in pieces)
        lines.append(f"answered after {answered.ms:,.0f} ms" + (f": {waits}" if waits else ""))
    if told.e2e_latency is not None:
        lines.append(f"E2E by the rules {told.e2e_latency:,.0f} ms")
    return lines
