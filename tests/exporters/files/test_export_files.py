"""Sessions as files: payloads, CSV, Perfetto."""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from eventstore.event import Event
from exporters.files.payloads import lines
from exporters.files.perfetto import trace
from exporters.files.turns_csv import COLUMNS, TURNLOG_COLUMNS, header, rows, rows_of
from projections import replay
from projections.caller import read
from projections.measures import measures
from projections.reference.metrics import FunctionTool, Realtime, Stt, TimelineEvent, Turn
from projections.reference.replay import Call, latency_of
from projections.reference.state import Discarded, Interrupted
from support.program import FIXTURES, Program
from turnlog import open_store
from turnlog.recordings import events_of, read_recordings

RECORDINGS = FIXTURES / "recordings.jsonl.gz"
Trace = list[dict[str, Any]]


@cache
def recorded() -> dict[str, list[Event]]:
    return {recording.name: events_of(place, recording) for place, recording in read_recordings(RECORDINGS)}


@cache
def call(name: str) -> Call:
    return replay(recorded()[name])


def traced(found: Call, zero_ns: int = 0) -> Trace:
    whole = orjson.loads(b"".join(trace([(found, zero_ns)])))
    assert whole["displayTimeUnit"] == "ms"
    events: Trace = whole["traceEvents"]
    return events


def each_session(test: Callable[[str], None]) -> Callable[[], None]:
    """The test over all recordings; one test, as one for each would take longer than the tests themselves."""

    def over_all() -> None:
        for name in recorded():
            try:
                test(name)
            except AssertionError as error:
                error.add_note(f"in {name}")
                raise

    over_all.__name__ = test.__name__
    return over_all


@pytest.fixture(scope="module", autouse=True)
def _forget_the_recordings() -> Iterator[None]:
    yield
    recorded.cache_clear()
    call.cache_clear()


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Program:
    program = Program(tmp_path_factory.mktemp("export"))
    program.run("import", RECORDINGS)
    return program


# payloads and CSV ---------------------------------------------------------------------------------------------------


@each_session
def test_payload_lines_are_the_payloads(name: str) -> None:
    written = list(lines(call(name).payloads))
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in written)
    assert [orjson.loads(line) for line in written] == call(name).payloads


@each_session
def test_csv_read_again_is_the_turns(name: str) -> None:
    text = b"".join([header("videosdk-1.0"), *rows(name, call(name).turns)]).decode()
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(found) == len(call(name).turns)
    for number, (row, turn) in enumerate(zip(found, call(name).turns, strict=True), 1):
        latency = latency_of(turn, number)
        assert tuple(row) == COLUMNS
        assert (row["session_id"], row["turn"], row["turn_id"]) == (name, str(number), turn.turn_id)
        assert (row["user_speech"], row["agent_speech"]) == (turn.user_speech or "", turn.agent_speech or "")
        numbers = {
            "e2e_ms": latency.e2e,
            "stt_ms": latency.stt,
            "eou_ms": latency.eou,
            "llm_ttft_ms": latency.ttft,
            "tts_ms": latency.tts,
            "tts_first_byte_ms": latency.ttfb,
            "realtime_ms": latency.realtime,
            "user_speech_ms": turn.user_speech_duration,
            "agent_speech_ms": turn.agent_speech_duration,
        }
        assert {column: float(row[column]) if row[column] else None for column in numbers} == numbers
        assert row["interrupted"] == ("true" if turn.is_interrupted else "false")
        assert [int(row[c]) for c in ("tools", "errors", "fallbacks")] == [
            len(turn.function_tools_called),
            len(turn.errors),
            len(turn.fallback_events),
        ]
        assert abs(datetime.fromisoformat(row["opened_at"]).timestamp() - turn.timestamp) < 1e-6


