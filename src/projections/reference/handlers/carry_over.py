"""Whose speech is it? What a turn leaves to the next one when it completes.

The reference takes the last of two or more STT, EOU and VAD entries out of an interrupted turn. Under ``corrected`` one
moment divides a turn: when the speech began that cut the agent off, or that is still going on. All that the user's side
has from then on is the next turn's, and what was before stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from projections.reference.metrics import TimelineEvent, Turn, Vad
from projections.reference.state import Carried, State
from projections.reference.timing import label_timeline, milliseconds

T = TypeVar("T")


def set_aside(s: State, turn: Turn, *, last: bool = False) -> list[str]:
    """Take out of a turn what is the next one's; returns of ``stt``, ``eou`` and ``vad`` what there was.

    After the ``last`` turn of a session nobody goes on speaking.
    """
    began = barge_in_start(s, turn) if s.rules.barge_in_moves_on else None
    if began is None and s.rules.speech_goes_on and not last:
        began = goes_on(s, turn)
    if began is not None:
        return _divide(s, turn, began)
    return _last_entries(s.carried, turn) if turn.is_interrupted and not s.rules.barge_in_moves_on else []


def _last_entries(carried: Carried, turn: Turn) -> list[str]:
    """The reference's way (``complete_turn``)."""
    if len(turn.stt_metrics) >= 2:
        carried.stt = [turn.stt_metrics.pop()]
    if len(turn.eou_metrics) >= 2:
        carried.eou = [turn.eou_metrics.pop()]
    if len(turn.vad_metrics) >= 2:
        carried.vad = [turn.vad_metrics.pop()]
        carried.timeline = _speech_of(carried.vad)
    return _kinds(carried)


def _kinds(carried: Carried) -> list[str]:
    return [kind for kind in ("stt", "eou", "vad") if getattr(carried, kind)]


def barge_in_start(s: State, turn: Turn) -> float | None:
    """When the speech began for which the agent was told to stop; None if the user said nothing into the answer."""
    told = s.told_at
    answer = _answer_start(turn)
    if told is None or answer is None:
        return None
    starts = [vad.user_speech_start_time for vad in turn.vad_metrics]
    later = [start for start in starts if start is not None and start > answer]
    return max((start for start in later if start <= told), default=min(later, default=None))


def _answer_start(turn: Turn) -> float | None:
    times = [turn.agent_speech_start_time]
    times += [llm.llm_start_time for llm in turn.llm_metrics] + [tts.tts_start_time for tts in turn.tts_metrics]
    return min((time for time in times if time is not None), default=None)


def goes_on(s: State, turn: Turn) -> float | None:
    """When the speech began that the user has not ended; None if they are silent."""
    if not (s.user_speaking and turn.vad_metrics):
        return None
    last = turn.vad_metrics[-1]
    return last.user_speech_start_time if last.user_speech_end_time is None else None


def _divide(s: State, turn: Turn, since: float) -> list[str]:
    """Set aside all of the user's side from ``since`` on."""

    def moves(start: float | None, end: float | None) -> bool:
        time = end if start is None else start
        return time is not None and time >= since

    carried = s.carried
    turn.vad_metrics, carried.vad = _split(
        turn.vad_metrics, lambda vad: moves(vad.user_speech_start_time, vad.user_speech_end_time)
    )
    turn.stt_metrics, carried.stt = _split(turn.stt_metrics, lambda stt: moves(stt.stt_start_time, stt.stt_end_time))
    turn.eou_metrics, carried.eou = _split(turn.eou_metrics, lambda eou: moves(eou.eou_start_time, eou.eou_end_time))
    carried.timeline = _speech_of(carried.vad)
    words = s.words_at is not None and s.words_at >= since
    if words:
        carried.words = turn.user_speech if carried.words is None else carried.words  # the later ones, if any wait
        turn.user_speech = None
    _shorten(turn, since, words)
    return _kinds(carried)


def _split(entries: list[T], moves: Callable[[T], bool]) -> tuple[list[T], list[T]]:
    stay: list[T] = []
    move: list[T] = []
    for entry in entries:
        (move if moves(entry) else stay).append(entry)
    return stay, move


def _shorten(turn: Turn, since: float, words: bool) -> None:
    """Make the turn's speech that of the VAD entries it keeps."""
    end = max((v.user_speech_end_time for v in turn.vad_metrics if v.user_speech_end_time is not None), default=None)
    start = turn.user_speech_start_time
    if start is not None and start >= since:
        start = end = None
    turn.user_speech_start_time, turn.user_speech_end_time = start, end
    turn.user_speech_duration = milliseconds(end - start) if start is not None and end is not None else None
    kept = []
    for event in turn.timeline_event_metrics:
        if event.event_type == "user_speech":
            if event.start_time is None or event.start_time >= since:
                continue
            if event.end_time is None or event.end_time >= since:
                event.end_time = end
                event.duration_ms = None if end is None else milliseconds(end - event.start_time)
            if words:
                event.text = ""
        kept.append(event)
    turn.timeline_event_metrics = kept


def _speech_of(vads: list[Vad]) -> TimelineEvent | None:
    if not vads:
        return None
    start, end = vads[0].user_speech_start_time, vads[-1].user_speech_end_time
    duration = milliseconds(end - start) if start and end else None
    return TimelineEvent("user_speech", start, end, duration, None)


def end_carried(s: State, end: float) -> None:
    """The user falls silent before the turn begins that takes over their speech."""
    vads = s.carried.vad
    if s.rules.speech_goes_on and vads and vads[-1].user_speech_end_time is None:
        vads[-1].user_speech_end_time = end
        s.carried.timeline = _speech_of(vads)


def take_over(s: State, turn: Turn, now: float) -> None:
    """Give a new turn what was set aside for it."""
    carried = s.carried
    if carried.timeline is not None:
        turn.timeline_event_metrics.append(carried.timeline)
    turn.stt_metrics += carried.stt
    turn.eou_metrics += carried.eou
    turn.vad_metrics += carried.vad
    speech = carried.timeline
    if speech is not None and (s.rules.barge_in_moves_on or s.rules.speech_goes_on):
        turn.user_speech_start_time, turn.user_speech_end_time = speech.start_time, speech.end_time
        turn.user_speech_duration = speech.duration_ms
    if carried.words is not None:
        turn.user_speech = carried.words
        s.words_at = now
        label_timeline(turn, "user_speech", carried.words, now)
    s.carried = Carried()
