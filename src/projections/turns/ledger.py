"""The barge-in ledger: each time the user and the agent overlapped, or an interruption was reported, and its outcome.

- ``true``: both spoke, and the agent was stopped.
- ``escalated``: the same, but first handled as a false interruption.
- ``false``: handled as an interruption, but the agent resumed or was never stopped.
- ``overlap``: both spoke, with no consequence: a back-channel, noise, or an agent that cannot be interrupted.
- ``phantom``: an interruption while the agent was silent, or without a user voice.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Literal

import msgspec

from projections.timeline import Activity, Step, elapsed_ms
from projections.turns.assembly import Assembly
from projections.turns.barge_in import RECENT_NS
from projections.turns.exchange import Exchange
from projections.turns.question import words_of

MIN_OVERLAP_NS = 120_000_000
"""Minimum overlap that is recorded: shorter ones are common at turn changes and unnoticed (Heldner 2011, JASA 130)."""
Kind = Literal["true", "false", "escalated", "overlap", "phantom"]


class BargeIn(msgspec.Struct, kw_only=True):
    """A ledger record. Times are nanoseconds on the session's clock, ``…_ms`` milliseconds; None is unknown."""

    kind: Kind
    at: int
    """Index of the event that decided its kind."""
    exchange: Exchange | None
    """The exchange whose speech it overlapped."""
    voice: Activity | None
    speech: Activity | None
    agent_start: int | None
    user_start: int | None
    user_end: int | None
    stopped: int | None
    """When the agent was ordered to stop or to pause."""
    silent: int | None
    silent_known: bool
    """Whether `silent` was reported."""
    resumed: int | None
    yield_ms: float | None
    """From the start of the overlap until the agent was silent; a lower bound where `silent` was not reported."""
    decision_ms: float | None
    overlap_ms: float | None
    agent_heard_ms: float | None
    words: str | None
    """The user's words."""


class _Index(msgspec.Struct):
    """Index of the session's voices and speeches by time, and the pairs that are already recorded."""

    voices: list[Activity]
    starts: list[int]
    speeches: list[Activity]
    speech_starts: list[int]
    owners: dict[int, Exchange]
    voice_of_cut: dict[int, Activity]
    """By an interruption's ``at``: the voice that caused it, as the assembly decided."""
    steps: list[Step]
    cut: dict[int, Activity]
    """By an interruption's ``at``: the speech that it stopped."""
    doubts: dict[int, list[Activity]] = {}
    """By a speech's ``at``: the false interruptions during it."""
    speech_of_doubt: dict[int, Activity] = {}
    """By a false interruption's ``at``: the speech during which it occurred."""
    interims: list[int] | None = None
    """Times of interim and final transcripts; built on first use."""
    recorded: set[tuple[int, int]] = set()
    escalated: set[int] = set()


def ledger(a: Assembly) -> list[BargeIn]:
    """The session's records in event order. Each interruption, true or false, is in exactly one."""
    found: dict[str, list[Activity]] = {"voice": [], "agent": [], "doubt": [], "interruption": []}
    for activity in a.timeline.activities:
        if activity.kind in found:
            found[activity.kind].append(activity)
    voices, speeches = (sorted(found[kind], key=_start) for kind in ("voice", "agent"))
    voice_of_cut = {x.cut.at: x.cut_by for x in a.exchanges if x.cut is not None and x.cut_by is not None}
    cut = {s.data["cut"]: s for s in speeches if "cut" in s.data}
    b = _Index(
        voices,
        [*map(_start, voices)],
        speeches,
        [*map(_start, speeches)],
        a.owners,
        voice_of_cut,
        a.timeline.steps,
        cut,
    )
    for doubt in found["doubt"]:
        speech = _speech_at(b, doubt.start or 0)
        if speech is not None:
            b.doubts.setdefault(speech.at, []).append(doubt)
            b.speech_of_doubt[doubt.at] = speech
    records = [_interruption_record(b, cut) for cut in found["interruption"]]
    records += [_doubt_record(b, doubt) for doubt in found["doubt"] if doubt.at not in b.escalated]
    records += _unreported_interruptions(a, b)
    records += _overlaps(b)
    return sorted(records, key=lambda record: (record.at, record.kind))


def _start(activity: Activity) -> int:
    return activity.start or 0


