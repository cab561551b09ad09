"""The barge-in ledger: each time that the user and the agent got into each other's way, and how it ended.

A projection of its own: what was heard is the same under all rule sets. The kinds:

- ``true``: the agent was heard, so was the user, and the agent was told to stop.
- ``escalated``: so, too, but first taken for a false interruption.
- ``false``: taken for an interruption; the agent went on (``resumed``), or at least nobody told it to stop.
- ``overlap``: both were heard, and nothing came of it: a back-channel ("mm-hm"), noise, or an agent that does not
  listen. Only words tell them apart. A user who began first (``user_start`` < ``agent_start``) was talked over.
- ``phantom``: an interruption of nothing, or by nobody. Without ``agent_start`` the agent was not heard: its answer was
  withdrawn before, or it was done. With it, no voice was heard: the program stopped the agent.

Both are in each other's way from the later of the two starts on; `yield_ms` and `decision_ms` count from there. Whoever
fell silent more than `RECENT_NS` before is not why the agent stopped. ``docs/barge_in.md`` says what cannot be known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import median
from typing import Literal

import msgspec

from eventstore.event import Event
from projections.heard import Cut, Doubt, Heard, Speech, Utterance, hear
from projections.reference.replay import Call

RECENT_NS = 3_000_000_000
"""How long after the user fell silent an interruption is still theirs: STT and the wait for more may come before it."""
NOTICED_NS = 120_000_000
"""Overlaps are shorter than that wherever turns change; nobody notices them (Heldner 2011, JASA 130). Not recorded."""
KEEP_WHAT_WAS_HEARD = ("livekit-agents", "pipecat-ai")
"""Frameworks whose text of an answer that was cut off is what was heard of it, if their TTS says when each word is."""
PLAUSIBLE = 2
"""Nobody speaks that many times as fast as ever: then the framework kept the whole text."""

Kind = Literal["true", "false", "escalated", "overlap", "phantom"]


class BargeIn(msgspec.Struct, frozen=True, kw_only=True):
    """One record. Times are seconds on the session's monotonic clock, ``…_ms`` milliseconds; None: not known."""

    kind: Kind
    at: int
    """Index of the event that decided it: the interruption, the pause, or the later of two starts."""
    origin: str
    seq: int
    """That event's place in the log."""
    into_call: float
    """When it began: seconds since the session's first event."""

    agent_start: float | None
    user_start: float | None
    user_end: float | None
    told: float | None
    """When the agent was told to stop, or to pause."""
    silent: float | None
    """When it fell silent: its reported end, else `told`. None if it did not."""
    silent_known: bool
    """`silent` was reported."""
    resumed: float | None
    """When it went on after a pause."""

    yield_ms: float | None
    """Until the agent was silent; no less than `decision_ms` where `silent` is not known."""
    decision_ms: float | None
    """Until it was told."""
    overlap_ms: float | None
    """How long both were heard; None where one of them was not, or nobody said when."""
    agent_heard_ms: float | None
    """How long it had been heard, without pauses: until it was silent, or, where it went on, until the user came in."""

    said: str | None
    """What was heard of the agent's words, if it was cut off."""
    unsaid: str | None
    """What was not. None where the framework forgot it, too."""
    estimated: bool
    """Both are reckoned from the session's own rate of speech; else they are the framework's word."""
    words: str | None
    """What the user said in it."""


def barge_ins(events: Iterable[Event]) -> list[BargeIn]:
    """The ledger of one session, whose events stand in canonical order; records in the order of their events.

    Each ``on_interrupted`` is in exactly one. Raises `NewerEvent` as `projections.heard.hear` does.
    """
    h = hear(events)
    taken: set[tuple[int, int]] = set()
    merged: set[int] = set()
    found = [_of_cut(h, cut, taken, merged) for cut in h.cuts]
    found += [_of_doubt(h, doubt, taken) for doubt in h.doubts if doubt.at not in merged]
    found += _overlaps(h, taken)
    return sorted(found, key=lambda record: (record.at, record.kind))


def turn_of(call: Call, record: BargeIn) -> int | None:
    """The number of the turn that it happened in, under the call's rules: among the completed turns, from 1.

    One more than there are of those means the open turn, None one that was discarded, or none.
    """
    ends = [(at, number) for number, at in enumerate(call.payloads_at, 1)]
    ends += [(discarded.at, 0) for discarded in call.discarded]
    number = min(((at, number) for at, number in ends if at >= record.at), default=(0, -1))[1]
    if number < 0 and call.current_turn is not None:
        return len(call.turns) + 1
    return number if number > 0 else None


