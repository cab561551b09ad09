"""Which reading of a log a rule set picks: the caller's, or the framework's of one release."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from eventstore.codec import read_payload
from eventstore.event import Event
from projections.caller import RULES as TURNLOG
from projections.caller import Reading, read
from projections.replay import Call, replay
from projections.rules import RULE_SETS, VIDEOSDK_1_0, Rules, UnknownRules

FRAMEWORK = "framework"
"""The release that the session names."""
DROP_IN = "drop-in"
"""The same, but the caller's reading of a framework without rule sets: for what stands in for a framework's client."""
_VIDEOSDK = "videosdk-agents"


def reading(events: Iterable[Event], rules: str | Rules = TURNLOG, *, going_on: bool = False) -> Reading | Call:
    """The session under the rule set, whichever reading that is of. Raises `UnknownRules`, and what the reading does.

    ``going_on``: more events may come, see `projections.caller.Reading`.
    """
    if rules in (FRAMEWORK, DROP_IN):
        events = list(events)
        name, version = framework_of(events)
        rules = TURNLOG if rules == DROP_IN and name not in ("", _VIDEOSDK) else release(name, version)
    return read(events, going_on=going_on) if rules == TURNLOG else replay(events, rules)


def framework_of(events: Sequence[Event]) -> tuple[str, str]:
    """Name and version as the session gives them; empty if it does not, as before there was a hook for it."""
    for event in events:
        if event.hook == "set_framework":
            said = read_payload(event.payload)
            if isinstance(said, dict):
                return str(said.get("name") or ""), str(said.get("version") or "")
    return "", ""


def release(name: str, version: str) -> Rules:
    """The rule set of that release, or of the last one before it. Raises `UnknownRules` for another framework."""
    sets = {_numbers(found.name): found for found in RULE_SETS.values() if found.name.startswith("videosdk-")}
    if name not in ("", _VIDEOSDK):
        known = ", ".join(found.name for found in sets.values())
        raise UnknownRules(f"{name} has no rule sets of its own; there are: {TURNLOG}, {known}")
    before = [number for number in sets if number <= _numbers(version)]
    return sets[max(before)] if before else VIDEOSDK_1_0


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