def _speech_at(b: _Index, now: int) -> Activity | None:
    """The agent's speech at that time."""
    at = bisect_right(b.speech_starts, now) - 1
    if at < 0:
        return None
    speech = b.speeches[at]
    return speech if speech.end is None or speech.end >= now else None


def _interruption_record(b: _Index, cut: Activity) -> BargeIn:
    now = cut.start or 0
    speech = b.cut.get(cut.at)
    voice = b.voice_of_cut.get(cut.at) or _voice_behind(b, speech, now)
    if speech is None:
        return _record(b, "phantom", cut.at, stopped=now, voice=voice, owner=b.owners.get(cut.at))
    doubt = _escalated_doubt(b, speech, voice)
    kind: Kind = "true" if voice is not None or _recognised_during(b, speech, now) else "phantom"
    stopped = now
    if doubt is not None:
        kind = "escalated"
        b.escalated.add(doubt.at)
        voice = voice or _doubt_as_voice(doubt)
        stopped = (doubt.start or now) if doubt.data["paused"] and doubt.end is None else now
    if voice is not None:
        b.recorded.add((voice.at, speech.at))
    silent = speech.end if speech.end_reported else stopped
    return _record(
        b, kind, cut.at, stopped=stopped, silent=silent, silent_known=speech.end_reported, voice=voice, speech=speech
    )


def _doubt_record(b: _Index, doubt: Activity) -> BargeIn:
    start = doubt.start or 0
    speech = b.speech_of_doubt.get(doubt.at)
    paused = doubt.data["paused"]
    voice = _voice_behind(b, speech, start if paused else doubt.end or start) or _doubt_as_voice(doubt)
    if speech is not None and voice is not None:
        b.recorded.add((voice.at, speech.at))
    stopped = start if paused else None
    kind: Kind = "escalated" if doubt.data.get("escalated") else "false"
    return _record(b, kind, doubt.at, stopped=stopped, silent=stopped, silent_known=paused, voice=voice, speech=speech,
                   resumed=doubt.end if paused else None)  # fmt: skip


def _unreported_interruptions(a: Assembly, b: _Index) -> Iterator[BargeIn]:
    """Records of speeches that ended during a voice that the next turn answers, without an interruption hook."""
    if not a.interrupting:
        return
    until = list(accumulate((speech.end or 0 for speech in b.speeches), max))
    for x in a.exchanges:
        for voice in x.voices:
            if voice.at not in a.interrupting:
                continue
            for speech in _speeches_reaching(b, until, voice.start or 0):
                end = speech.end
                within = end is not None and (voice.end is None or end <= voice.end)
                if within and "cut" not in speech.data and (voice.at, speech.at) not in b.recorded:
                    b.recorded.add((voice.at, speech.at))
                    yield _record(b, "true", voice.at, stopped=end, silent=end, silent_known=speech.end_reported,
                                  voice=voice, speech=speech)  # fmt: skip


def _speeches_reaching(b: _Index, until: list[int], now: int) -> list[Activity]:
    """The speeches that began before that time, and ended then or later.

    ``until``: for each speech, the latest end up to and including it, so that the search can stop early.
    """
    found, at = [], bisect_left(b.speech_starts, now) - 1
    while at >= 0 and until[at] >= now:
        if (b.speeches[at].end or 0) >= now:
            found.append(b.speeches[at])
        at -= 1
    return found[::-1]


def _overlaps(b: _Index) -> Iterator[BargeIn]:
    """Records of overlaps without an interruption. Both lists are sorted, so a speech is compared with near voices."""
    longest = max(((v.end or v.start or 0) - (v.start or 0) for v in b.voices), default=0)
    for speech in b.speeches:
        start, end = speech.start or 0, speech.end
        at = bisect_left(b.starts, start - longest)
        while at < len(b.voices) and (end is None or b.starts[at] <= end):
            voice = b.voices[at]
            at += 1
            if (voice.at, speech.at) not in b.recorded and (_overlap_ns(b, speech, voice) or 0) >= MIN_OVERLAP_NS:
                yield _record(b, "overlap", max(voice.at, speech.at), voice=voice, speech=speech)


