"""Measures of turns under the caller's reading.

A component's latency is that of the run that led to the first audio, as in the payload; usage (tokens, characters,
seconds of audio, time in tools) is summed over all runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from projections.latency.missing import no_response
from projections.latency.response import user_stopped
from projections.measures.turn import COMPONENTS, TurnMeasures, label_of
from projections.outputs.payload import counted_run
from projections.timeline import Activity, elapsed_ms
from projections.turns.ledger import BargeIn

if TYPE_CHECKING:
    from projections.caller import Reading
    from projections.latency.response import Response
    from projections.turns.exchange import Exchange

Runs = dict[str, list[Activity]]
"""The parts of an exchange by kind."""


def measures_of_reading(r: Reading, version: str, framework_e2e: Sequence[float | None] = ()) -> list[TurnMeasures]:
    """A record for each turn, in order; ``framework_e2e``: the framework's own latencies in milliseconds."""
    last, figures = len(r.exchanges), framework_e2e or [None] * len(r.exchanges)
    labels: dict[int, str] = {}
    return [
        _record(r, x, number, response, own, version, labels, last=number == last)
        for number, (x, response, own) in enumerate(zip(r.exchanges, r.responses, figures, strict=True), 1)
    ]


def _record(
    r: Reading,
    x: Exchange,
    number: int,
    response: Response | None,
    framework_e2e: float | None,
    version: str,
    labels: dict[int, str],
    *,
    last: bool,
) -> TurnMeasures:
    t = r.timeline
    runs: Runs = x.by_kind
    first_audio = response.end if response is not None else None
    missing = None if response is not None else no_response(x, last=last, ended=t.ended)
    asked = missing not in ("no question", "still open")
    response_ms = response.ms if response is not None else None
    speeches, stopped = runs.get("agent", ()), user_stopped(x)
    return TurnMeasures(
        session=t.session_id,
        turn=number,
        turn_id="",
        opened_at=(x.opened + t.wall_shift) / 1e9,
        response_ms=response_ms,
        time_to_answer_ms=response.time_to_answer_ms if response is not None else None,
        e2e_ms=response_ms,
        framework_e2e_ms=framework_e2e,
        user_speech_ms=elapsed_ms(x.voices[0].start if x.voices else stopped, stopped),
        agent_speech_ms=elapsed_ms(speeches[0].start, speeches[-1].end) if speeches else None,
        asked=asked,
        unanswered=asked and missing is not None,
        no_response=missing,
        errors=len(runs.get("error", ())),
        fallbacks=len(runs.get("fallback", ())),
        agent=next((str(s.data["agent"]) for s in speeches if s.data.get("agent")), ""),
        version=version,
        **_latencies(runs, first_audio, response),
        **_usage(runs),
        **_barge_ins(r.barge_ins_of(x)),
        **_providers(r, runs, first_audio, labels),
    )


def _latencies(runs: Runs, first_audio: int | None, response: Response | None) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(_LATENCIES)
    if response is not None:
        waits = _part_ms(response, "EOU wait"), _part_ms(response, "realtime model")
        found["eou_wait_ms"], found["realtime_ms"] = waits[0], waits[1] or None
    if "stt" in runs:
        stt = counted_run(runs["stt"], first_audio)
        found["stt_ms"] = elapsed_ms(stt.data.get("finalising"), stt.end)
        found["stt_interim_ms"] = elapsed_ms(stt.start, stt.first)
        found["stt_preflight_ms"] = elapsed_ms(stt.start, stt.data.get("preflight"))
    if "eou" in runs:
        eou = counted_run(runs["eou"], first_audio)
        found["eou_ms"] = elapsed_ms(eou.start, eou.end)
    if "knowledge_base" in runs:
        kb = counted_run(runs["knowledge_base"], first_audio)
        found["kb_ms"] = elapsed_ms(kb.start, kb.end)
    if "llm" in runs:
        llm = counted_run(runs["llm"], first_audio)
        found["llm_ttft_ms"] = elapsed_ms(llm.data.get("failed_until", llm.start), llm.first)
        found["llm_ms"] = duration = elapsed_ms(llm.start, llm.end)
        made = llm.data.get("tokens", _NONE).get("output")
        found["tokens_per_second"] = round(made / (duration / 1000), 2) if made and duration else None
    if "tts" in runs:
        tts = counted_run(runs["tts"], first_audio)
        found["tts_first_byte_ms"] = elapsed_ms(tts.start, tts.first)
        found["tts_ms"] = elapsed_ms(
            tts.start, first_audio if first_audio is not None and tts.first is not None else tts.first
        )
    return found


