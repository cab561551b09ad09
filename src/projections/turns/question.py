"""Which utterances, and which words, make a question."""

from __future__ import annotations

import re

from projections.timeline import Activity
from projections.turns.decisions import decision
from projections.turns.exchange import Exchange

JOIN_NS = 2_000_000_000
"""A voice that goes on within that time after a pause is the same utterance going on, whatever STT made of it."""
LATE_NS = 15_000_000_000
"""Words that come later than that after a voice ended are not of it."""
_WORD = re.compile(r"\w+")


def plain(text: str) -> str:
    """The words alone, as different reports of one text agree on them."""
    return " ".join(_WORD.findall(text.casefold()))


def words_of(voice: Activity) -> str:
    """What was understood of a voice: the final words, else those that were not final yet."""
    finals: list[str] = voice.data.get("finals", [])
    return " ".join(finals) or voice.data.get("preflight", "") or voice.data.get("interim", "")


@decision
def voices_of_words(pending: list[Activity], words: str, *, interims: bool) -> list[Activity]:
    """The question is what its words say: an utterance whose own words are not among them is not part of it."""
    given = f" {plain(words)} "
    own = [plain(" ".join(voice.data.get("finals", []))) for voice in pending]
    matched = [n for n, text in enumerate(own) if text and f" {text} " in given]
    if matched:
        return [voice for n, voice in enumerate(pending) if n in matched]
    unmatched = [voice for voice, text in zip(pending, own, strict=True) if not text]
    return voices_in_a_row(unmatched or pending, interims=interims)


@decision
def voices_in_a_row(pending: list[Activity], *, interims: bool) -> list[Activity]:
    """Without words to tell by, the question is the last voice that was understood, with those just before it."""
    understood = [voice for voice in pending if voice.data.get("understood")] if interims else []
    last = (understood or pending)[-1:]
    if not last:
        return []
    found = list(last)
    for voice in reversed(pending[: pending.index(last[0])]):
        pause = (found[0].start or 0) - (voice.end if voice.end is not None else found[0].start or 0)
        if pause > JOIN_NS or (interims and not voice.data.get("understood")):
            break
        found.insert(0, voice)
    return found


@decision
def same_question(x: Exchange | None, pending: list[Activity], words: str) -> bool:
    """Words that come without a new voice, while nothing was heard yet, are the question's that is being answered."""
    if x is None or pending or not x.voices or x.heard:
        return False
    if not x.words:
        return True
    new, old = plain(words), plain(x.words)
    return new.startswith(old) or old.startswith(new)


@decision
def continues_question(x: Exchange | None, words: str) -> bool:
    """A question of which nothing was answered yet goes on where the new words begin with its own."""
    if x is None or x.heard or not x.words or not x.question:
        return False
    new, old = plain(words), plain(x.words)
    return bool(old) and new != old and new.startswith(old + " ")


@decision
def late_words(exchanges: list[Exchange], now: int) -> Exchange | None:
    """Words that come late go to the oldest utterance that ended and was answered without any."""
    for x in exchanges:
        if x.voices and not x.words:
            end = x.voices[-1].end
            if end is not None and end <= now <= end + LATE_NS:
                return x
    return None


@decision
def missed_by_detector(pending: list[Activity]) -> bool:
    """Words that no voice goes with were typed, or missed by the detector: the question ends when they come."""
    return not pending
