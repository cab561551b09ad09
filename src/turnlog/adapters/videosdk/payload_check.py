"""Compares the payloads that the framework sent, recorded as framework events, with the replayed ones."""

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
"""Name of the framework event with a sent payload."""

FIRST_TURN_ONLY = ("systemInstructions", "vadProviderClass", "vadModelName", "eouProviderClass", "eouModelName")
"""Fields omitted by a collector that has completed a turn before, even in an earlier call."""


class Difference(NamedTuple):
    """A value of a payload that differs between the framework and the replay."""

    turn: int
    """Number of the sent payload, from 1."""
    path: str
    """Such as ``timeline[0].startTime``; empty if one side has no payload for the turn."""
    sent: Any
    replayed: Any


def sent_payloads(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The payloads that the framework sent to its analytics endpoint, in order."""
    return [
        kept["arguments"]["payload"]
        for kept in (decode(event) for event in events if event.hook == "framework_event")
        if kept["name"] == SENT
    ]


def rules_of(version: str) -> Rules:
    """The rule set for a release of ``videosdk-agents``: that of the newest supported release up to it."""
    wanted = _numbers(version)
    releases = {
        _numbers(name.removeprefix("videosdk-")): rules
        for name, rules in RULE_SETS.items()
        if name.startswith("videosdk-")
    }
    known = [release for release in releases if release and release <= wanted]
    return releases[max(known)] if known else VIDEOSDK_1_0


def _numbers(version: str) -> tuple[int, ...]:
    """``1.0.27`` as numbers; empty if it is not a version."""
    return tuple(map(int, re.findall(r"\d+", version))) if re.fullmatch(r"[\d.]+", version) else ()


def payload_differences(
    events: list[Event], rules: Rules = VIDEOSDK_1_0, *, jitter_ms: float = 0.0, reused: bool = False
) -> list[Difference]:
    """The values by which sent and replayed payloads of a session differ by more than ``jitter_ms``.

    ``events`` are in canonical order. ``reused``: the collector was used for an earlier call, so this call's first turn
    is not its first.
    """
    sent, replayed = sent_payloads(events), analytics_payloads(events, rules)
    found: list[Difference] = []
    for turn, (theirs, ours) in enumerate(zip_longest(sent, replayed), 1):
        if theirs is None or ours is None:
            found.append(Difference(turn, "", theirs, ours))
            continue
        unequal = _value_differences(theirs, ours, "", jitter_ms)
        if reused and turn == 1:
            unequal = (where for where in unequal if where[0] not in FIRST_TURN_ONLY)
        found += (Difference(turn, *where) for where in unequal)
    return found


def _value_differences(theirs: Any, ours: Any, path: str, jitter_ms: float) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            if key in theirs and key in ours:
                yield from _value_differences(theirs[key], ours[key], f"{path}.{key}" if path else key, jitter_ms)
            else:
                yield f"{path}.{key}" if path else key, theirs.get(key, "(absent)"), ours.get(key, "(absent)")
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for n, (their, our) in enumerate(zip(theirs, ours, strict=True)):
            yield from _value_differences(their, our, f"{path}[{n}]", jitter_ms)
    elif theirs != ours and not _within_jitter(theirs, ours, path, jitter_ms):
        yield path, theirs, ours


def _within_jitter(theirs: Any, ours: Any, path: str, jitter_ms: float) -> bool:
    if not isinstance(theirs, (int, float)) or not isinstance(ours, (int, float)):
        return False
    if path == "tokensPerSecond":  # derived from llmDuration, which is compared
        return jitter_ms > 0
    unit = 1e-3 if path.endswith("Time") else 1.0  # points in time are in seconds, durations in milliseconds
    return abs(theirs - ours) <= jitter_ms * unit
