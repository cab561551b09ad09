"""Carry-over from an interrupted turn to the next one: the last of two or more STT, EOU and VAD entries."""

from __future__ import annotations

from projections.reference.metrics import TimelineEvent, Turn, Vad
from projections.reference.state import Carried, State
from projections.reference.timing import milliseconds


def extract_carry_over(s: State, turn: Turn) -> list[str]:
    """Move the entries for the next turn out of an interrupted one; returns those of ``stt``, ``eou``, ``vad`` moved.

    Source: ``complete_turn``.
    """
    carried = s.carried
    if len(turn.stt_metrics) >= 2:
        carried.stt = [turn.stt_metrics.pop()]
    if len(turn.eou_metrics) >= 2:
        carried.eou = [turn.eou_metrics.pop()]
    if len(turn.vad_metrics) >= 2:
        carried.vad = [turn.vad_metrics.pop()]
        carried.timeline = _speech_of(carried.vad[0])
    return [kind for kind in ("stt", "eou", "vad") if getattr(carried, kind)]


def _speech_of(vad: Vad) -> TimelineEvent:
    start, end = vad.user_speech_start_time, vad.user_speech_end_time
    duration = milliseconds(end - start) if start and end else None
    return TimelineEvent("user_speech", start, end, duration, None)


def apply_carry_over(s: State, turn: Turn) -> None:
    """Add the carried-over entries to a new turn."""
    carried = s.carried
    if carried.timeline is not None:
        turn.timeline_event_metrics.append(carried.timeline)
    turn.stt_metrics += carried.stt
    turn.eou_metrics += carried.eou
    turn.vad_metrics += carried.vad
    s.carried = Carried()
