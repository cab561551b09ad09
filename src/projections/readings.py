"""Selection of a reading by rule set: the caller's, or the framework's of one release."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from eventstore.codec import read_payload
from eventstore.event import Event
from projections.caller import RULES as TURNLOG
from projections.caller import Reading, read
from projections.reference.replay import Call, replay
from projections.reference.rules import REPLACED, RULE_SETS, VIDEOSDK_1_0, Rules, UnknownRules, find_rules

FRAMEWORK = "framework"
"""Rules of the release that the session names."""
DROP_IN = "drop-in"
"""The same, but the caller's reading for a framework without rule sets; for replacements of a framework's client."""
VIDEOSDK = "videosdk-agents"
RELEASES = tuple(RULE_SETS)
"""Rule sets of the framework's reading, oldest first."""


def reading(events: Iterable[Event], rules: str | Rules = TURNLOG, *, ongoing: bool = False) -> Reading | Call:
    """Read a session under a rule set. Raises `UnknownRules`, and the errors of the reading.

    ``ongoing``: more events may come, see `projections.caller.Reading`.
    """
    if isinstance(rules, str):
        check_rules(rules)
    if rules in (FRAMEWORK, DROP_IN):
        events = list(events)
        name, version = framework_of(events)
        rules = TURNLOG if rules == DROP_IN and name not in ("", VIDEOSDK) else release(name, version)
    return read(events, ongoing=ongoing) if rules == TURNLOG else replay(events, rules)


def check_rules(rules: str) -> None:
    """Raise `UnknownRules`, which lists the known names, for a name that neither reading has."""
    name = rules.partition("+")[0]
    if name in REPLACED:
        find_rules(name)  # raises with the name of the replacement
    if rules not in (TURNLOG, FRAMEWORK, DROP_IN) and name not in RELEASES:
        there = ", ".join((TURNLOG, FRAMEWORK, *RELEASES))
        near = get_close_matches(name, (TURNLOG, FRAMEWORK, *RELEASES), 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UnknownRules(f"unknown rule set {rules!r}; {hint}known: {there}")


def framework_of(events: Iterable[Event]) -> tuple[str, str]:
    """Name and version of the session's framework; empty if not recorded, as in logs older than the hook."""
    for event in events:
        if event.hook == "set_framework":
            arguments = read_payload(event.payload)
            if isinstance(arguments, dict):
                return str(arguments.get("name") or ""), str(arguments.get("version") or "")
    return "", ""


def release(name: str, version: str) -> Rules:
    """The rule set of that release, or of the last one before it. Raises `UnknownRules` for other frameworks."""
    if name not in ("", VIDEOSDK):
        raise UnknownRules(f"{name} has no rule sets of its own; known: {', '.join((TURNLOG, *RELEASES))}")
    sets = {_numbers(found): RULE_SETS[found] for found in RELEASES}
    before = [number for number in sets if number <= _numbers(version)]
    return sets[max(before)] if before else VIDEOSDK_1_0


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))
