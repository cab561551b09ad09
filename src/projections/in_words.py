"""A turn's response in a line or two, for a reader who has no time for the tree: `projections.explain` has that."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.codec import clocks
from eventstore.event import Event
from projections.reference import rules as rule_sets
from projections.reference.fold import begin, fold
from projections.reference.metrics import Turn
from projections.reference.replay import latency_of
from projections.reference.rules import VIDEOSDK_1_0, Rules
from projections.response import Piece, response

LEAST_MS = 1.0
"""Shorter waits are not told."""
_PARTS = {"stt": "STT", "eou": "EOU", "ttft": "LLM to first token", "tts": "TTS", "realtime": "realtime model"}


def in_words(events: Sequence[Event], turn: int, rules: str | Rules = VIDEOSDK_1_0) -> list[str]:
    """What the caller of completed turn ``turn``, counted from 1, waited for, the longest first, and where it stands.

    Like ``answered after 2,140 ms: LLM to first token 1,200 (on_llm_start #101 → on_llm_first_token #120), …``, where
    ``#101`` is an event's ``seq``; the E2E latency by the rules is the second line. No line for what was not measured,
    so none for a turn that there is not. Raises what `projections.replay` does.
    """
    found = fold(begin(rule_sets.find(rules), spans=False, signals=False), events)
    if not 1 <= turn <= len(found.turns):
        return []
    told = found.turns[turn - 1]
    lines = []
    answered = response(told, found.session)
    if answered is not None:
        moments = _moments(events)
        pieces = sorted((piece for piece in answered.pieces if piece.ms >= LEAST_MS), key=lambda piece: -piece.ms)
        waits = ", ".join(_wait(piece, moments) for piece in pieces)
        lines.append(f"answered after {answered.ms:,.0f} ms" + (f": {waits}" if waits else ""))
    if told.e2e_latency is not None:
        lines.append(_sum(told))
    return lines


def _moments(events: Sequence[Event]) -> dict[float, Event]:
    """The last event at each moment, in seconds on the monotonic clock of its origin."""
    return {clocks(event)[0] / 1e9: event for event in events}


def _wait(piece: Piece, moments: dict[float, Event]) -> str:
    ends = [moments.get(time) for time in (piece.start, piece.end)]
    where = " → ".join(f"{event.hook} #{event.seq}" if event else "…" for event in ends)
    return f"{piece.name} {piece.ms:,.0f}" + (f" ({where})" if any(ends) else "")


def _sum(turn: Turn) -> str:
    found = latency_of(turn, 0)._asdict()
    parts = [f"{name} {found[part]:,.0f}" for part, name in _PARTS.items() if found[part] is not None]
    return f"E2E by the rules {turn.e2e_latency:,.0f} ms" + (f": {' + '.join(parts)}" if parts else "")