def _of_cut(h: Heard, cut: Cut, taken: set[tuple[int, int]], merged: set[int]) -> BargeIn:
    speech, told = cut.speech, cut.time
    user = _behind(h, speech, told)
    if speech is None:
        return _record(h, "phantom", cut.at, told=told, user=user)
    doubt = _doubted(speech, cut, user)
    kind: Kind = "true" if user is not None or _understood(h, speech, cut) else "phantom"
    if doubt is not None:
        kind = "escalated"
        merged.add(doubt.at)
        user = user or _noise(doubt)
        told = doubt.start if doubt.paused and doubt.end is None else told
    if user is not None:
        taken.add((user.at, speech.at))
    silent = speech.end if speech.end_known else told
    return _record(h, kind, cut.at, told=told, silent=silent, user=user, speech=speech, cut=cut)


def _of_doubt(h: Heard, doubt: Doubt, taken: set[tuple[int, int]]) -> BargeIn:
    speech = next((speech for speech in h.speeches if any(one is doubt for one in speech.doubts)), None)
    user = _behind(h, speech, doubt.start if doubt.paused else doubt.end or doubt.start) or _noise(doubt)
    if speech is not None and user is not None:
        taken.add((user.at, speech.at))
    told = doubt.start if doubt.paused else None
    kind: Kind = "escalated" if doubt.escalated else "false"
    return _record(h, kind, doubt.at, told=told, silent=told, user=user, speech=speech, resumed=doubt)


def _overlaps(h: Heard, taken: set[tuple[int, int]]) -> Iterator[BargeIn]:
    for speech in h.speeches:
        for user in h.utterances:
            if (user.at, speech.at) not in taken and (_both_ns(speech, user, speech.end) or 0) >= NOTICED_NS:
                yield _record(h, "overlap", max(user.at, speech.at), user=user, speech=speech)


# who, and since when --------------------------------------------------------------------------------------------


def _behind(h: Heard, speech: Speech | None, told: int) -> Utterance | None:
    """The last utterance that can be why the agent was told: heard in its speech, or, without one, still heard."""
    for user in reversed(h.utterances):
        if user.start > told:
            continue
        if user.end is None or user.end >= told:
            return user
        if speech is not None and user.end > speech.start and told - user.end <= RECENT_NS:
            return user
    return None


def _understood(h: Heard, speech: Speech, cut: Cut) -> bool:
    """Whether STT heard the user where the voice detector did not, or not yet: words that are not what is answered."""
    answered = [words for words in h.words if words.kind == "turn" and words.at < speech.at]
    return any(
        words.kind != "turn"
        and words.at < cut.at
        and cut.time - words.time <= RECENT_NS
        and not any(a.at > words.at or (words.text and a.turn == words.turn and words.text in a.text) for a in answered)
        for words in h.words
    )


def _doubted(speech: Speech, cut: Cut, user: Utterance | None) -> Doubt | None:
    """The false interruption that this one turned out to be no other than."""
    if not speech.doubts:
        return None
    doubt = speech.doubts[-1]
    pausing = doubt.paused and doubt.end is None
    same = user is not None and user.start <= doubt.start and (user.end is None or user.end >= doubt.start)
    return doubt if doubt.escalated or pausing or same else None


def _noise(doubt: Doubt) -> Utterance | None:
    """Where nothing paused, the doubt itself says when a voice was heard."""
    return None if doubt.paused else Utterance(doubt.at, doubt.start, doubt.end)


def _audible(speech: Speech, until: int | None) -> Iterator[tuple[int, int]]:
    """When the agent was really heard, in nanoseconds; nothing if it is not known until when."""
    start = speech.start
    end = until if speech.end is None else speech.end if until is None else min(until, speech.end)
    if end is None:
        return
    for doubt in speech.doubts:
        if doubt.paused and start < doubt.start < end:
            yield start, doubt.start
            start = end if doubt.end is None else doubt.end
    if start < end:
        yield start, end


def _sum(pieces: Iterator[tuple[int, int]]) -> int:
    return sum(end - start for start, end in pieces)


