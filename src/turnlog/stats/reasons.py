"""Why were these turns the worst? A few lines of words for each, from the log."""

from __future__ import annotations

from eventstore.store import Store
from projections import rules as rule_sets
from projections.explain import in_words
from projections.fold import begin, fold
from projections.model import Turn
from projections.rules import Rules
from projections.state import Discarded
from turnlog.stats.verdict import Verdict, Worst
from turnlog.survey import Survey

Place = tuple[int | None, int | None]
"""A turn's number, or else the event that discarded it."""


def explained(verdicts: list[Verdict], store: Store, rules: str | Rules, survey: Survey) -> list[Verdict]:
    """The verdicts, with the ``why`` of their worst turns. Only those sessions are read, one at a time.

    Turns of a session of which that cannot be said have none, and the session is in the ``survey``.
    """
    turns: dict[str, set[Place]] = {}
    for verdict in verdicts:
        for worst in verdict.worst:
            turns.setdefault(worst.session, set()).add((worst.number, worst.at))
    why = dict(survey.each(turns, lambda session: _words(store, session, turns[session], rules)))

    def of(worst: Worst) -> list[str]:
        return why.get(worst.session, {}).get((worst.number, worst.at), [])

    return [verdict._replace(worst=[w._replace(why=of(w)) for w in verdict.worst]) for verdict in verdicts]


def _words(store: Store, session: str, places: set[Place], rules: str | Rules) -> dict[Place, list[str]]:
    events = list(store.read(session))
    discarded: list[Discarded] = []
    if any(number is None for number, _at in places):
        discarded = fold(begin(rule_sets.find(rules), spans=False, signals=False), events).discarded
    found: dict[Place, list[str]] = {}
    for number, at in places:
        if number is not None:
            found[number, at] = in_words(events, number, rules)
        else:
            found[number, at] = [_discarded(each) for each in discarded if each.at == at]
    return found


_PARTS = {
    "vad_metrics": "VAD", "stt_metrics": "STT", "eou_metrics": "EOU", "kb_metrics": "knowledge base",
    "llm_metrics": "LLM", "tts_metrics": "TTS", "realtime_metrics": "realtime model", "function_tool_metrics": "tools",
    "mcp_tool_metrics": "MCP tools", "errors": "errors", "fallback_events": "fallbacks",
}  # fmt: skip


def _discarded(found: Discarded) -> str:
    """Why, and what was in it; not what was said, as these lines end up in the logs of CI."""
    turn: Turn = found.turn
    spoken = ("user", turn.user_speech), ("agent", turn.agent_speech)
    had = [f"the {speaker}'s words" for speaker, words in spoken if words]
    had += [f"{name} {len(entries)}" for field, name in _PARTS.items() if (entries := getattr(turn, field))]
    return f"discarded: {found.reason}; it had {', '.join(had) or 'nothing'}"
