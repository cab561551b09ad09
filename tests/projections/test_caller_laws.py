"""Invariants of the caller's reading, for any order of hooks and for recorded calls."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import Event, canonical
from projections.caller import Reading, read, reading_dict
from projections.timeline import Timeline, extend, timeline
from support.examples import examples
from support.recorded import RECORDED, recorded, renumbered
from support.strategies import sessions, streams


def as_json(made: list[Event]) -> bytes:
    r = read(made)
    return orjson.dumps([reading_dict(r), r.payloads])


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [n for item in value.values() for n in numbers(item)]
    if isinstance(value, list):
        return [n for item in value for n in numbers(item)]
    return [value] if isinstance(value, float) else []


def check_tiling(r: Reading) -> None:
    for turn, answered in zip(r.turns, r.responses, strict=True):
        assert (turn.no_response is None) == (answered is not None)
        if answered is None:
            continue
        assert answered.ms >= 0
        assert turn.e2e_latency == answered.ms
        edges = [answered.start, *(part.end for part in answered.parts)]
        assert [part.start for part in answered.parts] == edges[:-1]
        assert edges[-1] == answered.end
        assert all(part.end > part.start for part in answered.parts)
        assert all(a.name != b.name or a.activity is not b.activity for a, b in pairwise(answered.parts))


def check_places(r: Reading) -> None:
    """Each activity is in exactly one place: an exchange, or unassigned with a reason."""
    places: Counter[int] = Counter()
    for x in r.exchanges:
        places.update(id(activity) for activity in [*x.voices, *x.parts])
    places.update(id(left.activity) for left in r.assembly.unassigned)
    assert all(left.reason for left in r.assembly.unassigned)
    for activity in r.timeline.activities:
        assert places[id(activity)] == 1, activity
    assert len(places) == len(r.timeline.activities)


def check_ledger(r: Reading) -> None:
    """Each interruption is in exactly one record, and each doubt in one, possibly that of an interruption."""
    at = Counter(record.at for record in r.barge_ins if record.kind != "overlap")
    for activity in r.timeline.activities:
        if activity.kind == "interruption":
            assert at[activity.at] == 1


def check_durations(r: Reading) -> None:
    for turn in r.turns:
        for run in [*turn.stt, *turn.eou, *turn.llm, *turn.tts, *turn.tools, *turn.knowledge_base]:
            assert all(
                value is None or value >= 0 for name, value in run.items() if name == "ms" or name.endswith("_ms")
            )
        assert all(s["end"] >= s["start"] for s in turn.agent_speeches)
        if turn.user_started is not None and turn.user_stopped is not None:
            assert turn.user_stopped >= turn.user_started
    assert all(math.isfinite(number) for number in numbers(reading_dict(r)))


def check(made: list[Event]) -> None:
    r = read(made)
    check_tiling(r)
    check_places(r)
    check_ledger(r)
    check_durations(r)


@settings(max_examples=examples(80))
@given(streams(max_size=60))
def test_laws_of_generated_calls(made: list[Event]) -> None:
    check(made)


@settings(max_examples=examples(80))
@given(sessions())
def test_laws_of_several_origins(made: list[Event]) -> None:
    check(canonical(made))


@recorded
def test_laws_of_real_calls(made: list[Event]) -> None:
    check(made)


@given(sessions(), st.randoms(use_true_random=False))
def test_arrival_order_does_not_matter(made: list[Event], chance: Any) -> None:
    again = [*made, *made[:3]]
    chance.shuffle(again)
    assert as_json(canonical(made)) == as_json(canonical(again))


@given(streams(max_size=60), st.data())
def test_a_fold_that_is_stopped_goes_on(made: list[Event], data: st.DataObject) -> None:
    """Law 3, also with a reading in between, which must not change the state."""
    cut = data.draw(st.integers(0, len(made)))
    t = timeline(made[:cut])
    before = orjson.dumps(reading_dict(Reading(t)))
    assert before == orjson.dumps(reading_dict(read(made[:cut])))
    extend(t, made[cut:])
    assert orjson.dumps(reading_dict(Reading(t))) == orjson.dumps(reading_dict(read(made)))


# metamorphic ----------------------------------------------------------------------------------------------------------

MARKS = ("start_turn", "complete_turn")


def responses(made: list[Event]) -> list[tuple[Any, ...]]:
    """Question text and response of the turns with a question."""
    return [
        (t.user_speech, t.user_started, t.user_stopped, t.agent_started, t.e2e_latency)
        for t in read(made).turns
        if t.user_stopped is not None
    ]


def sorted_by_time(made: list[Event]) -> list[Event]:
    return renumbered(sorted(made, key=lambda event: event.perf_ns))


@recorded
@pytest.mark.parametrize("how", ["left out", "doubled", "delayed"])
def test_the_frameworks_own_marks_change_no_response(made: list[Event], how: str) -> None:
    if how == "left out":
        changed = [made[0], *(event for event in made[1:] if event.hook not in MARKS)]
    elif how == "doubled":
        changed = [twice for event in made for twice in ([event, event] if event.hook in MARKS else [event])]
    else:
        late = 150_000_000
        changed = [
            msgspec.structs.replace(e, perf_ns=e.perf_ns + late, wall_ns=e.wall_ns + late) if e.hook in MARKS else e
            for e in made
        ]
        changed.sort(key=lambda event: event.perf_ns)
    assert responses(renumbered(changed)) == responses(made)


@recorded
def test_a_call_moved_in_time_is_the_same_call(made: list[Event]) -> None:
    by = 86_400_000_000_000
    moved = [msgspec.structs.replace(e, wall_ns=e.wall_ns + by) for e in made]
    assert responses(moved) == responses(made)


@recorded
@pytest.mark.parametrize("part", [0.2, 0.35, 0.5, 0.65, 0.8])
def test_two_origins_that_split_a_call_give_what_one_gives(made: list[Event], part: float) -> None:
    """A process that continues the call has a monotonic clock of its own."""
    shift, drift = 77_000_000_000, made[0].wall_ns - made[0].perf_ns
    exact = [msgspec.structs.replace(e, wall_ns=e.perf_ns + drift) for e in made]
    cut = int(len(made) * part)
    while cut < len(made) and exact[cut].perf_ns == exact[cut - 1].perf_ns:
        cut += 1
    second = [
        msgspec.structs.replace(e, origin="second", seq=n, perf_ns=e.perf_ns + shift) for n, e in enumerate(exact[cut:])
    ]
    if any("_time" in event.payload for event in second):
        return  # a tool's times are on its own process's clock
    assert responses(canonical(exact[:cut] + second)) == responses(exact)


def test_a_timeline_is_data() -> None:
    assert isinstance(timeline(next(iter(RECORDED.values()))), Timeline)
