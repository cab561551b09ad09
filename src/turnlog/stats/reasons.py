"""Explanations of the worst turns: a few lines of text for each, from the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from eventstore.stores.base import Store
from projections.caller import RULES as TURNLOG
from projections.caller import Reading, read
from projections.latency.missing import no_response
from projections.latency.response import Response
from projections.reference import rules as rule_sets
from projections.reference.fold import begin, fold
from projections.reference.metrics import Turn
from projections.reference.replay import Latency, latency_of
from projections.reference.rules import Rules
from projections.reference.state import Discarded
from projections.turns.exchange import Exchange
from turnlog.stats.verdict import Verdict, Worst
from turnlog.survey import Survey

Place = tuple[int | None, int | None]
"""A turn's number, or else the event that discarded it."""


def explain_worst(
    verdicts: list[Verdict], store: Store, rules: str | Rules, survey: Survey | None = None
) -> list[Verdict]:
    """The verdicts, with the ``why`` of their worst turns. Only their sessions are read, one at a time.

    Turns of a session that cannot be replayed have no ``why``, and the session is listed in the ``survey``.
    """
    turns: dict[str, set[Place]] = {}
    for verdict in verdicts:
        for worst in verdict.worst:
            turns.setdefault(worst.session, set()).add((worst.number, worst.at))
    survey = survey or Survey()
    why = dict(survey.each(turns, lambda session: _reasons(store, session, turns[session], rules)))

    def of(worst: Worst) -> list[str]:
        return why.get(worst.session, {}).get((worst.number, worst.at), [])

    return [verdict._replace(worst=[w._replace(why=of(w)) for w in verdict.worst]) for verdict in verdicts]


def _reasons(store: Store, session: str, places: set[Place], rules: str | Rules) -> dict[Place, list[str]]:
    if rules == TURNLOG:
        reading = read(store.read(session))
        return {(number, at): list(_response_lines(reading, number)) for number, at in places if number is not None}
    state = fold(begin(rule_sets.find_rules(rules), spans=False, signals=False), store.read(session))
    found: dict[Place, list[str]] = {}
    for number, at in places:
        if number is not None:
            found[number, at] = list(_e2e_lines(latency_of(turn, number) for turn in state.turns[number - 1 : number]))
        else:
            found[number, at] = [_discarded(each) for each in state.discarded if each.at == at]
    return found


_LATENCIES = {
    "stt": "STT", "eou": "EOU", "eou_wait": "EOU wait", "ttft": "LLM to first token", "tts": "TTS",
    "realtime": "realtime model",
}  # fmt: skip


def _e2e_lines(latencies: Iterable[Latency]) -> Iterator[str]:
    """The framework's own latency of a turn and its measured components."""
    for found in latencies:
        if found.e2e is not None:
            values = {name: getattr(found, field) for field, name in _LATENCIES.items()}
            parts = [f"{name} {ms:,.0f}" for name, ms in values.items() if ms is not None]
            yield f"E2E by the rules {found.e2e:,.0f} ms" + (f": {', '.join(parts)}" if parts else "")


LEAST_MS = 1.0
"""Shorter waits are omitted."""


def _response_lines(reading: Reading, number: int) -> Iterator[str]:
    """The parts of a turn's response, its failures and tools; no transcript."""
    if number > len(reading.exchanges):
        return  # the session was cut back since
    x, response = reading.exchanges[number - 1], reading.responses[number - 1]
    if response is not None:
        yield _response_line(response)
    else:
        last = number == len(reading.exchanges)
        yield f"no response: {no_response(x, last=last, ended=reading.timeline.ended)}"
    yield from _failures(x)
    tools = [_tool(part.data.get("name"), part.start, part.end, part.status) for part in x.of("tool")]
    if tools:
        yield f"tools: {', '.join(tools)}"


def _response_line(response: Response) -> str:
    spent: dict[str, float] = {}
    for part in response.parts:
        spent[part.name] = spent.get(part.name, 0) + part.ms
    longest = sorted(spent.items(), key=lambda wait: -wait[1])
    waits = ", ".join(f"{name} {ms:,.0f} ms" for name, ms in longest if ms >= LEAST_MS)
    line = f"responded in {response.ms:,.0f} ms" + (f": {waits}" if waits else "")
    later = response.time_to_answer_ms
    return line if later is None else f"{line}; the answer to the question came after {later:,.0f} ms"


def _failures(x: Exchange) -> Iterator[str]:
    for part in x.of("fallback"):
        data = part.data
        if data.get("is_recovery") is not True:
            before, after = (data.get(f"{which}_provider_label") or "unknown" for which in ("original", "new"))
            took = "" if part.start is None or part.end is None else f" after {(part.end - part.start) / 1e6:,.0f} ms"
            yield f"{data.get('component_type') or 'provider'} {before} failed{took}; next: {after}"
    sources = [str(part.data.get("source")) for part in x.of("error")]
    if sources:
        yield f"errors of {', '.join(dict.fromkeys(sources))}: {len(sources)}"


def _tool(name: Any, start: int | None, end: int | None, status: str) -> str:
    took = "" if start is None or end is None or end < start else f" {(end - start) / 1e6:,.0f} ms"
    return f"{name}{took}" + ("" if status == "done" else f" ({status})")


_PARTS = {
    "vad_metrics": "VAD", "stt_metrics": "STT", "eou_metrics": "EOU", "kb_metrics": "knowledge base",
    "llm_metrics": "LLM", "tts_metrics": "TTS", "realtime_metrics": "realtime model", "function_tool_metrics": "tools",
    "mcp_tool_metrics": "MCP tools", "errors": "errors", "fallback_events": "fallbacks",
}  # fmt: skip


def _discarded(found: Discarded) -> str:
    """The reason and the turn's content by kind; no transcript, as these lines end up in CI logs."""
    turn: Turn = found.turn
    speech = ("user", turn.user_speech), ("agent", turn.agent_speech)
    content = [f"the {speaker}'s words" for speaker, words in speech if words]
    content += [f"{name} {len(entries)}" for field, name in _PARTS.items() if (entries := getattr(turn, field))]
    return f"discarded: {found.reason}; it had {', '.join(content) or 'nothing'}"
