"""Latency arithmetic in the reference's exact operations: a different order would change the last digits."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from projections.model import is_number
from projections.reference.metrics import Eou, Llm, Stt, TimelineEvent, Tts, Turn
from projections.reference.rules import VIDEOSDK_1_0, Rules


class Answering(NamedTuple):
    """The entries of a turn that count for its answer."""

    stt: Stt | None
    eou: Eou | None
    llm: Llm | None
    tts: Tts | None


def milliseconds(seconds: float) -> float:
    """Seconds as milliseconds with four decimals (reference: ``_round_latency``)."""
    ms = seconds * 1000
    if type(ms) is float and 0.0 < ms < 1e9:  # a third faster than round() with digits, and the same
        scaled = ms * 1e4
        nearest = round(scaled)
        if -0.49 < scaled - nearest < 0.49:  # not so near to a tie that the rounding of the product decides
            return nearest / 1e4
    return round(ms, 4)


def start_timeline(turn: Turn, kind: str, start_time: float) -> None:
    turn.timeline_event_metrics.append(TimelineEvent(kind, start_time))


def end_timeline(turn: Turn, kind: str, end_time: float) -> None:
    """End the last open event of a kind; user speech is extended even if it had ended, as VAD flickers."""
    for event in reversed(turn.timeline_event_metrics):
        if event.event_type == kind and (event.end_time is None or kind == "user_speech"):
            event.end_time = end_time
            event.duration_ms = milliseconds(end_time - event.start_time)  # type: ignore[operator]  # may raise, as the reference does
            return


def ensure_timeline(turn: Turn, kind: str, start_time: float) -> None:
    """Start an event of a kind, unless there is one."""
    for event in turn.timeline_event_metrics:
        if event.event_type == kind:
            return
    start_timeline(turn, kind, start_time)


def ensure_open_timeline(turn: Turn, kind: str, start_time: float) -> None:
    """Start an event of a kind, unless one is open."""
    for event in turn.timeline_event_metrics:
        if event.event_type == kind and event.end_time is None:
            return
    start_timeline(turn, kind, start_time)


def label_timeline(turn: Turn, kind: str, text: object, now: float) -> None:
    """Set the text of the last event of a kind; start one now if there is none."""
    for event in reversed(turn.timeline_event_metrics):
        if event.event_type == kind:
            event.text = text
            return
    turn.timeline_event_metrics.append(TimelineEvent(kind, now, text=text))


def answering(turn: Turn) -> Answering:
    """The last entry of each component."""
    stt, eou, llm, tts = turn.stt_metrics, turn.eou_metrics, turn.llm_metrics, turn.tts_metrics
    return Answering(
        stt[-1] if stt else None, eou[-1] if eou else None, llm[-1] if llm else None, tts[-1] if tts else None
    )


def e2e_parts(turn: Turn, rules: Rules = VIDEOSDK_1_0) -> tuple[float | None, ...]:
    """What `e2e` adds up, in this order: STT, EOU, endpointing delay, LLM (first token), TTS and realtime.

    The last entry of each component counts (reference: ``compute_e2e_latency``). None is not known, or does not count.
    """
    eou = turn.eou_metrics[-1] if turn.eou_metrics else None
    return (
        turn.stt_metrics[-1].stt_latency if turn.stt_metrics else None,
        eou.eou_latency if eou is not None else None,
        _wait(eou) if eou is not None and rules.eou_wait_in_e2e else None,
        turn.llm_metrics[-1].llm_ttft if turn.llm_metrics else None,
        turn.tts_metrics[-1].tts_latency if turn.tts_metrics else None,
        turn.realtime_metrics[-1].realtime_ttfb if turn.realtime_metrics else None,
    )


def e2e(turn: Turn, rules: Rules = VIDEOSDK_1_0) -> float | None:
    """End-to-end latency: the sum of its parts. None if none is known."""
    total: float | None = None
    for part in e2e_parts(turn, rules):  # not sum(), which rounds differently since Python 3.12
        if part is not None:
            total = (0 if total is None else total) + part  # starts at 0, so that -0.0 becomes 0.0
    return None if total is None else round(total, 4)


def _wait(eou: Eou) -> float | None:
    """The endpointing delay in milliseconds."""
    if eou.eou_wait_ms is not msgspec.UNSET:
        found: float | None = eou.eou_wait_ms
        return found
    seconds = eou.wait_for_additional_speech_duration
    return None if seconds is None else milliseconds(seconds)


def wait_seconds(eou: Eou) -> float:
    """The endpointing delay in seconds, from either field; 0 if there was none."""
    ms, seconds = eou.eou_wait_ms, eou.wait_for_additional_speech_duration
    found: float = ms / 1000 if is_number(ms) else seconds if is_number(seconds) else 0.0
    return found
