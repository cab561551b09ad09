"""Rule sets of the framework's reading.

A rule set is a named, frozen set of switches. Each switch is one documented deviation from ``videosdk-agents==1.0.2``,
and off in ``videosdk-1.0``, which reproduces that release exactly. The other ``videosdk-…`` reproduce later releases:
they are compared with the published packages on fresh calls (``tests/differential``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from eventstore.errors import TurnlogError

REPLACED = {"corrected": "turnlog"}
"""Rule sets of earlier versions, and what replaced them."""


class UnknownRules(TurnlogError):
    """There is no rule set, or no switch, with that name."""


def _because(reason: str) -> Any:
    return field(default=False, metadata={"reason": reason})


@dataclass(frozen=True, slots=True)
class Rules:
    """The switches, grouped by the release that introduced them; each field's metadata has the ``reason``."""

    name: str

    # 1.0.11
    playground_gone: bool = _because("the playground is disabled: attaching its manager has no effect")
    component_signals: bool = _because("a component's metrics are signalled (COMPONENT_METRIC) once it is done")
    typed_transcripts: bool = _because("transcript signals say interim or final; the transport hooks send them, too")
    eou_wait_in_ms: bool = _because("the EOU wait is stored and sent in ms as all latencies; its span is EOU Wait")
    eou_wait_in_e2e: bool = _because("the EOU wait counts in the E2E latency, as the caller waits for it too")
    eou_wait_needs_entry: bool = _because("a wait without an EOU entry is ignored instead of creating one")
    eou_wait_actual: bool = _because("the actual wait overwrites the scheduled one")
    finalize_resets: bool = _because("the end of a session resets the collector for the next agent")

    # 1.0.24
    stt_from_last_interim: bool = _because("STT latency counts from the last interim or the entry's start, instead of"
                                           " from the user's speech start")  # fmt: skip
    stt_first_final_wins: bool = _because("the first of two final transcripts of an entry sets the STT latency")
    stt_final_opens_turn: bool = _because("a final transcript without an open turn opens one instead of being lost")
    stt_measured_entry_sent: bool = _because("the last STT entry with a latency is sent, not an empty one after it")
    vad_window_optional: bool = _because("VAD speech without a silence window gets a span; without times, it gets none")

    # 1.0.27
    agent_first_start_wins: bool = _because("a pause in the agent's speech does not reset its start")
    realtime_ttfb_frozen: bool = _because("realtime TTFB is set at the first audio; later speech does not change it")
    realtime_negatives_skipped: bool = _because("an agent that speaks before the user ends gets no negative latency")
    local_vad_wins: bool = _because("with a local VAD, the provider's reports of user speech are ignored")
    user_speech_end_given: bool = _because("a detector may pass the end of speech (`at`), clamped to its start")

    # 1.0.30
    turn_holds: bool = _because("the timer does not complete a turn that is held for a delegate still at work")
    kb_retrievals: bool = _because("retrievals of the knowledge base are stored and sent")
    llm_beside_realtime: bool = _because("an LLM used with a realtime model is sent as a provider of its own")
    utterance_named: bool = _because("a streamed user transcript names its utterance (utterance_ts)")


SWITCHES: Mapping[str, str] = MappingProxyType(
    {each.name: each.metadata["reason"] for each in fields(Rules) if each.name != "name"}
)
"""Every switch, with its reason."""


def _from(base: Rules, name: str, *switches: str) -> Rules:
    on: dict[str, Any] = dict.fromkeys(switches, True)
    return replace(base, name=name, **on)


VIDEOSDK_1_0 = Rules("videosdk-1.0")
"""``videosdk-agents==1.0.2``, quirks included."""
_1_0_11 = _from(
    VIDEOSDK_1_0, "videosdk-1.0.11", "playground_gone", "component_signals", "typed_transcripts", "eou_wait_in_ms",
    "eou_wait_in_e2e", "eou_wait_needs_entry", "eou_wait_actual", "finalize_resets",
)  # fmt: skip
_1_0_24 = _from(
    _1_0_11, "videosdk-1.0.24", "stt_from_last_interim", "stt_first_final_wins", "stt_final_opens_turn",
    "stt_measured_entry_sent", "vad_window_optional",
)  # fmt: skip
_1_0_27 = _from(
    _1_0_24, "videosdk-1.0.27", "agent_first_start_wins", "realtime_ttfb_frozen", "realtime_negatives_skipped",
    "local_vad_wins", "user_speech_end_given",
)  # fmt: skip
_1_0_30 = _from(
    _1_0_27, "videosdk-1.0.30", "turn_holds", "kb_retrievals", "llm_beside_realtime", "utterance_named",
)  # fmt: skip

RULE_SETS: Mapping[str, Rules] = MappingProxyType(
    {rules.name: rules for rules in (VIDEOSDK_1_0, _1_0_11, _1_0_24, _1_0_27, _1_0_30)}
)


def find_rules(rules: str | Rules) -> Rules:
    """The rule set with that name; ``"videosdk-1.0+stt_final_opens_turn"`` turns on one switch, or more, in addition.

    Raises `UnknownRules`, which lists the known names.
    """
    if isinstance(rules, Rules):
        return rules
    name, *added = rules.split("+")
    if name in REPLACED:
        raise UnknownRules(f"the rule set {name!r} was replaced by {REPLACED[name]!r}, the default")
    if name not in RULE_SETS:
        near = get_close_matches(name, RULE_SETS, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UnknownRules(f"unknown rule set {name!r}; {hint}known: {', '.join(RULE_SETS)}")
    for switch in added:
        if switch not in SWITCHES:
            near = get_close_matches(switch, SWITCHES, 1)
            hint = f"did you mean {near[0]!r}?" if near else "`turnlog rules` lists the switches"
            raise UnknownRules(f"unknown switch {switch!r}; {hint}")
    base = RULE_SETS[name]
    new = [switch for switch in SWITCHES if switch in added and not getattr(base, switch)]
    return _from(base, "+".join([name, *new]), *new)
