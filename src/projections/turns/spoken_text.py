"""What had been said of an answer when it was cut off, and what had not.

Pipecat and LiveKit keep in their context what was heard, where the TTS times each word; elsewhere it is an
estimate: how long the agent was heard, at the session's own rate of speech, and no more than was synthesised by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from projections.timeline import Activity
from projections.turns.assembly import Assembly
from projections.turns.exchange import Exchange
from projections.turns.ledger import BargeIn

KEEP_WHAT_WAS_HEARD = ("livekit-agents", "pipecat-ai")
PLAUSIBLE = 2
"""No one speaks that many times as fast as ever: then the framework kept the whole text."""


class SpokenText(NamedTuple):
    said: str | None = None
    unsaid: str | None = None
    """None, too, where the framework did not keep it."""
    estimated: bool = False


def spoken_text(a: Assembly, records: Sequence[BargeIn]) -> list[SpokenText]:
    """By record: what was said of the answer; nothing where the agent was not cut off, or its words are not known."""
    rate = _rate(a)
    return [_split(a, record, rate) for record in records]


def _split(a: Assembly, record: BargeIn, rate: float | None) -> SpokenText:
    x, speech = record.exchange, record.speech
    if record.kind in ("overlap", "false") or x is None or speech is None or record.agent_heard_ms is None:
        return SpokenText()
    text = x.answer
    if not text:
        return SpokenText()
    before = sum(_lasted(other) for other in x.speeches() if (other.start or 0) < (speech.start or 0))
    length = None if rate is None else int(rate * (before / 1e9 + record.agent_heard_ms / 1000))
    if a.timeline.framework in KEEP_WHAT_WAS_HEARD and (length is None or len(text) <= PLAUSIBLE * length):
        return SpokenText(text)
    if length is None:
        return SpokenText()
    synthesised = sum(run.data.get("characters", 0) for run in x.of("tts"))
    length = min(length, synthesised) if synthesised > 0 else length
    if length >= len(text):
        return SpokenText(text, "", estimated=True)
    end = max(0, text.rfind(" ", 0, length + 1))
    return SpokenText(text[:end], text[end:].lstrip(), estimated=True)


def _rate(a: Assembly) -> float | None:
    """Characters a second: the median of the session's answers that came to their end.

    The median, as a pause that was not reported makes one of them seem slow.
    """
    rates = []
    for x in a.exchanges:
        length, ns = len(x.answer), sum(map(_lasted, x.speeches()))
        if length and ns > 0 and _came_to_its_end(x):
            rates.append(length * 1e9 / ns)
    return median(rates) if rates else None


def _came_to_its_end(x: Exchange) -> bool:
    return not x.cut_off and all(speech.end_reported and "cut" not in speech.data for speech in x.speeches())


def _lasted(speech: Activity) -> int:
    return 0 if speech.start is None or speech.end is None else speech.end - speech.start