def _voice_behind(b: _Index, speech: Activity | None, now: int) -> Activity | None:
    """The last voice that can have stopped the agent: still active, or recently ended during the speech."""
    at = bisect_left(b.starts, now + 1)
    for voice in reversed(b.voices[max(0, at - 8) : at]):
        if voice.end is None or voice.end >= now:
            return voice
        if (
            speech is not None
            and speech.start is not None
            and voice.end > speech.start
            and now - voice.end <= RECENT_NS
        ):
            return voice
    return None


def _recognised_during(b: _Index, speech: Activity, now: int) -> bool:
    """Whether STT recognised the user during the speech shortly before ``now``, with or without VAD."""
    if b.interims is None:
        b.interims = [step.time for step in b.steps if step.kind in ("interim", "final")]
    at = bisect_left(b.interims, max(speech.start or 0, now - RECENT_NS))
    return at < len(b.interims) and b.interims[at] <= now


def _escalated_doubt(b: _Index, speech: Activity, voice: Activity | None) -> Activity | None:
    """The false interruption that this interruption is the escalation of."""
    doubts = b.doubts.get(speech.at)
    if not doubts:
        return None
    doubt = doubts[-1]
    pausing = doubt.data["paused"] and doubt.end is None
    same = (
        voice is not None
        and (voice.start or 0) <= (doubt.start or 0)
        and (voice.end is None or voice.end >= (doubt.start or 0))
    )
    return doubt if doubt.data.get("escalated") or pausing or (same and not doubt.end) else None


def _doubt_as_voice(doubt: Activity) -> Activity | None:
    """The false interruption itself as the voice, where it did not pause the agent; else None."""
    return None if doubt.data["paused"] else doubt


def _audible_intervals(b: _Index, speech: Activity, until: int | None) -> Iterator[tuple[int, int]]:
    """The intervals in which the agent was audible, pauses left out; none if its end is unknown."""
    start, end = speech.start or 0, speech.end
    end = until if end is None else end if until is None else min(until, end)
    if end is None:
        return
    for doubt in b.doubts.get(speech.at, []):
        if doubt.data["paused"] and start < (doubt.start or 0) < end:
            yield start, doubt.start or 0
            start = end if doubt.end is None else doubt.end
    if start < end:
        yield start, end


def _overlap_ns(b: _Index, speech: Activity, voice: Activity) -> int | None:
    """The overlap in nanoseconds, up to whichever end is known; None if neither is."""
    until = speech.end if speech.end is not None else voice.end
    if until is None:
        return None
    begin = voice.start or 0
    both = (
        (max(begin, s), e if voice.end is None else min(voice.end, e)) for s, e in _audible_intervals(b, speech, until)
    )
    return sum(max(0, end - start) for start, end in both)


def _record(
    b: _Index,
    kind: Kind,
    at: int,
    *,
    stopped: int | None = None,
    silent: int | None = None,
    silent_known: bool = False,
    voice: Activity | None = None,
    speech: Activity | None = None,
    resumed: int | None = None,
    owner: Exchange | None = None,
) -> BargeIn:
    since = voice.start if voice is not None else None
    if since is not None and speech is not None:
        since = max(since, speech.start or since)
    agent_heard = None
    if speech is not None:
        agent_heard = sum(e - s for s, e in _audible_intervals(b, speech, since if silent is None else silent)) / 1e6
    overlap = _overlap_ns(b, speech, voice) if speech is not None and voice is not None else None
    return BargeIn(
        kind=kind,
        at=at,
        exchange=b.owners.get(speech.at) if speech is not None else owner,
        voice=voice,
        speech=speech,
        agent_start=speech.start if speech is not None else None,
        user_start=voice.start if voice is not None else None,
        user_end=voice.end if voice is not None else None,
        stopped=stopped,
        silent=silent,
        silent_known=silent is not None and silent_known,
        resumed=resumed,
        yield_ms=_ms(since, silent),
        decision_ms=_ms(since, stopped),
        overlap_ms=None if overlap is None else round(overlap / 1e6, 4),
        agent_heard_ms=None if agent_heard is None else round(agent_heard, 4),
        words=(words_of(voice) or None) if voice is not None and voice.kind == "voice" else None,
    )


def _ms(start: int | None, end: int | None) -> float | None:
    found = elapsed_ms(start, end)
    return None if found is None else round(found, 4)
