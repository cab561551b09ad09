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
from projections.reference.rules import find_rules
from projections.reference.timing import e2e, e2e_parts

Item = dict[str, Any]
_LATENCIES = {
    "stt": ("STT latency", "stt_metrics", "stt_latency"),
    "eou": ("EOU latency", "eou_metrics", "eou_latency"),
    "eou_wait": ("endpointing delay", "eou_metrics", ""),
    "ttft": ("LLM to first token", "llm_metrics", "llm_ttft"),
    "tts": ("TTS latency", "tts_metrics", "tts_latency"),
    "realtime": ("realtime to first byte", "realtime_metrics", "realtime_ttfb"),
    "ttfb": ("TTS to first byte", "tts_metrics", "ttfb"),
}  # fmt: skip
"""By field of `projections.reference.replay.Latency`: label, list of the turn, and field of its last entry."""
PARTS = ("stt", "eou", "eou_wait", "ttft", "tts", "realtime")
"""Those that `projections.reference.timing.e2e_parts` returns, in its order."""


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
        "turns": turns,
        "spans": spans,
        "outside": [
            {"kind": "turn", "at": d.at, "start": None, "end": None, "reason": d.reason} for d in call.discarded
        ],
    }


def _turn(call: Call, number: int, turn: Turn, zero: float) -> Item:
    start, end = extent(turn) or (zero, zero)
    open_turn = number > len(call.turns)
    path = "current_turn" if open_turn else f"turns[{number - 1}]"
    parts = _e2e_parts(turn, call.rules, path)
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
        "path": path,
        "e2e_parts": parts,
        "groups": list(_groups(turn, number, path, without=parts)),
    }


def _e2e_parts(turn: Turn, rules: str, path: str) -> list[Item]:
    """The parts of the E2E latency; empty if they do not add up to it, as a part has changed since or is negative."""
    found = find_rules(rules)
    values = e2e_parts(turn, found)
    if turn.e2e_latency is None or e2e(turn, found) != turn.e2e_latency or any(v is not None and v < 0 for v in values):
        return []
    return [_latency(turn, name, value, path) for name, value in zip(PARTS, values, strict=True) if value is not None]


def _groups(turn: Turn, number: int, path: str, without: list[Item]) -> Iterator[Item]:
    """The latencies that are not among the parts ``without``."""
    found = latency_of(turn, number)._asdict()
    figures = [_latency(turn, name, found[name], path) for name in _LATENCIES if found[name] is not None]
    rest = [figure for figure in figures if figure not in without]
    if rest:
        yield {"name": "Latencies of the framework", "status": "", "detail": "", "figures": rest}


def _latency(turn: Turn, name: str, value: float, path: str) -> Item:
    label, entries, field = _LATENCIES[name]
    last = len(getattr(turn, entries)) - 1
    if name == "eou_wait":
        has_ms = turn.eou_metrics[last].eou_wait_ms is not msgspec.UNSET
        field = "eou_wait_ms" if has_ms else "wait_for_additional_speech_duration"
    return {"label": label, "value": value, "unit": "ms", "path": f"{path}.{entries}[{last}].{field}"}


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
