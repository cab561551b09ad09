"""Log lines are events: they are replayed with the call, belong to turns, and change nothing else."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import orjson
from hypothesis import given
from hypothesis import strategies as st

from eventstore import Clock, Event
from eventstore.hooks.content import HIDDEN, without_content
from eventstore.stores.memory import MemoryStore
from projections import begin, call_dict, fold, replay
from projections.reference.state import State
from support.log_lines import TURN, hook, line
from support.program import Program
from support.strategies import streams
from turnlog import Recorder, open_store
from turnlog.conformance import no_timers


def test_a_line_belongs_to_the_turn_that_was_open() -> None:
    """Break: in handlers/logs.py, count by ``total_turns``; or in handlers/turn.py, do not call `clear_turn_number`."""
    names = [
        "log_record", *TURN, "log_record", "start_turn", "log_record", "complete_turn",  # nothing measured: discarded
        "start_turn", "on_llm_start", "log_record", "on_llm_first_token", "complete_turn", "start_turn", "log_record",
    ]  # fmt: skip
    call = replay([line(n, f"line {n}") if name == "log_record" else hook(n, name) for n, name in enumerate(names)])
    assert len(call.turns) == 2
    (discarded,) = call.discarded
    assert call.current_turn is not None
    assert [(found.message, found.turn, found.turn_id) for found in call.logs] == [
        ("line 0", None, None),
        ("line 5", None, None),
        ("line 7", None, discarded.turn.turn_id),
        ("line 11", 2, call.turns[1].turn_id),
        ("line 15", 3, call.current_turn.turn_id),
    ]
    assert [found.at for found in call.logs] == [0, 5, 7, 11, 15]
    assert call.logs[3].time == 11.0


def test_its_time_is_the_logger_s_or_else_the_recorder_s() -> None:
    given_time = line(1, created=1_700_000_000.25)
    odd = [line(n, created=created) for n, created in enumerate([None, "soon", True, -1, 1e300], 2)]
    assert [found.created for found in replay([given_time, *odd]).logs] == [
        1_700_000_000.25, *((10**18 + n * 10**9) / 1e9 for n in (2, 3, 4, 5, 6)),
    ]  # fmt: skip


@given(streams(), st.data())
def test_lines_change_nothing_else(events: list[Event], data: st.DataObject) -> None:
    """Wherever lines are put into a call, its turns, payloads, spans and signals stay, to the byte.

    Break: in handlers/logs.py, open a turn for the line.
    """
    plain = [event for event in events if event.hook != "log_record"]
    kept = plain[:1]
    for event in plain[1:]:
        lines = data.draw(st.integers(0, 2))
        template = kept[-1]
        kept += [msgspec.structs.replace(template, hook="log_record", payload=line(0).payload)] * lines
        kept.append(event)
    kept = [msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(kept)]
    assert outcome(kept) == outcome(plain)
    assert len(replay(kept).logs) == len(kept) - len(plain)


def outcome(events: list[Event]) -> Any:
    """What came out of the call, without the indices of events in it."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: bare(item) for name, item in value.items() if name != "at"}
        return list(map(bare, value)) if isinstance(value, list) else value

    found = call_dict(replay(events))
    for name in ("events", "logs", "payloads_at"):
        del found[name]
    return bare(orjson.loads(orjson.dumps(found, option=orjson.OPT_NON_STR_KEYS)))


@given(streams(), st.data())
def test_a_fold_that_is_stopped_goes_on_with_the_lines(events: list[Event], data: st.DataObject) -> None:
    marked = [
        msgspec.structs.replace(e, hook="log_record", version=1, payload=line(0, str(n)).payload) if n % 3 == 0 else e
        for n, e in enumerate(events)
    ]
    cut = data.draw(st.integers(0, len(events)))
    head = msgspec.json.decode(msgspec.json.encode(fold(begin(), marked[:cut])), type=State)
    assert fold(head, marked[cut:]).logs == replay(marked).logs


def test_the_recorder_keeps_any_object_as_text() -> None:
    clock = itertools.count(10**9, 10**6)
    store = MemoryStore()
    with Recorder(store, "s", clock=Clock(clock.__next__, clock.__next__), scheduler=no_timers) as recorder:
        recorder.log_record("ERROR", "agent", ValueError("no such order"), 1.5, {"order": 7})  # type: ignore[arg-type]
        recorder.log_record("INFO", "agent", "plain")
    first, second = replay(store.read("s")).logs
    assert (first.level, first.logger, first.message) == ("ERROR", "agent", "no such order")
    assert (first.created, first.attributes) == (1.5, {"order": 7})
    assert (second.message, second.attributes) == ("plain", {})


def test_what_it_says_is_content() -> None:
    """Break: in eventstore/hooks/content.py, give ``log_record`` a readable ``message``."""
    hidden = without_content("log_record", line(0, "card 4111", attributes={"card": 4111, "a": "4111"}).payload)
    assert hidden is not None
    assert b"4111" not in hidden
    assert orjson.loads(hidden) == {"level": "INFO", "logger": HIDDEN, "message": HIDDEN, "attributes": {}}


def test_the_command_shows_them_in_their_turn(program: Program) -> None:
    """Break: in cli/drawing.py, show all of a turn's lines."""
    store = open_store(program.db)
    store.append([hook(0, "start_turn"), hook(1, "on_llm_start")])
    store.append([line(n, f"step [{n}]\nof many " + "x" * 300, level="WARNING") for n in range(2, 9)])
    store.append([hook(9, "on_llm_first_token"), hook(10, "complete_turn"), line(11, "afterwards")])
    store.close()
    shown = program.run("replay", "s", "--rules", "videosdk-1.0").stdout
    assert "+1,000 ms WARNING  agent: step [2] of many" in shown
    assert "step [7]" not in shown
    assert "… 2 more log lines: --logs" in shown
    assert "event 11 INFO     agent: afterwards" in shown
    assert shown.index("turn 1") < shown.index("step [2]") < shown.index("afterwards")
    everything = program.run("replay", "s", "--turn", 1, "--logs", "--rules", "videosdk-1.0").stdout
    assert "step [8]" in everything
    assert "more log lines" not in everything
    assert "afterwards" not in everything
    found = orjson.loads(program.run("replay", "s", "--json", "--rules", "videosdk-1.0").stdout)["logs"]
    assert [entry["turn"] for entry in found] == [1] * 7 + [None]
