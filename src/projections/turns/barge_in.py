"""What an interruption does to turns: the voice behind it begins the next one."""

from __future__ import annotations

from projections.timeline import Activity
from projections.turns.decisions import decision

RECENT_NS = 3_000_000_000
"""How long after the user fell silent an interruption is still theirs: STT and the wait for more may come before it."""

YIELD_NS = 1_000_000_000
"""How long a realtime model may take to fall silent."""


@decision
def voice_behind(pending: list[Activity], now: int) -> Activity | None:
    """An interruption is the user's whose voice is heard at that moment, or was within the last seconds."""
    for voice in reversed(pending):
        if voice.start is not None and voice.start <= now:
            return voice if voice.end is None or now - voice.end <= RECENT_NS else None
    return None


@decision
def ended_under(pending: list[Activity], speech: Activity, now: int) -> Activity | None:
    """A realtime model's speech that ends right after the user came in was cut off: it reports that in no other way."""
    for voice in reversed(pending):
        start = voice.start or 0
        if (speech.start or 0) < start <= now <= start + YIELD_NS and (voice.end is None or voice.end > now):
            return voice
    return None


@decision
def carried_over(pending: list[Activity], voice: Activity) -> list[Activity]:
    """The voice that cut the agent off, and what follows it, belong to the turn that answers them."""
    return [other for other in pending if (other.start or 0) >= (voice.start or 0)]


@decision
def of_no_question(voice: Activity, *, cut: bool, into_answer: bool) -> str:
    """A voice of which nothing was answered, and for which nothing was cancelled, belongs to no question."""
    if cut:
        return ""
    if into_answer:
        return "said into an answer or before it, and nothing of it was answered"
    return "no words were understood of it" if not voice.data.get("finals") else ""
