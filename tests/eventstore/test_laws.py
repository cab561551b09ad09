"""The laws, as properties. Each says which line to break to see it red; `mutants.py` does so."""

from __future__ import annotations

import contextlib
import copy
import inspect
import itertools
import json
import random
import sqlite3
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import HOOKS, Clock, Event, Recorder, canonical, codec, open_store
from eventstore.admission import admit
from eventstore.stores import schema
from eventstore.stores.memory import MemoryStore
from eventstore.stores.sqlite.store import SqliteStore
from projections import begin, call_dict, fold, replay
from projections.reference.state import State
from support.examples import examples
from support.strategies import HOSTILE, NAMES, calls, sessions, streams
from turnlog import Recorder as LiveRecorder
from turnlog.conformance import no_timers

STORE = MemoryStore()


def as_bytes(events: list[Event]) -> bytes:
    return orjson.dumps(call_dict(replay(events)), option=orjson.OPT_NON_STR_KEYS)


def state_bytes(state: State) -> bytes:
    return msgspec.json.encode(state)


@settings(max_examples=examples(40))
@given(streams(max_size=8), st.data())
def test_law_1_no_statement_changes_an_event(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event], data: st.DataObject
) -> None:
    """Whatever is tried on the table, appended events stay, unchanged.

    Break: in migrations/versions/0002_origins.py, drop a trigger.
    """
    store = open_store(tmp_path_factory.mktemp("law1") / "calls.db")
    assert isinstance(store, SqliteStore)
    store.append(events)
    column = data.draw(st.sampled_from(["position", "origin_id", *schema.FIELDS, "link"]))
    value = data.draw(st.integers(-3, 3) | st.sampled_from(["'x'", "NULL", f"{column} || 'x'"]))
    some = data.draw(st.sampled_from(["1", "seq % 2 = 0", "seq = 0", "position > 3"]))
    statement = data.draw(
        st.sampled_from(
            [
                f"UPDATE events SET {column} = {value} WHERE {some}",
                f"UPDATE OR REPLACE events SET {column} = {value} WHERE {some}",
                f"UPDATE OR IGNORE events SET {column} = {value} WHERE {some}",
                f"DELETE FROM events WHERE {some}",
                f"REPLACE INTO events SELECT * FROM events WHERE {some}",
                "INSERT OR REPLACE INTO events SELECT position, origin_id, seq, 'other', 1, 1, 1, '{}', link "
                f"FROM events WHERE {some}",
                "INSERT INTO events SELECT position + 1000, origin_id, seq, 'other', 1, 1, 1, '{}', link "
                f"FROM events WHERE {some} ON CONFLICT DO UPDATE SET hook = 'other'",
            ]
        )
    )
    with store._driver() as driver, contextlib.suppress(sqlite3.Error):
        driver.execute(statement)
    assert list(store.read("s")) == events
    store.close()


@given(sessions())
def test_law_2_a_projection_is_pure(events: list[Event]) -> None:
    """Same events, same bytes, whatever was replayed in between; and no event is changed.

    Break: in projections/model.py, ``class Turn``, give ``errors`` a shared list (``errors: list = _SHARED``).
    """
    ordered = canonical(events)
    before = msgspec.json.encode(ordered)
    once = as_bytes(ordered)
    random.seed(len(events))
    assert as_bytes(ordered) == once
    assert msgspec.json.encode(ordered) == before


@given(streams(), st.data())
def test_law_3_live_is_replay(events: list[Event], data: st.DataObject) -> None:
    """A fold stopped anywhere, written as JSON, read back and continued, gives what one pass gives.

    Break: in projections/reference/fold.py, ``fold``, begin with ``s.user_speaking = False``.
    """
    whole = fold(begin(), events)
    state = begin()
    for event in events:
        fold(state, [event])
    assert state_bytes(state) == state_bytes(whole)

    cut = data.draw(st.integers(0, len(events)))
    head = fold(begin(), events[:cut])
    read_back = msgspec.json.decode(state_bytes(head), type=State)
    assert state_bytes(fold(read_back, events[cut:])) == state_bytes(whole)
    assert state_bytes(fold(copy.deepcopy(head), events[cut:])) == state_bytes(whole)