_LATENCIES = (
    "eou_wait_ms", "realtime_ms", "stt_ms", "stt_interim_ms", "stt_preflight_ms", "eou_ms", "kb_ms", "llm_ttft_ms",
    "llm_ms", "tokens_per_second", "tts_first_byte_ms", "tts_ms",
)  # fmt: skip
_NONE: dict[str, int] = {}


def _part_ms(response: Response, name: str) -> float:
    return sum(part.ms for part in response.parts if part.name == name)


def _usage(runs: Runs) -> dict[str, Any]:
    tools = runs.get("tool", ())
    of = {c: _tokens(runs.get(c, ())) for c in ("llm", "stt", "realtime")}
    every = [tokens for tokens in of.values() if tokens]
    return {
        "tools": len(tools),
        "tool_ms": _active_ms(tools),
        "input_tokens": sum(tokens["input"] for tokens in every) if every else None,
        "output_tokens": sum(tokens["output"] for tokens in every) if every else None,
        "total_tokens": sum(tokens["total"] for tokens in every) if every else None,
        "prompt_tokens": of["llm"].get("input"),
        "completion_tokens": of["llm"].get("output"),
        "cached_tokens": of["llm"].get("cached"),
        "stt_tokens": of["stt"].get("total"),
        "realtime_input_tokens": of["realtime"].get("input"),
        "realtime_output_tokens": of["realtime"].get("output"),
        "realtime_tokens": of["realtime"].get("total"),
        "tts_characters": _sum(runs.get("tts", ()), "characters"),
        "stt_audio_seconds": _sum(runs.get("stt", ()), "audio_seconds"),
        "tts_audio_seconds": _sum(runs.get("tts", ()), "audio_seconds"),
    }


def _tokens(runs: Iterable[Activity]) -> dict[str, int]:
    found: dict[str, int] = {}
    for run in runs:
        for key, count in run.data.get("tokens", _NONE).items():
            found[key] = found.get(key, 0) + count
    return found


def _sum(runs: Iterable[Activity], name: str) -> float | None:
    found = [run.data[name] for run in runs if name in run.data]
    return sum(found) if found else None


def _active_ms(runs: Iterable[Activity]) -> float | None:
    """Milliseconds during which at least one run was active; None if no duration is known."""
    spans = sorted((r.start, r.end) for r in runs if r.start is not None and r.end is not None and r.end >= r.start)
    if not spans:
        return None
    total, until = 0, spans[0][0]
    for start, end in spans:
        total += max(0, end - max(start, until))
        until = max(until, end)
    return total / 1e6


def _barge_ins(records: list[BargeIn]) -> dict[str, Any]:
    yields = [b.yield_ms for b in records if b.yield_ms is not None and b.kind != "false"]
    overlaps = [b.overlap_ms for b in records if b.overlap_ms is not None]
    kinds = {b.kind for b in records}
    return {
        "interrupted": "true" in kinds or "escalated" in kinds,
        "false_interruption": "false" in kinds,
        "yield_ms": max(yields, default=None),
        "overlap_ms": sum(overlaps) if overlaps else None,
    }


def _providers(r: Reading, runs: Runs, first_audio: int | None, labels: dict[int, str]) -> dict[str, Any]:
    """Providers of the turn's runs, or else those of the session, as labels by component.

    ``labels``: a cache by a provider's ``id()``, as the runs of a session share it.
    """
    found: dict[str, Any] = {}
    current = r.session.provider_per_component
    for component in COMPONENTS:
        own = counted_run(runs[component], first_audio).data.get("provider") if component in runs else None
        provider = own or current.get(component)
        if provider is None:
            found[component] = ""
            continue
        label = labels.get(id(provider))
        if label is None:
            label = labels[id(provider)] = label_of(provider["provider_class"], provider["model_name"])
        found[component] = label
    return found
