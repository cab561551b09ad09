"""A turn as people read it: an exchange with its numbers. `docs/json.md` has the contract."""

from __future__ import annotations

from typing import Any

import msgspec

from projections.latency.missing import Reason, no_response
from projections.latency.response import Response, user_stopped
from projections.timeline import Activity, Timeline
from projections.turns.exchange import Exchange
from projections.turns.ledger import BargeIn

RUNS = {
    "stt": "stt",
    "llm": "llm",
    "tts": "tts",
    "tool": "tools",
    "knowledge_base": "knowledge_base",
    "realtime": "realtime",
}
_NAMES = {"first": {"llm": "first_token", "tts": "first_byte", "stt": "first_interim", "tool": "first_part"}}
_SHOWN = {
    "stt": ("transcript", "confidence", "tokens", "audio_seconds", "provider"),
    "llm": ("input", "tokens", "provider"),
    "tts": ("characters", "audio_seconds", "provider"),
    "tool": ("name", "params", "response", "type", "url"),
    "knowledge_base": ("kb_id", "documents", "scores", "retrievals"),
    "realtime": ("tokens", "usage", "audio_seconds", "provider"),
}


class Turn(msgspec.Struct, kw_only=True):
    """One exchange. Times are seconds since the session's first event; None: the log does not say."""

    turn: int
    user_speech: str | None
    agent_speech: str | None
    typed: bool
    user_started: float | None
    user_stopped: float | None
    agent_started: float | None
    agent_stopped: float | None
    agent_speeches: list[dict[str, Any]]
    interrupted: bool
    e2e_latency: float | None
    no_response: Reason | None
    response: dict[str, Any] | None
    stt: list[dict[str, Any]]
    eou: list[dict[str, Any]]
    llm: list[dict[str, Any]]
    tts: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    knowledge_base: list[dict[str, Any]]
    realtime: list[dict[str, Any]]
    tokens: dict[str, int]
    errors: list[dict[str, Any]]
    fallbacks: list[dict[str, Any]]
    barge_ins: list[dict[str, Any]]
    agent: str | None
    handed_off: bool
    opened_at: float
    """When it was opened: seconds since the epoch."""
    decisions: list[dict[str, Any]]
    framework_e2e: float | None = None


def turn_of(
    t: Timeline, x: Exchange, number: int, answered: Response | None, records: list[BargeIn], *, last: bool
) -> Turn:
    """The exchange as a turn; ``last``: no other came after it."""
    missing = None if answered is not None else no_response(x, last=last, ended=t.ended)
    speeches = x.speeches()
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in (*RUNS.values(), "eou", "error", "fallback")}
    tokens = {"input": 0, "output": 0, "total": 0}
    for part in x.parts:
        name = RUNS.get(part.kind)
        if name is not None:
            runs[name].append(run_dict(t, part))
            for key, value in part.data.get("tokens", _NONE).items():
                if key in tokens:
                    tokens[key] += value
        elif part.kind == "eou":
            runs["eou"].append(_eou(t, part))
        elif part.kind == "eou_wait" and runs["eou"]:
            runs["eou"][-1]["wait_ms"] = _ms(part.start, part.end)
        elif part.kind == "error":
            runs["error"].append({"at": _since(t, part.start), **part.data})
        elif part.kind == "fallback":
            runs["fallback"].append({"start": _since(t, part.start), "end": _since(t, part.end), **part.data})
    return Turn(
        turn=number,
        user_speech=x.words or None,
        agent_speech=" ".join(x.texts) or None,
        typed=x.typed,
        user_started=_since(t, x.voices[0].start if x.voices else user_stopped(x)),
        user_stopped=_since(t, user_stopped(x)),
        agent_started=_since(t, speeches[0].start if speeches else None),
        agent_stopped=_since(t, speeches[-1].end if speeches else None),
        agent_speeches=[
            {
                "start": _since(t, s.start),
                "end": _since(t, s.end if s.end is not None else t.last),
                "end_known": s.end_reported,
            }
            for s in speeches
        ],
        interrupted=any(record.kind in ("true", "escalated") for record in records),
        e2e_latency=None if answered is None else answered.ms,
        no_response=missing,
        response=None if answered is None else response_dict(t, answered),
        stt=runs["stt"],
        eou=runs["eou"],
        llm=runs["llm"],
        tts=runs["tts"],
        tools=runs["tools"],
        knowledge_base=runs["knowledge_base"],
        realtime=runs["realtime"],
        tokens=tokens,
        errors=runs["error"],
        fallbacks=runs["fallback"],
        barge_ins=[barge_in_dict(t, record) for record in records],
        agent=next((s.data["agent"] for s in speeches if s.data.get("agent")), None),
        handed_off=x.handed_off,
        opened_at=(x.opened + t.wall_shift) / 1e9,
        decisions=[{"decision": d.name, "at": d.at} for d in x.decisions],
    )


_NONE: dict[str, int] = {}


def _since(t: Timeline, now: int | None) -> float | None:
    return None if now is None else (now - t.began) / 1e9


def _ms(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None or end < start else (end - start) / 1e6


def run_dict(t: Timeline, run: Activity) -> dict[str, Any]:
    """A run as the contract has it: seconds, status, and what belongs to its kind."""
    found: dict[str, Any] = {
        "start": _since(t, run.start),
        "end": _since(t, run.end),
        "ms": _ms(run.start, run.end),
        "status": run.status,
    }
    first = _NAMES["first"].get(run.kind)
    if first is not None:
        found[first] = _since(t, run.first)
        found[f"{first}_ms"] = _ms(run.data.get("failed_until", run.start), run.first)
    if run.id:
        found["id"] = run.id
    for name in _SHOWN[run.kind]:
        if name in run.data:
            found[name] = run.data[name]
    if run.kind == "stt":
        found["latency_ms"] = _ms(run.data.get("finalising"), run.end)
    return found


def _eou(t: Timeline, run: Activity) -> dict[str, Any]:
    what = {"start": _since(t, run.start), "end": _since(t, run.end), "ms": _ms(run.start, run.end)}
    return {**what, "status": run.status, "probability": run.data.get("probability"), "wait_ms": None}


def response_dict(t: Timeline, answered: Response) -> dict[str, Any]:
    """The response as the contract has it."""
    parts = [{"name": p.name, "start": _since(t, p.start), "end": _since(t, p.end), "ms": p.ms} for p in answered.parts]
    return {
        "start": _since(t, answered.start),
        "end": _since(t, answered.end),
        "ms": answered.ms,
        "time_to_answer_ms": answered.time_to_answer_ms,
        "parts": parts,
    }


_TIMES = ("agent_start", "user_start", "user_end", "stopped", "silent", "resumed")
_FIELDS = ("silent_known", "yield_ms", "decision_ms", "overlap_ms", "agent_heard_ms", "words")


def barge_in_dict(t: Timeline, record: BargeIn) -> dict[str, Any]:
    """A record of the ledger as the contract has it."""
    found: dict[str, Any] = {"kind": record.kind, "at": record.at}
    for name in _TIMES:
        found[name] = _since(t, getattr(record, name))
    for name in _FIELDS:
        found[name] = getattr(record, name)
    return found