@each_session
def test_csv_of_the_callers_reading_has_the_latencies_that_statistics_count(name: str) -> None:
    """Break: in exporters/files/turns_csv.py, ``_read_cells``, leave out a latency."""
    text = b"".join([header(), *rows_of(read(recorded()[name]))]).decode()
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    for row, turn in zip(found, measures(recorded()[name]), strict=True):
        for column in ("response", "time_to_answer", "stt", "eou", "llm_ttft", "tts_first_byte"):
            value = getattr(turn, f"{column}_ms")
            assert row[f"{column}_ms"] == ("" if value is None else str(value)), column


def test_csv_keeps_text_as_it_is() -> None:
    texts = ['He said "no", twice', "two\nlines\r\nand a half", "=1+1", "ünï ✓", "", " padded "]
    turns = [Turn(user_speech=text, agent_speech=None) for text in texts]
    found = csv.DictReader(io.StringIO(b"".join([header("videosdk-1.0"), *rows("a,b", turns)]).decode(), newline=""))
    assert [(row["session_id"], row["user_speech"], row["agent_speech"]) for row in found] == [
        ("a,b", text, "") for text in texts
    ]


# Perfetto: structure ------------------------------------------------------------------------------------------------


def tracks(events: Trace) -> dict[int, str]:
    return {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}


def slices(events: Trace) -> Trace:
    return [event for event in events if event["ph"] == "X"]


def span(event: dict[str, Any]) -> tuple[int, int]:
    """Start and end in whole nanoseconds."""
    start = round(event["ts"] * 1000)
    return start, start + round(event["dur"] * 1000)


def times(turn: Turn, found: Interrupted | None) -> list[float]:
    """Every time in the turn, whatever it belongs to."""

    def within(value: Any, name: str = "") -> Iterator[float]:
        if isinstance(value, dict):
            for key, part in value.items():
                yield from within(part, key)
        elif isinstance(value, list):
            for part in value:
                yield from within(part, name)
        elif name.endswith("_time") and isinstance(value, float):
            yield value

    errors = [error["timestamp"] for error in turn.errors]
    return [*within(msgspec.to_builtins(turn)), *errors, *([found.time] if found is not None else [])]


def lengths(found: Call) -> list[int]:
    """How long the completed turns lasted, in nanoseconds."""
    interrupted = {one.turn: one for one in found.interruptions}
    all_times = [times(turn, interrupted.get(number)) for number, turn in enumerate(found.turns, 1)]
    return [round(max(some) * 1e9) - round(min(some) * 1e9) for some in all_times]


@each_session
def test_turns_are_drawn_as_long_as_they_lasted(name: str) -> None:
    events = traced(call(name), recorded()[name][0].perf_ns)
    turns = [event for event in slices(events) if event["cat"] == "turn"]
    turns.sort(key=lambda event: int(event["name"].removeprefix("turn ")))
    assert [round(event["dur"] * 1000) for event in turns] == lengths(call(name))
    assert [event["args"].get("e2e_ms") for event in turns] == [turn.e2e_latency for turn in call(name).turns]
    assert [event["args"].get("user_speech") for event in turns] == [turn.user_speech for turn in call(name).turns]
    assert {tracks(events)[event["tid"]] for event in turns} <= {"turns"}
    discarded = [event for event in events if event.get("cat") == "discarded turn"]
    assert len(discarded) == len(call(name).discarded)


@each_session
def test_events_are_well_formed(name: str) -> None:
    first, last = recorded()[name][0].perf_ns, recorded()[name][-1].perf_ns
    events = traced(call(name), first)
    named = tracks(events)
    for event in events:
        assert event["ph"] in "MXisf"
        if event["ph"] != "M":
            assert 0 <= event["ts"] <= (last - first) / 1000
            assert event["tid"] in named
        if event["ph"] == "X":
            assert event["dur"] >= 0
    stamps = [event["ts"] for event in events if event["ph"] != "M"]
    assert stamps == sorted(stamps)