def _both_ns(speech: Speech, user: Utterance, until: int | None) -> int | None:
    """How long both were heard, to whichever end is known; None if neither is."""
    until = user.end if until is None else until
    if until is None:
        return None
    both = ((max(user.start, a), b if user.end is None else min(user.end, b)) for a, b in _audible(speech, until))
    return sum(max(0, end - start) for start, end in both)


# the record -----------------------------------------------------------------------------------------------------


def _record(
    h: Heard,
    kind: Kind,
    at: int,
    *,
    told: int | None = None,
    silent: int | None = None,
    user: Utterance | None = None,
    speech: Speech | None = None,
    cut: Cut | None = None,
    resumed: Doubt | None = None,
) -> BargeIn:
    event = h.events[at]
    since = user.start if user is not None else None
    if since is not None and speech is not None:
        since = max(since, speech.start)
    began = since if since is not None else told if told is not None else h.began
    heard = None if speech is None else _sum(_audible(speech, since if silent is None else silent)) / 1e6
    both = None
    if speech is not None and user is not None:
        both = _both_ns(speech, user, speech.end)
    said, unsaid, estimated = _split(h, cut, heard) if cut is not None else (None, None, False)
    known = user is not None or kind != "phantom"
    return BargeIn(
        kind=kind,
        at=at,
        origin=event.origin,
        seq=event.seq,
        into_call=(began - h.began) / 1e9,
        agent_start=_seconds(speech.start if speech else None),
        user_start=_seconds(user.start if user else None),
        user_end=_seconds(user.end if user else None),
        told=_seconds(told),
        silent=_seconds(silent),
        silent_known=silent is not None and (resumed is not None or (speech is not None and speech.end_known)),
        resumed=_seconds(resumed.end if resumed and resumed.paused else None),
        yield_ms=_ms(since, silent),
        decision_ms=_ms(since, told),
        overlap_ms=_rounded(None if both is None else both / 1e6),
        agent_heard_ms=_rounded(heard),
        said=said,
        unsaid=unsaid,
        estimated=estimated,
        words=_words(h, at, user, cut.turn if cut else speech.turn if speech else h.turn) if known else None,
    )


def _words(h: Heard, at: int, user: Utterance | None, turn: int) -> str | None:
    """The final transcripts, or what the turn got, until the user is heard again or the next turn is over."""
    begin, last = (at, at) if user is None else (min(user.at, at), max(user.at, at))
    later = [other.at for other in h.utterances if other.at > last]
    later = later[1:] if user is None else later  # STT was quicker than the voice detector
    until = later[0] if later else len(h.events)
    there = [words for words in h.words if begin <= words.at < until and words.turn <= turn + 1 and words.text]
    finals = [words.text for words in there if words.kind == "final"]
    return " ".join(finals) or next((words.text for words in there), None)


# the agent's words ----------------------------------------------------------------------------------------------


def _split(h: Heard, cut: Cut, heard_ms: float | None) -> tuple[str | None, str | None, bool]:
    """What the agent had said and what not, and whether that is an estimate."""
    if cut.speech is None or heard_ms is None:
        return None, None, False
    text = h.text_of(cut.speech)
    if not text:
        return None, None, False
    rate = _rate(h)
    length = int(rate * heard_ms / 1000) if rate is not None else None
    if h.framework in KEEP_WHAT_WAS_HEARD and (length is None or len(text) <= PLAUSIBLE * length):
        return text, None, False
    if length is None:
        return None, None, False
    length = min(length, cut.characters) if cut.characters > 0 else length
    if length >= len(text):
        return text, "", True
    end = max(0, text.rfind(" ", 0, length + 1))
    return text[:end], text[end:].lstrip(), True


def _rate(h: Heard) -> float | None:
    """Characters a second: the median of the session's own speeches that came to their end.

    The median, as a pause that nobody reported makes one of them seem slow.
    """
    rates = []
    for speech in h.speeches:
        ns = _sum(_audible(speech, None)) if speech.end_known and not speech.cut else 0
        text = h.text_of(speech)
        if text and ns > 0:
            rates.append(len(text) * 1e9 / ns)
    return median(rates) if rates else None


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e9


def _ms(start: int | None, end: int | None) -> float | None:
    """None, too, where clocks say that the end was before the start."""
    return None if start is None or end is None or end < start else round((end - start) / 1e6, 4)


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 4)
