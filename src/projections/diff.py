"""What becomes of a call under other rules: turn by turn, field by field, and where it begins.

Turns of two replays are the same turn if they were opened at the same moment. Their ids are not compared, as they count
turns, nor are fields that one of the rule sets does not have.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from eventstore.event import Event
from projections import rules as rule_sets
from projections.fold import begin, fold
from projections.model import Turn
from projections.replay import Call
from projections.rules import Rules

MISSING = "(no such turn)"


class Change(NamedTuple):
    """A field of a turn that is another under other rules."""

    turn: int | None
    """Number of the completed turn in the first replay, from 1; None if it is only in the second."""
    other_turn: int | None
    """Its number in the second replay; None if it is only in the first."""
    path: str
    """``e2e_latency``, ``stt_metrics[0].stt_latency``; empty where the whole turn is in one replay only."""
    before: Any
    after: Any

    @property
    def field(self) -> str:
        """The path without its indices: the same field of every turn."""
        return re.sub(r"\[\d+\]", "", self.path)


def changes(one: Call, two: Call) -> list[Change]:
    """Every field in which the completed turns of two replays of one call differ, in the order of the turns."""
    others = dict(zip(_moments(two.turns), range(1, len(two.turns) + 1), strict=True))
    found: list[tuple[float, Change]] = []
    for number, (moment, turn) in enumerate(zip(_moments(one.turns), one.turns, strict=True), 1):
        other = others.pop(moment, None)
        if other is None:
            found.append((turn.timestamp, Change(number, None, "", _words(turn), MISSING)))
            continue
        for path, before, after in _differences(_plain(turn), _plain(two.turns[other - 1]), ""):
            found.append((turn.timestamp, Change(number, other, path, before, after)))
    for (opened, _nth), other in others.items():
        found.append((opened, Change(None, other, "", MISSING, _words(two.turns[other - 1]))))
    return [change for _opened, change in sorted(found, key=lambda pair: pair[0])]


def first_divergence(events: Iterable[Event], one: str | Rules, two: str | Rules) -> Event | None:
    """The event after which the open turn, or what became of the turns before it, is another; None if there is none.

    Raises as `projections.replay.replay`.
    """
    a, b = (begin(rule_sets.find(rules), spans=False, signals=False) for rules in (one, two))
    for event in events:
        fold(a, [event])
        fold(b, [event])
        if len(a.turns) != len(b.turns) or a.turns[-1:] != b.turns[-1:] or a.turn != b.turn:
            return event
    return None


def _moments(turns: list[Turn]) -> list[tuple[float, int]]:
    """When each was opened; of several at one moment, which it is."""
    seen: Counter[float] = Counter()
    found = []
    for turn in turns:
        found.append((turn.timestamp, seen[turn.timestamp]))
        seen[turn.timestamp] += 1
    return found


def _plain(turn: Turn) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(turn)
    del plain["turn_id"]
    return plain


def _words(turn: Turn) -> str:
    return str(turn.user_speech or turn.agent_speech or "(nobody spoke)")


def _differences(before: Any, after: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before:
            if name in after:
                yield from _differences(before[name], after[name], f"{path}.{name}" if path else name)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for n, (one, two) in enumerate(zip(before, after, strict=True)):
            yield from _differences(one, two, f"{path}[{n}]")
    elif before != after:
        yield path, before, after
