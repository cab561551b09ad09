"""Spoken and unspoken text of interrupted answers.

Pipecat and LiveKit keep only the played text in their context, if the TTS has word timestamps. Otherwise it is
estimated: the time that the agent spoke, at the session's own speech rate, and at most the text synthesised by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from projections.timeline import Activity
from projections.turns.assembly import Assembly
from projections.turns.exchange import Exchange
from projections.turns.ledger import BargeIn

KEEPS_PLAYED_TEXT = ("livekit-agents", "pipecat-ai")
PLAUSIBLE = 2
"""Maximum length relative to the estimate: a longer text shows that the framework kept all of it, played or not."""


class SpokenText(NamedTuple):
    """The text of an interrupted answer, split where it was interrupted; None is unknown."""

    said: str | None = None
    unsaid: str | None = None
    """None also where the framework did not keep it."""
    estimated: bool = False


def spoken_text(a: Assembly, records: Sequence[BargeIn]) -> list[SpokenText]:
    """The split text for each record; empty where the agent was not interrupted, or its text is unknown."""
    rate = _rate(a)
    return [_split(a, record, rate) for record in records]


def _split(a: Assembly, record: BargeIn, rate: float | None) -> SpokenText:
    x, speech = record.exchange, record.speech
    if record.kind in ("overlap", "false") or x is None or speech is None or record.agent_heard_ms is None:
        return SpokenText()
    text = x.answer
    if not text:
        return SpokenText()
    before = sum(_duration_ns(other) for other in x.speeches() if (other.start or 0) < (speech.start or 0))
    length = None if rate is None else int(rate * (before / 1e9 + record.agent_heard_ms / 1000))
    if a.timeline.framework in KEEPS_PLAYED_TEXT and (length is None or len(text) <= PLAUSIBLE * length):
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
    """Speech rate in characters per second: the median over the session's answers that were completed.

    The median, as an unreported pause makes a single answer seem slow.
    """
    rates = []
    for x in a.exchanges:
        length, ns = len(x.answer), sum(map(_duration_ns, x.speeches()))
        if length and ns > 0 and _was_completed(x):
            rates.append(length * 1e9 / ns)
    return median(rates) if rates else None


def _was_completed(x: Exchange) -> bool:
    return not x.cut_off and all(speech.end_reported and "cut" not in speech.data for speech in x.speeches())


def _duration_ns(speech: Activity) -> int:
    return 0 if speech.start is None or speech.end is None else speech.end - speech.start
