"""A turn of the JSON output: an exchange with its numbers. `docs/json.md` documents the fields."""

from __future__ import annotations

from typing import Any

import msgspec

from projections.latency.missing import Reason, no_response
from projections.latency.response import Response, user_stopped
from projections.timeline import Activity, Timeline, elapsed_ms
from projections.turns.exchange import Exchange
from projections.turns.ledger import BargeIn

_FIRST = {"llm": "first_token", "tts": "first_byte", "stt": "first_interim", "tool": "first_part"}
"""Name of the first output, by kind."""
_SHOWN = {
    "stt": ("transcript", "confidence", "tokens", "audio_seconds", "provider"),
    "llm": ("input", "tokens", "provider"),
    "tts": ("characters", "audio_seconds", "provider"),
    "tool": ("name", "params", "response", "type", "url"),
    "knowledge_base": ("kb_id", "documents", "scores", "retrievals"),
    "realtime": ("tokens", "usage", "audio_seconds", "provider"),
}


class Turn(msgspec.Struct, kw_only=True):
    """One exchange. Times are seconds since the session's first event; None is unknown."""

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
    """Seconds since the epoch."""
    decisions: list[dict[str, Any]]
    framework_e2e: float | None = None


def turn_of(
    t: Timeline, x: Exchange, number: int, response: Response | None, records: list[BargeIn], *, last: bool
) -> Turn:
    """The exchange as a turn; ``last``: it is the session's last."""
    began, speeches, stopped = t.began, x.speeches(), user_stopped(x)
    return Turn(
        turn=number,
        user_speech=x.words or None,
        agent_speech=x.answer or None,
        typed=x.typed,
        user_started=_since(began, x.voices[0].start if x.voices else stopped),
        user_stopped=_since(began, stopped),
        agent_started=_since(began, speeches[0].start if speeches else None),
        agent_stopped=_since(began, speeches[-1].end if speeches else None),
        agent_speeches=[
            {
                "start": _since(began, s.start),
                "end": _since(began, s.end if s.end is not None else t.last),
                "end_known": s.end_reported,
            }
            for s in speeches
        ],
        interrupted=any(record.kind in ("true", "escalated") for record in records) if records else False,
        e2e_latency=None if response is None else response.ms,
        no_response=None if response is not None else no_response(x, last=last, ended=t.ended),
        response=None if response is None else response_dict(t, response),
        stt=_runs(t, x, "stt"),
        eou=_eous(began, x) if "eou" in x.by_kind else [],
        llm=_runs(t, x, "llm"),
        tts=_runs(t, x, "tts"),
        tools=_runs(t, x, "tool"),
        knowledge_base=_runs(t, x, "knowledge_base"),
        realtime=_runs(t, x, "realtime"),
        tokens=_tokens(x),
        errors=[{"at": _since(began, error.start), **error.data} for error in x.of("error")],
        fallbacks=[
            {"start": _since(began, part.start), "end": _since(began, part.end), **part.data}
            for part in x.of("fallback")
        ],
        barge_ins=[barge_in_dict(t, record) for record in records],
        agent=next((s.data["agent"] for s in speeches if s.data.get("agent")), None) if speeches else None,
        handed_off=x.handed_off,
        opened_at=(x.opened + t.wall_shift) / 1e9,
        decisions=[{"decision": d.name, "at": d.at} for d in x.decisions],
    )


def _since(began: int, now: int | None) -> float | None:
    return None if now is None else (now - began) / 1e9


def _runs(t: Timeline, x: Exchange, kind: str) -> list[dict[str, Any]]:
    runs = x.by_kind.get(kind)
    return [run_dict(t, run) for run in runs] if runs is not None else []


def run_dict(t: Timeline, run: Activity) -> dict[str, Any]:
    """A run as JSON output has it: times in seconds, status, and the fields of its kind."""
    began, kind, data, start, end = t.began, run.kind, run.data, run.start, run.end
    found: dict[str, Any] = {
        "start": _since(began, start),
        "end": _since(began, end),
        "ms": elapsed_ms(start, end),
        "status": run.status,
    }
    first = _FIRST.get(kind)
    if first is not None:
        found[first] = _since(began, run.first)
        found[first + "_ms"] = elapsed_ms(data.get("failed_until", start), run.first)
    if run.id:
        found["id"] = run.id
    for name in _SHOWN[kind]:
        if name in data:
            found[name] = data[name]
    if kind == "stt":
        found["latency_ms"] = elapsed_ms(data.get("finalising"), end)
    return found


def _eous(began: int, x: Exchange) -> list[dict[str, Any]]:
    """The end-of-utterance runs, each with the endpointing delay that it scheduled."""
    found: list[dict[str, Any]] = []
    for part in x.parts:
        start, end = part.start, part.end
        if part.kind == "eou":
            what = {"start": _since(began, start), "end": _since(began, end), "ms": elapsed_ms(start, end)}
            found.append(what | {"status": part.status, "probability": part.data.get("probability"), "wait_ms": None})
        elif part.kind == "eou_wait" and found:
            found[-1]["wait_ms"] = elapsed_ms(start, end)
    return found


def _tokens(x: Exchange) -> dict[str, int]:
    """Token counts, summed over all runs."""
    found = {"input": 0, "output": 0, "total": 0}
    for kind in ("stt", "llm", "tts", "realtime"):
        for run in x.of(kind):
            if "tokens" in run.data:
                for key, value in run.data["tokens"].items():
                    if key in found:
                        found[key] += value
    return found


def response_dict(t: Timeline, response: Response) -> dict[str, Any]:
    """The response as JSON output has it."""
    began = t.began
    return {
        "start": _since(began, response.start),
        "end": _since(began, response.end),
        "ms": response.ms,
        "time_to_answer_ms": response.time_to_answer_ms,
        "parts": [
            {
                "name": part.name,
                "start": (part.start - began) / 1e9,
                "end": (part.end - began) / 1e9,
                "ms": (part.end - part.start) / 1e6,
            }
            for part in response.parts
        ],
    }


_TIMES = ("agent_start", "user_start", "user_end", "stopped", "silent", "resumed")
_FIELDS = ("silent_known", "yield_ms", "decision_ms", "overlap_ms", "agent_heard_ms", "words")


def barge_in_dict(t: Timeline, record: BargeIn) -> dict[str, Any]:
    """A ledger record as JSON output has it."""
    found: dict[str, Any] = {"kind": record.kind, "at": record.at}
    for name in _TIMES:
        found[name] = _since(t.began, getattr(record, name))
    for name in _FIELDS:
        found[name] = getattr(record, name)
    return found