@each_session
def test_slices_of_a_track_do_not_overlap(name: str) -> None:
    by_track: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for event in slices(traced(call(name), recorded()[name][0].perf_ns)):
        by_track[event["tid"]].append(span(event))
    for found in by_track.values():
        assert all(one[1] <= other[0] for one, other in pairwise(found))


@each_session
def test_interruptions_errors_and_fallbacks_are_instants(name: str) -> None:
    found, zero = call(name), recorded()[name][0].perf_ns
    instants = [event for event in traced(found, zero) if event["ph"] == "i"]
    interruptions = [event for event in instants if event["name"] == "interrupted"]
    assert [round(event["ts"] * 1000) + zero for event in interruptions] == [
        round(one.time * 1e9) for one in found.interruptions
    ]
    assert [event["args"]["turn"] for event in interruptions] == [one.turn for one in found.interruptions]
    turns = [*found.turns, *(one.turn for one in found.discarded)]
    trouble = [event["name"] for event in instants if event["cat"] == "errors"]
    assert sum(name.endswith("error") for name in trouble) == sum(len(turn.errors) for turn in turns)
    assert len(trouble) == sum(len(turn.errors) + len(turn.fallback_events) for turn in turns)


@each_session
def test_arrows_lead_from_an_interrupted_turn_to_the_one_that_took_its_speech(name: str) -> None:
    found, events = call(name), traced(call(name), recorded()[name][0].perf_ns)
    ends: dict[int, Trace] = defaultdict(list)
    for event in events:
        if event["ph"] in "sf":
            ends[event["id"]].append(event)
    led = []
    for tail, head in ends.values():
        assert (tail["ph"], head["ph"], head["bp"]) == ("s", "f", "e")
        assert tail["ts"] <= head["ts"]
        led.append((open_at(events, tail), open_at(events, head)))
    carrying = [one.turn for one in found.interruptions if one.carried_over]
    assert [int(tail["name"].removeprefix("turn ")) for tail, _head in led] == carrying
    for (_tail, head), number in zip(led, carrying, strict=True):
        assert head["name"] in (f"turn {number + 1}", "discarded turn")
        if head["name"] == "discarded turn":  # then it came first
            assert head["ts"] < next(e["ts"] for e in events if e["name"] == f"turn {number + 1}")


def open_at(events: Trace, moment: dict[str, Any]) -> dict[str, Any]:
    """The slice that a viewer ties an arrow's end to."""
    time = round(moment["ts"] * 1000)
    (found,) = (
        event for event in slices(events) if event["tid"] == moment["tid"] and span(event)[0] <= time < span(event)[1]
    )
    return found


@each_session
def test_component_slices_are_where_the_turns_say(name: str) -> None:
    found, zero = call(name), recorded()[name][0].perf_ns
    drawn: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for event in slices(traced(found, zero)):
        start, end = span(event)
        drawn[event["cat"]].append(((start + zero) / 1e9, (end + zero) / 1e9))
    turns = [*found.turns, *(one.turn for one in found.discarded)]
    expected = {
        "user": [(e.start_time, e.end_time) for t in turns for e in t.timeline_event_metrics if "user" in e.event_type],
        "agent": [
            (e.start_time, e.end_time) for t in turns for e in t.timeline_event_metrics if "agent" in e.event_type
        ],
        "VAD": [(e.user_speech_start_time, e.user_speech_end_time) for t in turns for e in t.vad_metrics],
        "STT": [(e.stt_start_time, e.stt_end_time) for t in turns for e in t.stt_metrics],
        "EOU": [(e.eou_start_time, e.eou_end_time) for t in turns for e in t.eou_metrics],
        "knowledge base": [(e.kb_start_time, e.kb_end_time) for t in turns for e in t.kb_metrics],
        "LLM": [(e.llm_start_time, e.llm_end_time) for t in turns for e in t.llm_metrics],
        "TTS": [(e.tts_start_time, e.tts_first_byte_time) for t in turns for e in t.tts_metrics],
    }
    for track, pairs in expected.items():
        ended = [(start, end) for start, end in pairs if start is not None and end is not None and end >= start]
        assert sorted(drawn[track]) == sorted(ended), track


