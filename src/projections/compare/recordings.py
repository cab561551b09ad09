"""What changed between two recordings of one call: the same script played twice, or again after a change of the agent.

Their clocks have nothing in common and neither have their ids. So both are laid on one clock that begins with the call,
turns are matched by what the user said, times count from the opening of their turn, and ids are not compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

import msgspec

from eventstore.codec import clocks, read_payload
from eventstore.event import Event
from eventstore.hooks.arguments import HAPPENED
from projections.compare.turns import MISSING, Change, differ, differences, speech_label
from projections.model import is_number
from projections.reference.metrics import Turn

START_NS = 1_000_000_000_000_000
"""Where a call begins on the one clock: not at 0, which the rules take for no time at all, nor near to durations."""
LATE_NS = 1_000_000
"""An event that is this much earlier or later than in the other recording comes at another time."""
ROUNDING = 0.001
"""Numbers that are nearer are the same: latencies are kept in steps of 0.0001 ms, and elsewhere on a clock round
otherwise."""
NEAR_S = 3600
"""An argument named as a time is on that clock of its event from which it is less than this away."""
_TIME = re.compile(r"(^|_)(time|start|end|timestamp|timestamp_perf|created|at)$")
_ID = re.compile(r"(^|_)id$|Id$|^readable_time$")


def on_common_clock(events: Iterable[Event]) -> list[Event]:
    """The events as they would be, had both clocks shown `START_NS` when the call began, and run alike.

    Several origins are laid beside each other as in `eventstore.event.merge`. Times in arguments move along.
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
            args = _moved(read_payload(payload), event, back_ns)
            payload = msgspec.json.encode(args).decode()
        found.append(msgspec.structs.replace(event, perf_ns=now_ns, wall_ns=now_ns, payload=payload))
    return found


def _moved(value: Any, event: Event, back_ns: int, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _moved(item, event, back_ns, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, event, back_ns, name) for item in value]
    if name == HAPPENED and isinstance(value, int):
        return value - back_ns
    clock_ns = _clock(event, name, value)
    # in whole nanoseconds: what is left of a float far from 0 must not tell the clocks apart
    return value if clock_ns is None else (round(value * 1e9) - clock_ns + event.perf_ns - back_ns) / 1e9


def _clock(event: Event, name: str, value: Any) -> int | None:
    """What the clock of which this argument is a time showed at the event; None if it is no time."""
    if _TIME.search(name) and is_number(value) and value:
        for clock_ns in (event.perf_ns, event.wall_ns):
            if abs(value - clock_ns / 1e9) < NEAR_S:
                return clock_ns
    return None


class Divergence(NamedTuple):
    """From where on two recordings are not the same."""

    what: Literal["hook", "arguments", "time"]
    one: Event | None
    """None if the first recording has ended before; so the second."""
    other: Event | None
    late_ms: float | None = None
    """How much more time had passed, in the second, since the event before."""


def first_divergences(one: list[Event], two: list[Event]) -> list[Divergence]:
    """The first event with another hook or other arguments, and before it the first that comes at another time.

    Both recordings are as `on_common_clock` gives them. Neither ids nor times among the arguments are compared.
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
    return _without(read_payload(event.payload), event)


def _without(value: Any, event: Event, name: str = "") -> Any:
    """An argument without ids and times."""
    if isinstance(value, dict):
        return {key: _without(item, event, key) for key, item in value.items() if not _ID.search(key)}
    if isinstance(value, list):
        return [_without(item, event, name) for item in value]
    return None if name == HAPPENED or _clock(event, name, value) is not None else value


def changes_between(one: list[Turn], two: list[Turn]) -> list[Change]:
    """Every field in which the completed turns of two recordings, each `on_common_clock`, differ, in their order.

    A time is in seconds since the opening of its turn.
    """
    found = []
    for number, other in aligned(one, two):
        if number is None or other is None:
            before = speech_label(one[number - 1]) if number is not None else MISSING
            after = speech_label(two[other - 1]) if other is not None else MISSING
            found.append(Change(number, other, "", before, after))
            continue
        for path, before, after in differences(_relative(one[number - 1]), _relative(two[other - 1])):
            if not (is_number(before) and is_number(after) and abs(before - after) < ROUNDING):
                found.append(Change(number, other, path, before, after))
    return found


def aligned(one: list[Turn], two: list[Turn]) -> Iterator[tuple[int | None, int | None]]:
    """Numbers, from 1, of the turns in which the user said the same, and of those that stand between such turns in the
    same place; None opposite of one that is alone."""
    matcher = SequenceMatcher(None, [_said(turn) for turn in one], [_said(turn) for turn in two], autojunk=False)
    for _tag, a, a_end, b, b_end in matcher.get_opcodes():
        yield from zip_longest(range(a + 1, a_end + 1), range(b + 1, b_end + 1))


def _said(turn: Turn) -> str | None:
    """None if the user said nothing: then the agent spoke by itself."""
    said = re.findall(r"\w+", str(turn.user_speech).casefold()) if turn.user_speech is not None else None
    return " ".join(said) if said else None


def _relative(turn: Turn) -> Any:
    return _since(msgspec.to_builtins(turn), turn.timestamp)


def _since(value: Any, opened: float, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _since(item, opened, key) for key, item in value.items() if not _ID.search(key)}
    if isinstance(value, list):
        return [_since(item, opened, name) for item in value]
    if _TIME.search(name) and is_number(value) and value:
        return round((value - opened) * 1e9) / 1e9
    return value
