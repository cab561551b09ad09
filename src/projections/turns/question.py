"""Decisions about which utterances and which text form a question."""

from __future__ import annotations

import re

from projections.timeline import Activity, Step
from projections.turns.decisions import decision
from projections.turns.exchange import Exchange

JOIN_NS = 2_000_000_000
"""Maximum pause within one utterance, whatever STT recognised on either side of it."""
RECENT_NS = 10_000_000_000
"""Maximum delay from the end of a voice to its transcript."""
AGAIN_NS = 100_000_000
"""Maximum interval between two reports of one question."""
STAND_IN_NS = 5_000_000
"""Maximum delay from typed text to the voice that some frameworks report for it."""
_WORD = re.compile(r"\w+")


def normalized(text: str) -> str:
    """The text's words in lower case, without punctuation, on which different reports of one text agree."""
    return " ".join(_WORD.findall(text.casefold()))


def _within(text: str, target: str) -> bool:
    return bool(text) and (f" {text} " in f" {target} " or f" {target} " in f" {text} ")


def _matches(text: str, words: str, target: str) -> bool:
    """Whether ``text`` and ``words`` are equal or one contains the other; ``target`` is ``words`` normalized."""
    return bool(target) and (text == words or _within(normalized(text), target))


def words_of(voice: Activity) -> str:
    """The transcript of a voice: the final ones, else the latest preliminary one."""
    finals: list[str] = voice.data.get("finals", [])
    return " ".join(finals) or voice.data.get("preflight", "") or voice.data.get("interim", "")


@decision
def voices_of_words(
    pending: list[Activity], words: str, now: int, *, transcribed: set[int], interims: bool
) -> list[Activity]:
    """The question is what its text says: an utterance whose transcript is not in it is not part of it."""
    target = normalized(words)
    matched = [v for v in pending if any(_matches(text, words, target) for text in v.data.get("finals", ()))]
    if matched:
        return [voice for voice in matched if voice.at in transcribed] or matched[:1]
    unmatched = (v for v in pending if "finals" not in v.data)
    recent = [v for v in unmatched if v.end is None or now - v.end < RECENT_NS]
    return voices_in_a_row([v for v in recent if not interims or "understood" in v.data], interims=interims)


@decision
def with_the_cut(voices: list[Activity], pending: list[Activity], interrupting: set[int]) -> list[Activity]:
    """A voice that interrupted the agent and then paused is the beginning of the question that follows."""
    if not voices or len(pending) == len(voices):
        return voices
    before = [
        v
        for v in pending
        if (v.start or 0) < (voices[0].start or 0) and v.at in interrupting and "finals" not in v.data
    ]
    if before and before[-1].end is not None and (voices[0].start or 0) - before[-1].end <= JOIN_NS:
        return [before[-1], *voices]
    return voices


@decision
def voices_in_a_row(pending: list[Activity], *, interims: bool) -> list[Activity]:
    """Without text to match, the question is the last voice that was recognised, and those just before it."""
    if len(pending) < 2:
        return pending[:]
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
def back_channel(voice: Activity, x: Exchange | None, interrupting: set[int]) -> bool:
    """A voice that the agent spoke over, and for which nothing was cancelled, is no question by itself."""
    start, end = voice.start, voice.end
    if x is None or start is None or end is None or voice.at in interrupting:
        return False
    return any((s.start or 0) <= start and (s.end is None or s.end > end) for s in x.speeches())


@decision
def same_question(x: Exchange | None, pending: list[Activity], words: str, now: int) -> bool:
    """Text without a new voice, before any audio of the answer, belongs to the question being answered."""
    if x is None or not x.question or x.has_speech:
        return False
    new, old = normalized(words), normalized(x.words)
    if new == old and (not x.words_at or (x.sent is not None and now - x.sent < AGAIN_NS)):
        return True
    if pending or not x.voices:
        return new == old and not pending
    return new.startswith(old) or old.startswith(new)


@decision
def words_of_run(x: Exchange | None, voices: list[Activity], now: int) -> bool:
    """Text right after an LLM run without a question is that run's question: some frameworks start the run first."""
    if x is None or x.question or x.has_speech or x.cut is not None:
        return False
    within = AGAIN_NS if voices else JOIN_NS
    return any(run.start is not None and now - run.start < within for run in x.of("llm"))


@decision
def continues_question(x: Exchange | None, words: str) -> bool:
    """New text that begins with the text of a question not yet answered continues that question."""
    if x is None or x.has_speech or not x.words or not x.question:
        return False
    new, old = normalized(words), normalized(x.words)
    return bool(old) and new != old and new.startswith(old + " ")


@decision
def late_words(exchanges: list[Exchange], words: str, now: int) -> Exchange | None:
    """Late text belongs to the oldest ended utterance that was answered without text, or on STT's text alone."""
    target = normalized(words)
    without = [x for x in exchanges if x.voices and (not x.words or (not x.words_at and normalized(x.words) == target))]
    for x in without:
        end = x.voices[-1].end
        cut_short = x.cut_off and any(other.has_speech for other in without if other.at > x.at)
        if end is not None and end <= now <= end + RECENT_NS and not cut_short:
            return x
    return None


@decision
def end_of_missed(finals: list[tuple[int, str, Activity | None, int]], words: str, step: Step) -> tuple[int, int]:
    """A question that VAD missed ends with the voice that STT recognised it in, or else when STT finalised it."""
    target = normalized(words)
    for time, text, voice, at in reversed(finals):
        if step.time - time < RECENT_NS and _within(normalized(text), target):
            if voice is not None and voice.end is not None and voice.end <= time:
                return voice.end, voice.sources["end"][-1]
            return time, at
    return step.time, step.at


@decision
def stands_for_typed(x: Exchange | None, now: int) -> bool:
    """A voice reported together with typed text stands for that text, and is no utterance of its own."""
    return x is not None and x.typed and not x.voices and x.sent is not None and 0 <= now - x.sent < STAND_IN_NS


@decision
def missed_by_detector(pending: list[Activity]) -> bool:
    """Text without a voice was typed, or missed by VAD: the question ends when the text arrives."""
    return not pending
