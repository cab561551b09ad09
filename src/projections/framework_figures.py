"""End-to-end latencies as the framework itself reports them, matched with the turns of the caller's reading.

VideoSDK's are computed by the rules of the session's release; LiveKit's and Pipecat's are in the log, as
`framework_event`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeGuard

from eventstore.codec import clocks, decode
from eventstore.event import Event
from projections.caller import Reading
from projections.readings import VIDEOSDK, release
from projections.reference.fold import begin, fold
from projections.reference.metrics import Turn

LIVEKIT, PIPECAT = "livekit-agents", "pipecat-ai"
SAME_NS = 1_000_000
"""Tolerance for VideoSDK, whose times are those of the same events."""
NEAR_NS = 100_000_000
"""Tolerance for LiveKit and Pipecat, which report the start of agent speech on a clock, or in a task, of their own."""


CHUNK = 10_000
"""Number of events that are folded before the turns made of them are dropped, which bounds memory."""
_PLACEHOLDER = Turn()


class ReportedFigure(NamedTuple):
    """A latency reported by the framework."""

    ms: float
    speech_starts: list[int]
    """Start of agent speech, nanoseconds on the session's clock; several candidates if the origin is not known."""
    words: str | None = None
    """The question's text."""


def add_figures(r: Reading, events: Iterable[Event]) -> None:
    """Set `Turn.framework_e2e` of the reading's turns, from the same ``events``. A figure goes to one turn at most."""
    far = SAME_NS if r.timeline.framework in ("", VIDEOSDK) else NEAR_NS
    speeches = sorted((s.start, n) for n, x in enumerate(r.exchanges) for s in x.speeches() if s.start is not None)
    found: dict[int, float] = {}
    unplaced: dict[str, list[float]] = {}
    for figure in _figures(r, events):
        near = (n for start in figure.speech_starts for n in _nearest(speeches, start, far) if n not in found)
        number = next(near, None)
        if number is not None:
            found[number] = figure.ms
        elif figure.words:
            unplaced.setdefault(figure.words, []).append(figure.ms)
    for number, x in enumerate(r.exchanges):
        if number not in found and unplaced.get(x.words):
            found[number] = unplaced[x.words].pop(0)
    r.set_framework_e2e({number + 1: ms for number, ms in found.items()})


def _nearest(speeches: list[tuple[int, int]], start: int, far: int) -> list[int]:
    """Numbers of the exchanges with agent speech that began within ``far`` of ``start``, nearest first."""
    at = bisect_left(speeches, (start - far, 0))
    near = []
    while at < len(speeches) and speeches[at][0] <= start + far:
        near.append((abs(speeches[at][0] - start), speeches[at][1]))
        at += 1
    return [number for _far, number in sorted(near)]


def _figures(r: Reading, events: Iterable[Event]) -> Iterator[ReportedFigure]:
    t = r.timeline
    if t.framework in ("", VIDEOSDK):
        yield from _release_figures(r, events)
        return
    wanted = {LIVEKIT: "conversation_item_added", PIPECAT: "user_bot_latency"}.get(t.framework)
    for event in events:
        if event.hook != "framework_event" or wanted is None or wanted not in event.payload:
            continue
        args = decode(event)
        arguments = args.get("arguments") if isinstance(args, dict) and args.get("name") == wanted else None
        if not isinstance(arguments, dict):
            continue
        if t.framework == LIVEKIT:
            yield from _livekit_figure(arguments.get("item"), t.wall_shift)
        elif _number(arguments.get("seconds")):
            yield ReportedFigure(arguments["seconds"] * 1000, [clocks(event)[0] + t.offsets.get(event.origin, 0)])


def _release_figures(r: Reading, events: Iterable[Event]) -> Iterator[ReportedFigure]:
    """Figures of VideoSDK's turns; their times are on the monotonic clock of one of the session's origins."""
    t = r.timeline
    state, done, events = begin(release(t.framework, t.framework_version), spans=False, signals=False), 0, iter(events)
    while chunk := list(islice(events, CHUNK)):
        fold(state, chunk)
        for number, turn in enumerate(state.turns[done:], done):
            state.turns[number] = _PLACEHOLDER  # only the figures are kept, as a session may be long
            if turn.e2e_latency is not None:
                words, start = turn.user_speech, turn.agent_speech_start_time
                starts = [] if start is None else [round(start * 1e9) + offset for offset in t.offsets.values()]
                yield ReportedFigure(turn.e2e_latency, starts, words if isinstance(words, str) else None)
        done = len(state.turns)
        state.payloads.clear()
        state.payloads_at.clear()


def _livekit_figure(item: Any, wall_shift: int) -> Iterator[ReportedFigure]:
    """The figure in LiveKit's agent message, which has the start of speech in seconds since the epoch."""
    metrics = item.get("metrics") if isinstance(item, dict) else None
    if isinstance(metrics, dict) and _number(metrics.get("e2e_latency")):
        started = metrics.get("started_speaking_at")
        yield ReportedFigure(
            metrics["e2e_latency"] * 1000, [round(started * 1e9) - wall_shift] if _number(started) else []
        )


def _number(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e12
