"""The document of a framework's reading: what that release of the framework computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from eventstore.codec import clocks
from eventstore.event import Event
from exporters.files.framework_activities import FrameworkActivity, activities_of, extent, is_timestamp
from projections.model import LogLine
from projections.reference.metrics import Turn
from projections.reference.replay import Call, latency_of
from turnlog.viewer.call.lanes import lay_out_spans

Item = dict[str, Any]
_LATENCIES = {
    "e2e": ("E2E", "e2e_latency"), "stt": ("STT", ""), "eou": ("EOU", ""), "eou_wait": ("endpointing delay", ""),
    "ttft": ("LLM to first token", ""), "tts": ("TTS", ""), "ttfb": ("TTS to first byte", ""),
    "realtime": ("realtime", ""),
}  # fmt: skip
"""Label, and the field of the turn that holds the figure."""


def framework_document(call: Call, events: Sequence[Event]) -> Item:
    """The turns with their latencies, and their activities on the lanes."""
    zero = clocks(events[0])[0] / 1e9 if events else 0.0
    numbered = [*enumerate(call.turns, 1)]
    if call.current_turn is not None:
        numbered.append((len(call.turns) + 1, call.current_turn))
    turns = [_turn(call, number, turn, zero) for number, turn in numbered]
    spans = [span for number, turn in numbered for span in _spans(number, turn, zero)]
    spans += [_log(line, zero) for line in call.logs]
    last = max((clocks(event)[0] for event in events), default=0) / 1e9 - zero
    return {
        "session": msgspec.to_builtins(call.session),
        "seconds": max([last, *(span["end"] for span in spans)], default=0.0),
        "ended": call.session.session_end_time is not None,
        "sealed": 0,
        "lanes": lay_out_spans(spans),
        "turns": turns,
        "spans": spans,
        "outside": [
            {"kind": "turn", "at": d.at, "start": None, "end": None, "reason": d.reason} for d in call.discarded
        ],
    }


def _turn(call: Call, number: int, turn: Turn, zero: float) -> Item:
    start, end = extent(turn) or (zero, zero)
    open_turn = number > len(call.turns)
    return {
        "turn": number,
        "user_speech": turn.user_speech,
        "agent_speech": turn.agent_speech,
        "user_started": _since(turn.user_speech_start_time, zero),
        "user_stopped": _since(turn.user_speech_end_time, zero),
        "agent_started": _since(turn.agent_speech_start_time, zero),
        "agent_stopped": _since(turn.agent_speech_end_time, zero),
        "interrupted": bool(turn.is_interrupted),
        "e2e_latency": turn.e2e_latency,
        "no_response": None if turn.e2e_latency is not None else ("still open" if open_turn else "not measured"),
        "response": None,
        "framework_e2e": None,
        "errors": [{"at": _since(error["timestamp"], zero), **error} for error in turn.errors],
        "barge_ins": [],
        "start": start - zero,
        "end": end - zero,
        "groups": [] if open_turn else [_group(turn, number)],
    }


def _group(turn: Turn, number: int) -> Item:
    found = latency_of(turn, number)._asdict()
    figures = [
        {"label": label, "value": found[name], "unit": "ms", "path": f"turns[{number - 1}].{field}" if field else ""}
        for name, (label, field) in _LATENCIES.items()
        if found[name] is not None
    ]
    return {"name": "Latencies of the framework", "status": "", "detail": "", "figures": figures}


def _since(seconds: Any, zero: float) -> float | None:
    return seconds - zero if is_timestamp(seconds) else None


def _spans(number: int, turn: Turn, zero: float) -> Iterator[Item]:
    start, end = extent(turn) or (zero, zero)
    parent = f"turn:{number}"
    yield _span(parent, "session", FrameworkActivity("turns", f"Turn #{number}", start, end, {}), number, zero)
    for index, activity in enumerate(activities_of(turn)):
        yield _span(f"{parent}:{index}", parent, activity, number, zero)


def _span(name: str, parent: str, activity: FrameworkActivity, turn: int, zero: float) -> Item:
    start = activity.start - zero
    return {
        "id": name, "parent": parent, "kind": "turn" if parent == "session" else activity.track,
        "lane": activity.track, "name": activity.name,
        "start": start, "end": start if activity.end is None else activity.end - zero,
        "ms": 0.0 if activity.end is None else (activity.end - activity.start) * 1000, "first": None,
        "status": "done", "turn": turn, "at": -1, "events": [], "attributes": activity.args,
    }  # fmt: skip


def _log(line: LogLine, zero: float) -> Item:
    at = line.time - zero
    return {
        "id": f"log:{line.at}", "parent": "session" if line.turn is None else f"turn:{line.turn}", "kind": "log",
        "lane": "log", "name": f"{line.level} {line.message}", "start": at, "end": at, "ms": 0.0, "first": None,
        "status": "done", "turn": line.turn, "at": line.at, "events": [line.at],
        "attributes": {"level": line.level, "logger": line.logger, "message": line.message, **line.attributes},
    }  # fmt: skip
