"""The arithmetic of latencies, in the reference's very operations: another order of them gives other last digits."""

from __future__ import annotations

from typing import Any

from projections.model import TimelineEvent, Turn


def milliseconds(seconds: float) -> float:
    """Seconds as milliseconds with four decimals (reference: ``_round_latency``)."""
    return round(seconds * 1000, 4)


def start_timeline(turn: Turn, kind: str, start_time: float) -> None:
    turn.timeline_event_metrics.append(TimelineEvent(event_type=kind, start_time=start_time))


def end_timeline(turn: Turn, kind: str, end_time: float) -> None:
    """End the last open event of a kind; the user's speech is extended even if it had ended, as VAD flickers."""
    for event in reversed(turn.timeline_event_metrics):
        if event.event_type == kind and (event.end_time is None or kind == "user_speech"):
            event.end_time = end_time
            event.duration_ms = milliseconds(end_time - event.start_time)  # type: ignore[operator]  # may raise: so be it
            return


def has_timeline(turn: Turn, kind: str) -> bool:
    return any(event.event_type == kind for event in turn.timeline_event_metrics)


def label_timeline(turn: Turn, kind: str, text: Any) -> None:
    """Put what was said to the last event of a kind."""
    for event in reversed(turn.timeline_event_metrics):
        if event.event_type == kind:
            event.text = text
            return


def e2e(turn: Turn) -> float | None:
    """End-to-end latency: the sum of the latencies of STT, EOU, LLM (first token), TTS and realtime, where known.

    Of each component only the last entry counts (reference: ``compute_e2e_latency``). None if none is known.
    """
    parts = [
        turn.stt_metrics[-1].stt_latency if turn.stt_metrics else None,
        turn.eou_metrics[-1].eou_latency if turn.eou_metrics else None,
        turn.llm_metrics[-1].llm_ttft if turn.llm_metrics else None,
        turn.tts_metrics[-1].tts_latency if turn.tts_metrics else None,
        turn.realtime_metrics[-1].realtime_ttfb if turn.realtime_metrics else None,
    ]
    known = [part for part in parts if part is not None]
    if not known:
        return None
    total: float = 0  # so that -0.0 becomes 0.0
    for part in known:  # not sum(): since Python 3.12 that rounds otherwise
        total += part
    return round(total, 4)
