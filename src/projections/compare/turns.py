"""Differences between two replays of a call under different rules: by turn, by field, and the first event.

Turns correspond if they were opened at the same time, or else completed by the same event. Ids are not compared, as
they count turns, nor are fields that one of the rule sets does not have.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from eventstore.event import Event
from projections.reference import rules as rule_sets
from projections.reference.fold import begin, fold
from projections.reference.metrics import Turn
from projections.reference.rules import Rules

MISSING = "(no such turn)"

Pair = tuple[int | None, int | None]
"""A turn's numbers on either side, from 1."""


class Change(NamedTuple):
    """A field of a turn that differs."""

    turn: int | None
    """Number of the completed turn on the first side, from 1; None if it is only on the second."""
    other_turn: int | None
    """Its number on the second side; None if it is only on the first."""
    path: str
    """``e2e_latency``, ``stt_metrics[0].stt_latency``; empty where the whole turn is on one side only."""
    before: Any
    after: Any

    @property
    def field(self) -> str:
        """The path without its indices: the same field of every turn."""
        return re.sub(r"\[\d+\]", "", self.path)


def changes(one: list[Turn], two: list[Turn], completed: tuple[list[int], list[int]] | None = None) -> list[Change]:
    """All fields in which the completed turns of two replays of one call differ, in turn order.

    ``completed``: for the turns of either side, the indices of the events that completed them.
    """
    found = []
    pairs = match_by_opening([turn.timestamp for turn in one], [turn.timestamp for turn in two])
    for number, other in pairs if completed is None else _join_by_completion(pairs, *completed):
        if number is None or other is None:
            before = speech_label(one[number - 1]) if number is not None else MISSING
            after = speech_label(two[other - 1]) if other is not None else MISSING
            found.append(Change(number, other, "", before, after))
        else:
            pair = one[number - 1], two[other - 1]
            found += [Change(number, other, *difference) for difference in differences(*pair)]
    return found


def match_by_opening(one: list[float], two: list[float]) -> list[Pair]:
    """Pairs of turn numbers, from 1, by opening time; None opposite a turn without a counterpart."""
    others = {moment: number for number, moment in enumerate(_numbered(two), 1)}
    pairs = [(moment, number, others.pop(moment, None)) for number, moment in enumerate(_numbered(one), 1)]
    unmatched = [(moment, None, number) for moment, number in others.items()]
    ordered = sorted([*pairs, *unmatched], key=lambda pair: pair[0][0])
    return [(number, other) for _moment, number, other in ordered]


def _join_by_completion(pairs: list[Pair], one: list[int], two: list[int]) -> list[Pair]:
    """The pairs, with turns that have no counterpart joined if they were completed by the same event."""
    unmatched = {two[other - 1]: other for number, other in pairs if number is None and other is not None}
    joined: list[Pair] = []
    for number, other in pairs:
        found = other if number is None or other is not None else unmatched.pop(one[number - 1], None)
        joined.append((number, found))
    left = set(unmatched.values())
    return [pair for pair in joined if pair[0] is not None or pair[1] in left]


def _numbered(moments: list[float]) -> Iterator[tuple[float, int]]:
    """Each time, with the number of equal ones before it."""
    seen: Counter[float] = Counter()
    for moment in moments:
        yield moment, seen[moment]
        seen[moment] += 1


def first_divergence(events: Iterable[Event], one: str | Rules, two: str | Rules) -> Event | None:
    """The first event after which the open turn, or the last completed one, differs as in `changes`; None if none does.

    Raises the same errors as `projections.reference.replay`.
    """
    a, b = (begin(rule_sets.find_rules(rules), spans=False, signals=False) for rules in (one, two))
    for event in events:
        fold(a, [event])
        fold(b, [event])
        if len(a.turns) != len(b.turns) or differ(a.turn, b.turn) or differ(a.turns[-1:], b.turns[-1:]):
            return event
    return None


def differ(before: Any, after: Any) -> bool:
    """Whether two values have any `differences`."""
    return any(True for _difference in differences(before, after))


def differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Paths at which two turns, or values in them, differ, with both values as plain JSON data."""
    if before is after or before == after:
        return
    if isinstance(before, msgspec.Struct) and type(before) is type(after):
        for name in before.__struct_fields__:
            one, two = getattr(before, name), getattr(after, name)
            if one is not msgspec.UNSET and two is not msgspec.UNSET and name != "turn_id":
                yield from differences(one, two, _join_path(path, name))
    elif isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            yield from differences(before.get(name), after.get(name), _join_path(path, name))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for n, (one, two) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, two, f"{path}[{n}]")
    else:
        yield path, msgspec.to_builtins(before), msgspec.to_builtins(after)


def _join_path(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def speech_label(turn: Turn) -> str:
    """A label for a turn in output: its speech."""
    return str(turn.user_speech or turn.agent_speech or "(no speech)")
