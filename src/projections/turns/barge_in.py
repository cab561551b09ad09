"""Decisions about interruptions: which voice caused one, and what the next turn inherits."""

from __future__ import annotations

from projections.timeline import Activity
from projections.turns.decisions import decision

RECENT_NS = 3_000_000_000
"""Maximum delay from the end of a voice to the interruption it causes: STT and endpointing may come in between."""

YIELD_NS = 1_000_000_000
"""Maximum time a realtime model takes to fall silent."""


@decision
def voice_behind(pending: list[Activity], now: int) -> Activity | None:
    """An interruption belongs to the voice that is active at that moment, or was within the last seconds."""
    for voice in reversed(pending):
        if voice.start is not None and voice.start <= now:
            return voice if voice.end is None or now - voice.end <= RECENT_NS else None
    return None


@decision
def ended_under(pending: list[Activity], speech: Activity, now: int) -> Activity | None:
    """A realtime model's speech that ends right after the user starts was interrupted: no hook reports that."""
    for voice in reversed(pending):
        start = voice.start or 0
        if (speech.start or 0) < start <= now <= start + YIELD_NS and (voice.end is None or voice.end > now):
            return voice
    return None


@decision
def carried_over(pending: list[Activity], voice: Activity) -> list[Activity]:
    """The voice that interrupted the agent, and all later ones, belong to the turn that answers them."""
    return [other for other in pending if (other.start or 0) >= (voice.start or 0)]


@decision
def of_no_question(voice: Activity, *, cut: bool, into_answer: bool) -> str:
    """A voice that was not answered, and for which nothing was cancelled, belongs to no question."""
    if cut:
        return ""
    if into_answer:
        return "spoken before or during an answer, and not answered"
    return "no speech was recognised in it" if not voice.data.get("finals") else ""