def test_all_component_tracks_occur() -> None:
    """But for realtime, of which no recording has the metrics."""
    seen = {track for name in recorded() for track in tracks(traced(call(name))).values()}
    assert seen == {
        "turns", "interruptions", "user", "VAD", "STT", "EOU", "knowledge base", "LLM", "tools", "TTS", "agent",
        "audio", "errors",
    }  # fmt: skip


# Perfetto: edges ----------------------------------------------------------------------------------------------------


def made(turns: list[Turn], **changes: Any) -> Call:
    return call("barge_in_vad")._replace(
        turns=turns, payloads_at=list(range(10, 10 + 10 * len(turns), 10)), interruptions=[], discarded=[]
    )._replace(**changes)  # fmt: skip


def test_no_end_is_invented() -> None:
    turn = Turn(
        stt_metrics=[Stt(stt_start_time=1.0), Stt(stt_start_time=3.0, stt_end_time=2.0), Stt(stt_end_time=5.0)],
        function_tool_metrics=[FunctionTool("a", start_time="noon"), FunctionTool("b", start_time=math.nan)],
        timeline_event_metrics=[TimelineEvent("user_speech", 2.0), TimelineEvent("agent_speech", None)],
    )
    events = traced(made([turn]))
    assert [(e["name"], span(e)) for e in slices(events)] == [("turn 1", (1_000_000_000, 5_000_000_000))]
    instants = [(e["name"], e["ts"]) for e in events if e["ph"] == "i"]
    assert instants == [("STT", 1e6), ("user speaks", 2e6), ("STT", 3e6)]


def test_realtime_is_from_the_end_of_the_question_to_the_answer() -> None:
    turn = Turn(user_speech_end_time=1.0, agent_speech_start_time=1.5, realtime_metrics=[Realtime(realtime_ttfb=500.0)])
    (found,) = (e for e in slices(traced(made([turn]))) if e["cat"] == "realtime")
    assert (span(found), found["args"]) == ((1_000_000_000, 1_500_000_000), {"turn": 1, "realtime_ttfb": 500.0})
    turn.realtime_metrics = [Realtime(realtime_input_tokens=7)]  # without a latency, there is nothing to measure
    (found,) = (e for e in traced(made([turn])) if e.get("cat") == "realtime")
    assert (found["ph"], found["ts"]) == ("i", 1e6)


def test_a_turn_without_times_and_a_call_without_turns() -> None:
    assert [e["name"] for e in traced(made([Turn()]))] == ["process_name"]
    assert [e["name"] for e in traced(made([]))] == ["process_name"]
    assert orjson.loads(b"".join(trace([])))["traceEvents"] == []


def test_an_open_turn_is_an_instant() -> None:
    begun = Turn(timeline_event_metrics=[TimelineEvent("user_speech", 1.0, 2.0)])
    carrying = [Interrupted(1, 1.5, ["vad"], 10)]
    events = traced(made([begun], current_turn=begun, interruptions=carrying))
    assert [(e["ph"], e["ts"]) for e in events if e.get("cat") == "open turn"] == [("i", 1e6)]
    assert not [e for e in events if e["ph"] in "sf"]


def test_an_arrow_goes_to_the_discarded_turn_that_took_the_speech() -> None:
    first, lost, last = (Turn(timeline_event_metrics=[TimelineEvent("user_speech", n, n + 2.0)]) for n in (0.0, 1, 5))
    carrying, discarded = [Interrupted(1, 2.0, ["vad"], 10)], [Discarded(lost, "noise", 15)]
    events = traced(made([first, last], interruptions=carrying, discarded=discarded))
    tail, head = (open_at(events, event) for event in events if event["ph"] in "sf")
    assert (tail["name"], head["name"]) == ("turn 1", "discarded turn")


