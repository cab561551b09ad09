"""Rule sets: under which rules a log is read.

A rule set is a named, frozen set of switches. Each switch is one documented deviation from ``videosdk-agents==1.0.2``,
and off in ``videosdk-1.0``, which is that release to the last digit. The other ``videosdk-…`` are later releases, each
as exact: they are compared with the published package on fresh calls (``tests/differential``).
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
    """There is no rule set, or no switch, of that name."""


def _because(reason: str) -> Any:
    return field(default=False, metadata={"reason": reason})


@dataclass(frozen=True, slots=True)
class Rules:
    """The switches, by the release that brought them; each field's metadata has the ``reason``."""

    name: str

    # 1.0.11
    playground_gone: bool = _because("the playground gets nothing any more; attaching its manager has no effect")
    component_signals: bool = _because("a component's metrics are a signal (COMPONENT_METRIC) as soon as it is done")
    typed_transcripts: bool = _because("transcript signals say interim or final; the transport hooks send them, too")
    eou_wait_in_ms: bool = _because("the EOU wait is kept and sent in ms, like all latencies; its span is EOU Wait")
    eou_wait_in_e2e: bool = _because("the caller waits that long, too: the EOU wait counts in the E2E latency")
    eou_wait_needs_entry: bool = _because("a wait that belongs to no EOU entry makes none, and is ignored")
    eou_wait_actual: bool = _because("the wait that took place overwrites the scheduled one")
    finalize_resets: bool = _because("another agent may go on with the collector: the end of a session resets it")

    # 1.0.24
    stt_from_last_interim: bool = _because("STT latency counts from the last interim, or this entry's start: not from"
                                           " when the user began to speak")  # fmt: skip
    stt_first_final_wins: bool = _because("of two final transcripts of one entry, the first sets the STT latency")
    stt_final_opens_turn: bool = _because("a final transcript without a turn opens one instead of being lost")
    stt_measured_entry_sent: bool = _because("the last STT entry with a latency is sent, not an empty one after it")
    vad_window_optional: bool = _because("VAD speech without a silence window has a span; without times, none")

    # 1.0.27
    agent_first_start_wins: bool = _because("an agent that pauses in its speech does not start a second time")
    realtime_ttfb_frozen: bool = _because("realtime TTFB is set at the first audio, before the user speaks again")
    realtime_negatives_skipped: bool = _because("an agent that speaks before the user ends has no negative latency")
    local_vad_wins: bool = _because("where a local VAD stamps the user's speech, the provider's later one is ignored")
    user_speech_end_given: bool = _because("a detector may say when the speech ended (`at`), not before its start")

    # 1.0.30
    turn_holds: bool = _because("a turn that is held, as a delegate still works for it, is not completed by its timer")
    kb_retrievals: bool = _because("what the knowledge base retrieved is kept and sent")
    llm_beside_realtime: bool = _because("an LLM beside a realtime model is sent as a provider of its own")
    utterance_named: bool = _because("a streamed user transcript says which utterance it belongs to (utterance_ts)")


SWITCHES: Mapping[str, str] = MappingProxyType(
    {each.name: each.metadata["reason"] for each in fields(Rules) if each.name != "name"}
)
"""Every switch, with its reason."""


def _from(base: Rules, name: str, *switches: str) -> Rules:
    on: dict[str, Any] = dict.fromkeys(switches, True)
    return replace(base, name=name, **on)


VIDEOSDK_1_0 = Rules("videosdk-1.0")
"""What ``videosdk-agents==1.0.2`` does, quirks included."""
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
    """The rule set of that name; ``"videosdk-1.0+stt_final_opens_turn"`` is one with a switch, or more, put on.

    Raises `UnknownRules`, naming those there are.
    """
    if isinstance(rules, Rules):
        return rules
    name, *added = rules.split("+")
    if name in REPLACED:
        raise UnknownRules(f"the rule set {name!r} is gone: {REPLACED[name]!r}, the default, replaced it")
    if name not in RULE_SETS:
        near = get_close_matches(name, RULE_SETS, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UnknownRules(f"unknown rule set {name!r}; {hint}there are: {', '.join(RULE_SETS)}")
    for switch in added:
        if switch not in SWITCHES:
            near = get_close_matches(switch, SWITCHES, 1)
            hint = f"did you mean {near[0]!r}?" if near else "`turnlog rules` lists the switches"
            raise UnknownRules(f"unknown switch {switch!r}; {hint}")
    base = RULE_SETS[name]
    new = [switch for switch in SWITCHES if switch in added and not getattr(base, switch)]
    return _from(base, "+".join([name, *new]), *new)
