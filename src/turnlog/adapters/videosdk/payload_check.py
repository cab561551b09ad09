"""Did the framework send what we replay? Both are in the log: its payloads stand there as framework events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

from eventstore import Event
from eventstore.codec import decode
from projections import analytics_payloads
from projections.reference.rules import RULE_SETS, VIDEOSDK_1_0, Rules

SENT = "analytics_payload"
"""Name of the framework event that keeps a payload as the framework sent it."""

FIRST_TURN_ONLY = ("systemInstructions", "vadProviderClass", "vadModelName", "eouProviderClass", "eouModelName")
"""Left out by a collector that has completed a turn before, be it in an earlier call."""


class Difference(NamedTuple):
    """A value of a payload that the framework and the replay do not agree on."""

    turn: int
    """Number of the turn among those sent, from 1."""
    path: str
    """As in ``timeline[0].startTime``; empty if one of the two has no payload for the turn."""
    sent: Any
    replayed: Any


def sent_payloads(events: Iterable[Event]) -> list[dict[str, Any]]:
    """What the framework sent to its analytics endpoint, in order."""
    return [
        kept["arguments"]["payload"]
        for kept in (decode(event) for event in events if event.hook == "framework_event")
        if kept["name"] == SENT
    ]


def rules_of(version: str) -> Rules:
    """The rule set of that release of ``videosdk-agents``: of the newest that is compared with its package up to it."""
    given = _numbers(version)
    releases = {
        _numbers(name.removeprefix("videosdk-")): rules
        for name, rules in RULE_SETS.items()
        if name.startswith("videosdk-")
    }
    known = [release for release in releases if release and release <= given]
    return releases[max(known)] if known else VIDEOSDK_1_0


def _numbers(version: str) -> tuple[int, ...]:
    """``1.0.27`` as numbers; nothing for what is no version."""
    return tuple(map(int, re.findall(r"\d+", version))) if re.fullmatch(r"[\d.]+", version) else ()


def payload_differences(
    events: list[Event], rules: Rules = VIDEOSDK_1_0, *, jitter_ms: float = 0.0, reused: bool = False
) -> list[Difference]:
    """Where the payloads sent in a session (canonical order) and the replayed ones differ by more than ``jitter_ms``.

    ``reused``: the collector had served a call before, and does not count this call's first turn as the first.
    """
    sent, replayed = sent_payloads(events), analytics_payloads(events, rules)
    found: list[Difference] = []
    for turn, (theirs, ours) in enumerate(zip_longest(sent, replayed), 1):
        if theirs is None or ours is None:
            found.append(Difference(turn, "", theirs, ours))
            continue
        unequal = _unequal(theirs, ours, "", jitter_ms)
        if reused and turn == 1:
            unequal = (where for where in unequal if where[0] not in FIRST_TURN_ONLY)
        found += (Difference(turn, *where) for where in unequal)
    return found


def _unequal(theirs: Any, ours: Any, path: str, jitter_ms: float) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            if key in theirs and key in ours:
                yield from _unequal(theirs[key], ours[key], f"{path}.{key}" if path else key, jitter_ms)
            else:
                yield f"{path}.{key}" if path else key, theirs.get(key, "(absent)"), ours.get(key, "(absent)")
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for n, (their, our) in enumerate(zip(theirs, ours, strict=True)):
            yield from _unequal(their, our, f"{path}[{n}]", jitter_ms)
    elif theirs != ours and not _within(theirs, ours, path, jitter_ms):
        yield path, theirs, ours


def _within(theirs: Any, ours: Any, path: str, jitter_ms: float) -> bool:
    if not isinstance(theirs, (int, float)) or not isinstance(ours, (int, float)):
        return False
    if path == "tokensPerSecond":  # follows from llmDuration, which is compared
        return jitter_ms > 0
    unit = 1e-3 if path.endswith("Time") else 1.0  # points in time are in seconds, durations in milliseconds
    return abs(theirs - ours) <= jitter_ms * unit
