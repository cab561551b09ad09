"""The document of the caller's reading."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from exporters.files.reading_shapes import TRACK_OF_KIND
from projections.caller import Reading, reading_dict
from projections.spans import Span
from projections.spans.span import ROOT
from projections.timeline import Activity

Item = dict[str, Any]


def reading_document(r: Reading) -> Item:
    """The turns with their figures, the spans on their lanes, and what belongs to no turn."""
    t = r.timeline
    spans = [*_spans(r), *_logs(r)]
    bands = {span.turn: span for span in r.spans if span.kind == "turn"}
    zero_ns = t.began + t.wall_shift
    plain = reading_dict(r)
    turns = [
        turn
        | {
            "start": (bands[turn["turn"]].start_ns - zero_ns) / 1e9,
            "end": (bands[turn["turn"]].end_ns - zero_ns) / 1e9,
            "path": turn_path(turn["turn"]),
            "groups": list(figure_groups(turn)),
        }
        for turn in plain["turns"]
    ]
    return {
        "session": {name: value for name, value in plain["session"].items() if name != "events"},
        "seconds": max([(t.last - t.began) / 1e9, *(span["end"] for span in spans)], default=0.0),
        "ended": t.ended,
        "sealed": t.sealed,
        "turns": turns,
        "spans": spans,
        "outside": sorted([*plain["discarded"], *plain["outside"]], key=itemgetter("at", "kind")),
    }


def _spans(r: Reading) -> Iterator[Item]:
    zero_ns = r.timeline.began + r.timeline.wall_shift
    activities: dict[tuple[str, int], Activity] = {
        (found.kind, found.at): found for found in (*r.timeline.activities, *r.timeline.notes)
    }
    for span in r.spans:
        yield _span(span, zero_ns, activities.get((span.kind, _at(span))))


def _span(span: Span, zero_ns: int, activity: Activity | None) -> Item:
    first = next((e["time_ns"] for e in span.events if e["name"] in _FIRST), None)
    return {
        "id": span.id,
        "parent": span.parent,
        "kind": span.kind,
        "lane": TRACK_OF_KIND[span.kind],
        "name": span.name,
        "start": (span.start_ns - zero_ns) / 1e9,
        "end": (span.end_ns - zero_ns) / 1e9,
        "ms": (span.end_ns - span.start_ns) / 1e6,
        "first": None if first is None else (first - zero_ns) / 1e9,
        "status": _status(span),
        "turn": span.turn,
        "at": _at(span),
        "events": [] if activity is None else sorted(at for at in activity.events() if at >= 0),
        "attributes": span.attributes,
    }


def _at(span: Span) -> int:
    """Index of the event that began the span's activity; outside of turns, only its id names it. -1 if it has none."""
    at = span.id.partition(":")[2] if span.turn is None and span.at < 0 else ""
    return int(at) if at.isdecimal() else span.at


_FIRST = ("first token", "first byte", "first words")


def _status(span: Span) -> str:
    """``done``, ``unfinished``, ``interrupted``, ``error``, or how a run ended."""
    if "unfinished" in span.attributes:
        return "unfinished"
    if span.status == "ERROR":
        return "error"
    return str(span.attributes.get("run_status") or ("interrupted" if span.attributes.get("interrupted") else "done"))


def _logs(r: Reading) -> Iterator[Item]:
    began = r.timeline.began
    parents = {span.turn: span.id for span in r.spans if span.kind == "turn"}
    for line in r.logs:
        at = line.time - began / 1e9
        yield {
            "id": f"log:{line.at}", "parent": parents.get(line.turn, ROOT), "kind": "log", "lane": "log",
            "name": f"{line.level} {line.message}", "start": at, "end": at, "ms": 0.0, "first": None, "status": "done",
            "turn": line.turn, "at": line.at, "events": [line.at],
            "attributes": {"level": line.level, "logger": line.logger, "message": line.message, **line.attributes},
        }  # fmt: skip


# figures ------------------------------------------------------------------------------------------------------------