def test_what_overlaps_gets_a_second_track_of_the_name() -> None:
    turn = Turn(stt_metrics=[Stt(stt_start_time=s, stt_end_time=e) for s, e in ((1.0, 4.0), (2.0, 3.0), (4.0, 5.0))])
    events = traced(made([turn]))
    stt = [(event["tid"], span(event)[0]) for event in slices(events) if event["cat"] == "STT"]
    one, other = (tid for tid, track in tracks(events).items() if track == "STT")
    assert stt == [(one, 1_000_000_000), (other, 2_000_000_000), (one, 4_000_000_000)]


# Perfetto itself ----------------------------------------------------------------------------------------------------


def test_trace_processor_finds_the_same_turns(tmp_path: Path) -> None:
    """Perfetto's own reader, which is a binary of its own: no package of the Python registry has it."""
    shell = os.environ.get("TURNLOG_TRACE_PROCESSOR") or shutil.which("trace_processor_shell")
    if shell is None:
        pytest.skip("no trace_processor_shell on the path, and none in TURNLOG_TRACE_PROCESSOR")
    everything = [(call(name), recorded()[name][0].perf_ns) for name in recorded()]
    (tmp_path / "trace.json").write_bytes(b"".join(trace(everything)))

    def query(sql: str) -> list[dict[str, str]]:
        (tmp_path / "query.sql").write_text(sql)
        command = [shell, "-q", str(tmp_path / "query.sql"), str(tmp_path / "trace.json")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return list(csv.DictReader(io.StringIO(done.stdout.strip())))

    turns = query(
        "SELECT process.pid AS pid, CAST(SUBSTR(slice.name, 6) AS INT) AS turn, slice.dur AS dur FROM slice "
        "JOIN thread_track ON slice.track_id = thread_track.id JOIN thread USING (utid) JOIN process USING (upid) "
        "WHERE slice.category = 'turn' ORDER BY process.pid, turn"
    )
    assert [int(row["dur"]) for row in turns] == [length for found, _zero in everything for length in lengths(found)]
    (arrows,) = query("SELECT COUNT(*) AS count FROM flow")
    carrying = sum(bool(one.carried_over) for found, _zero in everything for one in found.interruptions)
    assert int(arrows["count"]) == carrying
    troubles = query("SELECT name, value FROM stats WHERE severity IN ('error', 'data_loss') AND value > 0")
    assert troubles == []


# Perfetto: the caller's reading ---------------------------------------------------------------------------------------


@each_session
def test_the_spans_are_what_is_drawn(name: str) -> None:
    """Break: in exporters/files/reading_shapes.py, leave a kind out."""
    r = read(recorded()[name])
    events = orjson.loads(b"".join(trace([(r, 0)])))["traceEvents"]
    zero = r.timeline.began + r.timeline.wall_shift
    drawn = sorted((e["cat"], round(e["ts"] * 1000), round(e.get("dur", 0) * 1000)) for e in events if e["ph"] in "Xi")
    spans = sorted((s.kind, s.start_ns - zero, s.end_ns - s.start_ns) for s in r.spans)
    assert [d for d in drawn if d[0] != "log"] == spans
    by_track: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for event in slices(events):
        by_track[event["tid"]].append(span(event))
    for found in by_track.values():
        assert all(one[1] <= other[0] for one, other in pairwise(found))
    stamps = [event["ts"] for event in events if event["ph"] != "M"]
    assert stamps == sorted(stamps)
    for event in events:
        if event["ph"] in "sf":
            open_at(events, event)


# the command --------------------------------------------------------------------------------------------------------


def test_export_all(imported: Program) -> None:
    store = open_store(imported.db)
    names = [session.session_id for session in store.sessions()][::-1]
    calls = {name: read(store.read(name)) for name in names}
    store.close()
    assert len(names) == len(recorded()) == 53
    payloads = imported.run("export", "payloads", "--all").stdout.splitlines()
    assert [orjson.loads(line) for line in payloads] == [one for name in names for one in calls[name].payloads]
    table = csv.DictReader(io.StringIO(imported.run("export", "csv", "--all").stdout))
    turns = [(name, turn) for name in names for turn in calls[name].turns]
    for row, (name, turn) in zip(table, turns, strict=True):
        assert tuple(row) == TURNLOG_COLUMNS
        assert (row["session_id"], row["turn"], row["framework_e2e_ms"]) == (name, str(turn.turn), "")
        assert row["response_ms"] == ("" if turn.e2e_latency is None else str(turn.e2e_latency))
        assert row["no_response"] == (turn.no_response or "")
    events = orjson.loads(imported.run("export", "perfetto", "--all").stdout)["traceEvents"]
    named = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert named == dict(enumerate(names, 1))
    assert sum(e.get("cat") == "turn" for e in events) == len(turns)
    flows = [e["id"] for e in events if e["ph"] == "s"]
    assert len(flows) == len(set(flows))


@pytest.mark.parametrize("kind", ["payloads", "csv", "perfetto"])
def test_export_to_a_file_gives_the_same_bytes_each_time(imported: Program, kind: str) -> None:
    chosen = ["barge_in_vad", "soak_seed1", "barge_in_vad"]  # named twice, written once
    imported.run("export", kind, *chosen, "--out", "one")
    assert imported.run("export", kind, *chosen, "--out", "two", PYTHONHASHSEED="7").stdout == ""
    written = (imported.folder / "one").read_bytes()
    assert written == (imported.folder / "two").read_bytes()
    assert written.decode() == imported.run("export", kind, "barge_in_vad", "soak_seed1").stdout.replace(
        "\n", "\r\n" if kind == "csv" else "\n"
    )
    assert not list(imported.folder.glob("*.part"))


def test_a_perfetto_file_starts_with_the_session_s_first_event(imported: Program) -> None:
    output = imported.run("export", "perfetto", "barge_in_vad", "--rules", "framework").stdout
    events = orjson.loads(output)["traceEvents"]
    assert events == traced(call("barge_in_vad"), recorded()["barge_in_vad"][0].perf_ns)


@pytest.mark.parametrize("kind", ["payloads", "csv", "perfetto"])
def test_what_cannot_be_exported_is_said_in_a_line_and_nothing_written(imported: Program, kind: str) -> None:
    kept = imported.folder / "kept"
    kept.write_text("as it was")
    assert "did you mean 'barge_in_vad'" in imported.fails("export", kind, "soak_seed1", "barge_in_vda", "--out", kept)
    assert "or pass --all" in imported.fails("export", kind, "--out", kept)
    assert "or pass --all" in imported.fails("export", kind, "barge_in_vad", "--all", "--out", kept)
    assert "known: turnlog" in imported.fails("export", kind, "barge_in_vad", "--rules", "x", "--out", kept)
    assert kept.read_text() == "as it was"
    assert "cannot write nowhere/x" in imported.fails("export", kind, "--all", "--out", "nowhere/x")
    assert "cannot write kept/x" in imported.fails("export", kind, "--all", "--out", "kept/x")
    (imported.folder / "folder").mkdir(exist_ok=True)
    assert "cannot write folder" in imported.fails("export", kind, "--all", "--out", "folder")
    assert not list(imported.folder.glob("*.part"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_device_is_a_line_and_a_device_is_never_replaced(imported: Program) -> None:
    device = imported.folder / "device"
    device.symlink_to("/dev/full")  # not by its own name: a failing test run as root must not replace it
    assert "No space left" in imported.fails("export", "csv", "--all", "--out", device)
    assert device.is_char_device()


def test_help(program: Program) -> None:
    assert "export" in program.run("--help").stdout
    for kind in ("payloads", "csv", "perfetto"):
        assert kind in program.run("export", "--help").stdout
        assert "Usage" in program.run("export", kind, "-h").stdout
