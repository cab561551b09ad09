"""Differences between two recordings of one call, such as a script played before and after a change of the agent.

The recordings share neither clocks nor ids. So both are rebased to the start of the call, turns are matched by the
user's words, times count from the opening of their turn, and ids are not compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

import msgspec

from eventstore.codec import clocks, read_payload
from eventstore.event import Event
from eventstore.hooks.arguments import HAPPENED
from projections.compare.turns import MISSING, Change, Pair, differ, differences, speech_label
from projections.model import is_number
from projections.reference.metrics import Turn

START_NS = 1_000_000_000_000_000
"""Start of a rebased call: not 0, which the rules treat as no time, and far from any duration."""
LATE_NS = 1_000_000
"""Minimum difference in time that counts, between an event's times in the two recordings."""
ROUNDING = 0.001
"""Tolerance for numbers: latencies are kept in steps of 0.0001 ms, and round differently elsewhere on a clock."""
NEAR_S = 3600
"""Maximum distance of a time argument from the clock of its event that it is on."""
_TIME = re.compile(r"(^|_)(time|start|end|timestamp|timestamp_perf|created|at)$")
_ID = re.compile(r"(^|_)id$|Id$|^readable_time$")


def on_common_clock(events: Iterable[Event]) -> list[Event]:
    """Rebase the events, so that both clocks show `START_NS` at the start of the call and run alike.

    Several origins are aligned as in `eventstore.event.merge`. Times in arguments are shifted accordingly.
    """
    found = []
    zeros: dict[str, tuple[int, int]] = {}
    for event in events:
        first_wall_ns = zeros[next(iter(zeros))][1] if zeros else event.wall_ns
        perf_zero, wall_zero = zeros.setdefault(event.origin, (event.perf_ns, event.wall_ns))
        back_ns = perf_zero - (wall_zero - first_wall_ns) - START_NS
        now_ns = event.perf_ns - back_ns
        payload = event.payload
        if payload != "{}":
            args = _shift_times(read_payload(payload), event, back_ns)
            payload = msgspec.json.encode(args).decode()
        found.append(msgspec.structs.replace(event, perf_ns=now_ns, wall_ns=now_ns, payload=payload))
    return found


def _shift_times(value: Any, event: Event, back_ns: int, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _shift_times(item, event, back_ns, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_shift_times(item, event, back_ns, name) for item in value]
    if name == HAPPENED and isinstance(value, int):
        return value - back_ns
    clock_ns = _clock(event, name, value)
    # in whole nanoseconds: float precision far from 0 differs between the clocks
    return value if clock_ns is None else (round(value * 1e9) - clock_ns + event.perf_ns - back_ns) / 1e9


def _clock(event: Event, name: str, value: Any) -> int | None:
    """The reading, at the event, of the clock that a time argument is on; None if it is not a time."""
    if _TIME.search(name) and is_number(value) and value:
        for clock_ns in (event.perf_ns, event.wall_ns):
            if abs(value - clock_ns / 1e9) < NEAR_S:
                return clock_ns
    return None


class Divergence(NamedTuple):
    """An event at which two recordings diverge."""

    what: Literal["hook", "arguments", "time"]
    one: Event | None
    """None if the first recording has ended; likewise ``other`` for the second."""
    other: Event | None
    late_ms: float | None = None
    """Additional time since the previous event in the second recording."""


def first_divergences(one: list[Event], two: list[Event]) -> list[Divergence]:
    """The first event with a different hook or arguments, preceded by the first before it at a different time.

    Both recordings must be `on_common_clock`. Ids and times among the arguments are not compared.
    """
    found: list[Divergence] = []
    before_ns = [START_NS, START_NS]
    for a, b in zip_longest(one, two):
        if a is None or b is None or a.hook != b.hook:
            return [*found, Divergence("hook", a, b)]
        if a.payload != b.payload and differ(_content(a), _content(b)):
            return [*found, Divergence("arguments", a, b)]
        now_ns = [clocks(a)[0], clocks(b)[0]]
        late_ns = now_ns[1] - before_ns[1] - (now_ns[0] - before_ns[0])
        if not found and abs(late_ns) >= LATE_NS:
            found.append(Divergence("time", a, b, late_ns / 1e6))
        before_ns = now_ns
    return found


def _content(event: Event) -> Any:
    return _strip(read_payload(event.payload), event)


def _strip(value: Any, event: Event, name: str = "") -> Any:
    """An argument without ids and times."""
    if isinstance(value, dict):
        return {key: _strip(item, event, key) for key, item in value.items() if not _ID.search(key)}
    if isinstance(value, list):
        return [_strip(item, event, name) for item in value]
    return None if name == HAPPENED or _clock(event, name, value) is not None else value


def changes_between(one: list[Turn], two: list[Turn]) -> list[Change]:
    """All fields in which the completed turns of two recordings, each `on_common_clock`, differ, in turn order.

    Times are seconds since the opening of their turn.
    """
    found = []
    for number, other in align_turns(one, two):
        if number is None or other is None:
            before = speech_label(one[number - 1]) if number is not None else MISSING
            after = speech_label(two[other - 1]) if other is not None else MISSING
            found.append(Change(number, other, "", before, after))
            continue
        for path, before, after in differences(_rebased(one[number - 1]), _rebased(two[other - 1])):
            if not (is_number(before) and is_number(after) and abs(before - after) < ROUNDING):
                found.append(Change(number, other, path, before, after))
    return found


def align_turns(one: list[Turn], two: list[Turn]) -> Iterator[Pair]:
    """`align_speech` of what the user said in the turns."""
    return align_speech([turn.user_speech for turn in one], [turn.user_speech for turn in two])


def align_speech(one: Sequence[object], two: Sequence[object]) -> Iterator[Pair]:
    """Pairs of turn numbers, from 1: turns with the same words, and those at the same place between such turns; None
    opposite a turn without a counterpart. Words that are not text are none.
    """
    matcher = SequenceMatcher(None, list(map(_normalized, one)), list(map(_normalized, two)), autojunk=False)
    for _tag, a, a_end, b, b_end in matcher.get_opcodes():
        yield from zip_longest(range(a + 1, a_end + 1), range(b + 1, b_end + 1))


def _normalized(speech: object) -> str | None:
    """The words alone, in one case; None if there are none."""
    words = re.findall(r"\w+", str(speech).casefold()) if speech is not None else None
    return " ".join(words) if words else None


def _rebased(turn: Turn) -> Any:
    return _since(msgspec.to_builtins(turn), turn.timestamp)


def _since(value: Any, opened: float, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _since(item, opened, key) for key, item in value.items() if not _ID.search(key)}
    if isinstance(value, list):
        return [_since(item, opened, name) for item in value]
    if _TIME.search(name) and is_number(value) and value:
        return round((value - opened) * 1e9) / 1e9
    return value