_RUNS = {
    "stt": "STT", "eou": "EOU", "knowledge_base": "Knowledge base", "llm": "LLM", "tools": "Tool", "tts": "TTS",
    "realtime": "Realtime",
}  # fmt: skip
_FIGURES = {
    "first_interim_ms": ("to first words", "ms"),
    "first_token_ms": ("to first token", "ms"),
    "first_part_ms": ("to first part", "ms"),
    "first_byte_ms": ("to first byte", "ms"),
    "latency_ms": ("finalisation", "ms"),
    "ms": ("in all", "ms"),
    "wait_ms": ("endpointing delay", "ms"),
    "probability": ("probability", ""),
    "confidence": ("confidence", ""),
    "characters": ("characters", ""),
    "audio_seconds": ("audio", "s"),
    "yield_ms": ("until the agent stopped", "ms"),
    "decision_ms": ("until it was decided", "ms"),
    "overlap_ms": ("both spoke", "ms"),
    "agent_heard_ms": ("agent heard", "ms"),
}
"""Label and unit of each figure, in the order in which they are shown."""
_TOKENS = ("input", "output", "total")


def turn_path(number: int) -> str:
    """The path to a turn's values; ``number`` counts from 1."""
    return f"turns[{number - 1}]"


def figure_groups(turn: Item) -> Iterator[Item]:
    """The turn's figures in groups: one for the tokens, each run and each barge-in. A figure has its path."""
    base = turn_path(turn["turn"])
    if turn["tokens"]["total"] or turn["tokens"]["input"]:
        yield _group("Tokens", "", "", list(_tokens(turn["tokens"], f"{base}.tokens")))
    for field, name in _RUNS.items():
        for number, run in enumerate(turn[field]):
            path = f"{base}.{field}[{number}]"
            figures = [*_numbers(run, path), *_tokens(run.get("tokens"), f"{path}.tokens")]
            yield _group(f"{name} {run['name']}" if run.get("name") else name, run["status"], _provider(run), figures)
    for number, record in enumerate(turn["barge_ins"]):
        figures = list(_numbers(record, f"{base}.barge_ins[{number}]"))
        yield _group(f"Barge-in: {record['kind']}", "", str(record["words"] or ""), figures)


def _group(name: str, status: str, detail: str, figures: list[Item]) -> Item:
    return {"name": name, "status": status, "detail": detail, "figures": figures}


def _figure(label: str, value: float, unit: str, path: str) -> Item:
    return {"label": label, "value": value, "unit": unit, "path": path}


def _numbers(values: Item, path: str) -> Iterator[Item]:
    for field, (label, unit) in _FIGURES.items():
        value = values.get(field)
        if isinstance(value, (int, float)):
            yield _figure(label, value, unit, f"{path}.{field}")


def _tokens(tokens: Any, path: str) -> Iterator[Item]:
    for name in _TOKENS if isinstance(tokens, dict) else ():
        if isinstance(tokens.get(name), int) and tokens[name]:
            yield _figure(f"{name} tokens", tokens[name], "", f"{path}.{name}")


def _provider(run: Item) -> str:
    provider = run.get("provider")
    names = (provider.get("provider_class"), provider.get("model_name")) if isinstance(provider, dict) else ()
    return " ".join(str(name) for name in names if name)


def turn_paths(turn: Item) -> Iterator[str]:
    """Paths to all figures that the page shows of a turn of the document."""
    base = turn["path"]
    yield f"{base}.e2e_latency"
    yield from (part["path"] for part in turn.get("e2e_parts", ()))
    if turn["framework_e2e"] is not None:
        yield f"{base}.framework_e2e"
    if turn["response"] is not None:
        if turn["response"]["time_to_answer_ms"] is not None:
            yield f"{base}.response.time_to_answer_ms"
        yield from (f"{base}.response.parts[{n}].ms" for n in range(len(turn["response"]["parts"])))
    for group in turn["groups"]:
        yield from (figure["path"] for figure in group["figures"])