def test_law_3_where_a_turn_holds_a_list_twice() -> None:
    """A list in the place of a text is also in the timeline; in a state read back from JSON it is another one.

    Break: in projections/reference/payload.py, do not `_share`.
    """
    hooks = [
        ("start_turn", {}), ("on_agent_speech_start", {}), ("set_agent_response", {"response": [-1.0]}),
        ("on_llm_start", {}), ("on_llm_first_token", {}), ("complete_turn", {}),
    ]  # fmt: skip
    events = [
        Event("s", "o", n, hook, 1, n * 10**8, n * 10**8, json.dumps(args)) for n, (hook, args) in enumerate(hooks)
    ]
    whole = fold(begin(), events)
    assert whole.payloads[0]["agent_speech"] == [0]
    for cut in range(len(events)):
        read_back = msgspec.json.decode(state_bytes(fold(begin(), events[:cut])), type=State)
        assert state_bytes(fold(read_back, events[cut:])) == state_bytes(whole)


@settings(max_examples=examples(60))
@given(calls(), st.data())
def test_law_3_live_reads_are_a_replay_of_the_log_so_far(
    made: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    """Reading the recorder at any moment shows what a replay of the log up to then shows.

    Break: in turnlog/recorder.py, ``catch_up``, leave out the events waiting in the backlog.
    """
    clock = itertools.count(10**9, 10**6)
    with LiveRecorder(STORE, clock=Clock(clock.__next__, clock.__next__), scheduler=no_timers) as recorder:
        for hook, args in made:
            recorder._record(hook, args)
            if data.draw(st.integers(0, 4)) == 0:
                live = recorder.turns[:], recorder.current_turn, recorder.session
                seen = msgspec.json.encode(live)
                recorder.flush()
                log = replay(STORE.read(recorder.session_id))
                assert seen == msgspec.json.encode((log.turns, log.current_turn, log.session))
        recorder.flush()
        assert recorder.turns == replay(STORE.read(recorder.session_id)).turns


@given(sessions(), sessions("other"), st.randoms(use_true_random=False))
def test_law_4_arrival_order_does_not_matter(events: list[Event], others: list[Event], chance: random.Random) -> None:
    """Late, duplicated, split into batches and mixed with another session: it replays to the same bytes.

    Break: in eventstore/event.py, ``merge``, drop ``event.origin`` from the key; or in ``canonical``, ``sorted(s)``.
    """
    expected = as_bytes(canonical(events))
    arriving = events + others + chance.sample(events, len(events) // 2)
    chance.shuffle(arriving)
    store = MemoryStore()
    while arriving:
        size = chance.randint(1, len(arriving))
        store.append(arriving[:size])
        arriving = arriving[size:]
    assert as_bytes(list(store.read("s"))) == expected
    store.close()


@settings(max_examples=examples(20))
@given(sessions(), sessions("other"), st.randoms(use_true_random=False))
def test_law_4_in_sqlite(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event], others: list[Event], chance: random.Random
) -> None:
    """As above, through the database.

    Break: in eventstore/stores/sqlite/store.py, ``_READ``, ORDER BY position.
    """
    expected = as_bytes(canonical(events))
    arriving = events + others + chance.sample(events, len(events) // 2)
    chance.shuffle(arriving)
    store = open_store(tmp_path_factory.mktemp("law4") / "calls.db")
    for size in (7, 1, 30, len(arriving)):
        store.append(arriving[:size])
        arriving = arriving[size:]
    assert as_bytes(list(store.read("s"))) == expected
    store.close()


def test_several_origins_are_merged_by_time_not_by_a_stepped_wall_clock() -> None:
    """Break: in eventstore/event.py, ``_timed``, use ``event.wall_ns`` as the key."""

    def event(origin: str, seq: int, perf_ns: int, wall_ns: int) -> Event:
        return Event("s", origin, seq, "on_eou_start", 1, perf_ns, wall_ns, "{}")

    first = [event("a", 0, 100, 1_000), event("a", 1, 200, 9_999_999), event("a", 2, 300, 5)]
    second = [event("b", 0, 7_000, 1_150), event("b", 1, 7_100, 1_250)]
    assert [(e.origin, e.seq) for e in canonical(second + first)] == [
        ("a", 0), ("a", 1), ("b", 0), ("a", 2), ("b", 1),
    ]  # fmt: skip


@settings(max_examples=examples(300))
@given(st.sampled_from(NAMES), st.data())
def test_law_6_a_hook_call_never_raises_and_is_never_lost(hook: str, data: st.DataObject) -> None:
    """Whatever its arguments, a hook returns, and the log gets an event that can be read and replayed.

    Break: in eventstore/hooks/arguments.py, ``_to_json``, remove the ``except``; or in ``encode_args``, the first one.
    """
    with Recorder(STORE, durability=data.draw(st.sampled_from(["process", "memory"]))) as recorder:
        target: Any = recorder.traces if hook.startswith("traces.") else recorder
        method = getattr(target, hook.removeprefix("traces."))
        arguments = {name: data.draw(HOSTILE) for name in inspect.signature(method).parameters}
        returned = method(**arguments)
        if inspect.iscoroutine(returned):
            with pytest.raises(StopIteration):
                returned.send(None)
        recorder.flush()
        health = recorder.health
    found = list(STORE.read(recorder.session_id))
    assert (health.failed, health.dropped) == (0, 0)
    assert [event.hook for event in found][:1] == [hook]
    admit(found[0])  # it may be moved to a different log
    codec.decode(found[0])
    replay(found)


@given(st.lists(st.sampled_from(["float", "set", "bytes", "surrogate", "cycle", "object"]), min_size=1, max_size=8))
def test_law_6_what_was_changed_is_marked(kinds: list[str]) -> None:
    """Break: in eventstore/hooks/arguments.py, ``encode_args``, return ``data`` without looking for null."""
    from eventstore.hooks.arguments import ALTERED, encode_args

    loop: list[Any] = []
    loop.append(loop)
    values = {
        "float": float("nan"), "set": {1}, "bytes": b"\xff", "surrogate": "\ud800", "cycle": loop, "object": object(),
    }  # fmt: skip
    args = {f"a{n}": values[kind] for n, kind in enumerate(kinds)}
    found = orjson.loads(encode_args(args))
    assert len(found[ALTERED]) == len(kinds)


@given(st.dictionaries(st.sampled_from("abc"), st.text(max_size=5) | st.integers(-9, 9) | st.none()))
def test_law_6_what_json_carries_is_not_marked(args: dict[str, Any]) -> None:
    from eventstore.hooks.arguments import encode_args

    assert orjson.loads(encode_args(args)) == args


@given(st.integers(1, 4), st.text(max_size=8))
def test_law_7_old_events_are_carried_forward(versions: int, text: str) -> None:
    """An event of any older version is upcast to the current one, step by step.

    Break: in eventstore/codec.py, ``decode``, start the range one later.
    """
    from types import MappingProxyType
    from unittest import mock

    today = MappingProxyType({**HOOKS, "set_llm_input": HOOKS["set_llm_input"]._replace(version=versions)})
    steps = {
        ("set_llm_input", n): lambda args, n=n: {**args, "path": [*args.get("path", []), n]} for n in range(1, versions)
    }
    with mock.patch.object(codec, "HOOKS", today), mock.patch.object(codec, "UPCASTERS", steps):
        for version in range(1, versions + 1):
            event = Event("s", "o", 0, "set_llm_input", version, 1, 1, orjson.dumps({"text": text}).decode())
            args = codec.decode(event)
            assert args["text"] == text
            assert args.get("path", []) == list(range(version, versions))


def test_law_7_every_version_step_has_its_upcaster() -> None:
    needed = {(hook.name, version) for hook in HOOKS.values() for version in range(1, hook.version)}
    assert needed == codec.UPCASTERS.keys()
