"""A number names all events on which it hangs: change any other, and it stays."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from conftest import FIXTURES
from eventstore import HOOKS, Event
from projections import begin, fold
from projections.asked import resolve
from projections.explain import explain_in
from projections.model import Turn
from projections.provenance import Trail, plain
from projections.rules import find
from strategies import ARGUMENTS, HOT, JSON, NAMES, streams
from turnlog.recordings import events_of, read_recordings

RULES = ["videosdk-1.0", "videosdk-1.0.30", "corrected"]
RECORDED = {found.name: events_of(place, found) for place, found in read_recordings(FIXTURES / "recordings.jsonl.gz")}
RECORDS = ("_metrics", "_events")
SUMS = [".response_ms", ".eou_wait_ms", ".LLM_to_first_token"]


def numbers(value: Any, path: str) -> Iterator[str]:
    """The paths of all numbers, and of what might have been one; but for those in what an agent handed over."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from numbers(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list) and path.endswith(RECORDS):
        for n, item in enumerate(value):
            yield from numbers(item, f"{path}[{n}]")
    elif value is None or type(value) in (int, float, bool):
        yield path


@st.composite
def mutated(draw: st.DrawFn, length: int = 120) -> list[Event]:
    """A stretch of a real call, some of its events gone, twice, or another's."""
    events = RECORDED[draw(st.sampled_from(sorted(RECORDED)))]
    begin_ = draw(st.integers(0, max(0, len(events) - length)))
    window = list(events[begin_ : begin_ + length])
    for _ in range(draw(st.integers(0, 6))):
        n = draw(st.integers(0, len(window) - 1))
        what = draw(st.sampled_from(["drop", "hook", "swap"]))
        if what == "drop" and len(window) > 2:
            del window[n]
        elif what == "hook":
            window[n] = with_hook(draw, window[n], draw(st.sampled_from(HOT)))
        elif n:
            one, two = window[n - 1], window[n]
            window[n - 1 : n + 1] = [
                msgspec.structs.replace(two, perf_ns=one.perf_ns, wall_ns=one.wall_ns),
                msgspec.structs.replace(one, perf_ns=two.perf_ns, wall_ns=two.wall_ns),
            ]
    return [msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(window)]


def with_hook(draw: st.DrawFn, event: Event, hook: str) -> Event:
    args = {name: draw(ARGUMENTS.get(name, JSON)) for name in HOOKS[hook].arguments}
    payload = orjson.dumps(args).decode()
    return msgspec.structs.replace(event, hook=hook, version=HOOKS[hook].version, payload=payload)


@st.composite
def two_origins(draw: st.DrawFn) -> list[Event]:
    """The calls of one process, some of them made by another, in this order."""
    events = draw(streams(max_size=50))
    seqs: Counter[str] = Counter()
    found = []
    for event in events:
        origin = draw(st.sampled_from("ooop"))
        found.append(msgspec.structs.replace(event, origin=origin, seq=seqs[origin]))
        seqs[origin] += 1
    return found


SESSIONS = streams(max_size=60) | mutated() | two_origins()


def other(draw: st.DrawFn, event: Event) -> Event | None:
    """The event as it might have been instead; None if it had not been."""
    what = draw(st.sampled_from(["gone", "time", "args", "framework"]))
    if what == "gone":
        return None
    if what == "framework":
        return msgspec.structs.replace(
            event, hook="framework_event", version=HOOKS["framework_event"].version, payload='{"name":"x","data":{}}'
        )
    if what == "args" and HOOKS[event.hook].arguments:
        return with_hook(draw, event, event.hook)
    by = draw(st.sampled_from([-(10**10), -(10**8), -1000, 1, 10**6, 10**9, 10**11]))
    return msgspec.structs.replace(event, perf_ns=max(1, event.perf_ns + by), wall_ns=event.wall_ns + by)


def check(draw: st.DrawFn, events: list[Event], rules: str) -> None:
    trail = Trail(events, rules)
    turns = turns_of(trail)
    assume(turns and not trail.state.raised)
    where = draw(st.sampled_from(sorted(turns)))
    path = draw(st.sampled_from([*numbers(turns[where], ""), *SUMS]) | st.sampled_from([".e2e_latency", *SUMS]))
    told = explain_in(trail, where + path)
    named = {event.at for event in told.events}
    free = [at for at in range(len(events)) if at not in named]
    assume(free)
    chosen = set(free) if draw(st.booleans()) else set(draw(st.lists(st.sampled_from(free), min_size=1, max_size=3)))
    changed = [other(draw, event) if at in chosen else event for at, event in enumerate(events)]
    after = Trail([event for event in changed if event is not None], rules)
    assume(not after.state.raised)
    note(f"{rules}: {told.path} = {told.value}, opened by {opener(trail, turns[where])}")
    for at, (event, instead) in enumerate(zip(events, changed, strict=True)):
        mark = "*" if at in named else "!" if at in chosen else " "
        became = f" -> {instead and (instead.hook, instead.payload[:80], instead.perf_ns)}" if at in chosen else ""
        note(f"{at} {mark} {event.origin}{event.seq} {event.perf_ns} {event.hook} {event.payload[:80]}{became}")
    again = {opener(after, turn): found for found, turn in turns_of(after).items()}
    assert opener(trail, turns[where]) in again, "the turn is gone"
    asked = resolve(after, again[opener(trail, turns[where])] + told.path.removeprefix(where))
    assert repr(after.ask(asked.question, asked.turn)[0]) == repr(told.value)


def turns_of(trail: Trail) -> dict[str, Turn]:
    found = {f"turns[{n}]": turn for n, turn in enumerate(trail.state.turns)}
    found |= {f"discarded[{n}].turn": discarded.turn for n, discarded in enumerate(trail.state.discarded)}
    return found | ({} if trail.state.turn is None else {"current_turn": trail.state.turn})


def opener(trail: Trail, turn: Turn) -> tuple[str, int]:
    """The event that opened it."""
    number = trail.number_of(turn)
    at = next(part.at for parts in trail.parts for part in parts if part.opens == number)
    return trail.events[at].origin, trail.events[at].seq


@pytest.mark.parametrize("rules", RULES)
@settings(max_examples=int(os.environ.get("TURNLOG_EXAMPLES", "60")))
@given(data=st.data())
def test_what_is_not_named_changes_nothing(rules: str, data: st.DataObject) -> None:
    check(data.draw, data.draw(SESSIONS), rules)


@pytest.mark.parametrize("rules", RULES)
@given(events=SESSIONS)
def test_taking_notes_changes_nothing(rules: str, events: list[Event]) -> None:
    noted, s = Trail(events, rules).state, fold(begin(find(rules), spans=False, signals=False), events)
    assert noted.raised == s.raised
    assert [plain(turn) for turn in noted.turns] == [plain(turn) for turn in s.turns]
    assert [plain(d.turn) for d in noted.discarded] == [plain(d.turn) for d in s.discarded]
    assert plain(noted.turn) == plain(s.turn)
    assert (noted.user_speaking, noted.holds, noted.pending_user_start) == (s.user_speaking, s.holds, s.pending_user_start)
