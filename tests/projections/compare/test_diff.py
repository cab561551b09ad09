"""Field-by-field comparison of replays, recordings and stored digests of a call."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import Event, open_store
from projections.compare.digest import changes_since, digest
from projections.compare.recordings import align_turns, changes_between, first_divergences, on_common_clock
from projections.compare.turns import Change, changes, first_divergence
from projections.reference import rules as rule_sets
from projections.reference.metrics import Turn
from projections.reference.replay import turns
from projections.reference.timing import e2e
from support.known_calls import call, recording, turn
from support.program import FIXTURES, Program
from support.strategies import streams
from turnlog.compare import digest_files as digests
from turnlog.compare.differences import KEPT, LISTED, Compared, Differences, Spread, summary
from turnlog.recordings import events_of, read_recordings

OLD, NEW = "videosdk-1.0", "videosdk-1.0.30"

DEMO = events_of(*next(iter(read_recordings(FIXTURES / "demo.jsonl.gz"))))


def moved(hook: str, nth: int, by_ns: int) -> list[Event]:
    """The demo call, with one event at a different time."""
    found = [n for n, event in enumerate(DEMO) if event.hook == hook][nth]
    later = msgspec.structs.replace(DEMO[found], perf_ns=DEMO[found].perf_ns + by_ns)
    return [*DEMO[:found], later, *DEMO[found + 1 :]]


@given(streams(max_size=60))
def test_a_call_does_not_differ_from_itself(events: list[Event]) -> None:
    assert changes(turns(events), turns(events)) == []
    assert first_divergence(events, "videosdk-1.0", "videosdk-1.0") is None


def test_a_later_first_token_changes_what_follows_from_it_and_nothing_else() -> None:
    """Break: in projections/compare/turns.py, ``differences``, stop at the first that differs."""
    found = changes(turns(DEMO), turns(moved("on_llm_first_token", 1, 100_000_000)))
    assert {change.turn for change in found} == {change.other_turn for change in found} == {3}
    assert {change.field for change in found} == {
        "e2e_latency", "llm_metrics.llm_first_token_time", "llm_metrics.llm_ttft",
    }  # fmt: skip
    (ttft,) = [change for change in found if change.path == "llm_metrics[0].llm_ttft"]
    assert round(ttft.after - ttft.before) == 100


def test_a_turn_that_is_in_one_replay_only() -> None:
    """Break: in projections/compare/turns.py, ``changes``, match turns by their numbers."""
    opened = [event.hook for event in DEMO].index("complete_turn")
    without_first = DEMO[opened + 1 :]
    one, two = turns(DEMO), turns(without_first)
    gone, *rest = changes(one, two)
    assert (gone.turn, gone.other_turn, gone.path, gone.after) == (1, None, "", "(no such turn)")
    assert {(change.turn, change.other_turn) for change in rest} <= {(2, 1), (3, 2), (4, 3)}
    (new,) = [change for change in changes(two, one) if change.turn is None]
    assert (new.other_turn, new.before) == (1, "(no such turn)")
    assert isinstance(new, Change)


def test_what_is_in_one_object_only_is_a_change() -> None:
    """Break: in ``differences``, go through the names of ``before`` alone."""
    one, two = Turn(errors=[{"a": 1}]), Turn(errors=[{"a": 1, "b": 2}])
    assert changes([one], [two]) == [Change(1, 1, "errors[0].b", None, 2)]
    assert changes([two], [one]) == [Change(1, 1, "errors[0].b", 2, None)]


def test_the_first_divergence_is_one_of_fields_that_both_have() -> None:
    """Break: in compare/turns.py, ``first_divergence``, compare with ``!=``: then it is the first STT entry."""
    first = first_divergence(DEMO, OLD, NEW)
    assert first is not None
    assert first.hook == "complete_turn"
    until = [event for event in DEMO if event.seq < first.seq]
    assert first_divergence(until, OLD, NEW) is None


def test_the_command(program: Program) -> None:
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    same = "--rules", OLD, "--rules", OLD
    assert "0 of 247 turns differ in 53 sessions" in program.run("diff", "--all", *same).stdout
    summary = json.loads(program.run("diff", "barge_in_vad", *same, "--json").stdout)
    assert summary == {
        "sessions": 1, "changed_sessions": 0, "turns": 4, "changed_turns": 0, "fields": [], "changes_found": 0,
        "changes": [], "first": {},
    }  # fmt: skip
    assert "unknown rule set" in program.fails("diff", "barge_in_vad", "--rules", OLD, "--rules", "nobody's")
    assert "did you mean 'barge_in_vad'" in program.fails("diff", "barge_in_va", *same)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rules", OLD), "pass --rules twice"),
        (("--against", "x.db", "--digests", "d"), "either --against or --digests"),
        (("--against", "x.db", "--rules", OLD, "--rules", NEW), "compare under one rule set"),
        (("--against", "sqlite:///calls.db"), "name the same log"),
        (("--against", "absent.db"), "no database at absent.db"),
        (("--digests", "absent"), "cannot read absent: No such file"),
        (("--digests", "calls.db"), "is not a digest file"),
    ],
)
def test_a_wrong_comparison_is_one_line(program: Program, arguments: tuple[str, ...], said: str) -> None:
    with closing(open_store(program.db)) as store:
        call(store, "s-1", [100])
    assert said in program.fails("diff", "s-1", *arguments)


def test_another_rule_set_shows_where_it_differs(program: Program) -> None:
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    rules = "--rules", OLD, "--rules", NEW
    summary = json.loads(program.run("diff", "--all", *rules, "--json").stdout)
    assert summary["sessions"] == 53
    assert summary["changed_turns"] > 20
    fields = {row["field"]: row for row in summary["fields"]}
    assert fields["stt_metrics.stt_latency"]["turns"] > 5
    figures = [fields["e2e_latency"][name] for name in ("least", "p5", "median", "p95", "most")]
    assert figures == sorted(figures)
    assert set(summary["first"]) == {change["session_id"] for change in summary["changes"]}
    shown = program.run("diff", "normal_cascading", *rules).stdout
    assert "turns differ in 1 session: videosdk-1.0 → videosdk-1.0.30" in shown
    assert "normal_cascading: first at event" in shown


# added up -------------------------------------------------------------------------------------------------------


def test_memory_is_bounded_and_the_figures_stay_near() -> None:
    """Break: in turnlog/compare/differences.py, ``Spread.add``, never halve ``_below``, or keep every second."""
    spread = Spread()
    for n in range(100_000):
        spread.add(float((n * 7919) % 100_000))
        assert len(spread.kept) <= KEPT
    assert (spread.count, spread.least, spread.most) == (100_000, 0, 99_999)
    assert [round(value, -3) for value in spread.percentiles()] == [5_000, 50_000, 95_000]
    found = Differences()
    for n in range(3 * LISTED):
        found.add(Compared(f"s-{n}", 2, [Change(1, 1, "a[0].b", 1, 2), Change(1, 1, "a[1].b", 1, 4)], {"seq": n}))
    assert (found.changes, found.changed_turns, found.turns) == (6 * LISTED, 3 * LISTED, 6 * LISTED)
    assert len(found.listed) == len(found.first) == LISTED
    (row,) = summary(found)["fields"]
    assert (row["field"], row["turns"], row["least"], row["most"]) == ("a.b", 3 * LISTED, 1, 3)
    values = [value for _key, value in found.fields["a.b"].spread.kept]
    assert values.count(1) == pytest.approx(values.count(3), rel=0.01)  # two entries a turn: neither is left out


def test_percentiles_of_few_are_exact() -> None:
    spread = Spread()
    spread.add(-3.0)
    assert spread.percentiles() == (-3, -3, -3)
    for n in range(-2, 98):
        spread.add(float(n))
    assert spread.percentiles() == (2, 47, 92)


# two recordings -------------------------------------------------------------------------------------------------

MONTH_NS = 30 * 86_400 * 1_000_000_000
TIMES = ("start_time", "end_time", "original_connection_start", "original_connection_end", "new_connection_start",
         "new_connection_end", "join_time")  # fmt: skip


def again(events: list[Event]) -> list[Event]:
    """The same call on a different machine, a month later: different clocks, origin and ids."""

    def shifted(value: object, name: str = "") -> object:
        if isinstance(value, dict):
            return {key: shifted(item, key) for key, item in value.items()}
        if name in TIMES and isinstance(value, (int, float)):
            return value + (2 * MONTH_NS if name == "join_time" else MONTH_NS) / 1e9
        return f"other {value}" if name.endswith(("_id", "Id")) and isinstance(value, str) else value

    return [
        msgspec.structs.replace(
            event, origin="other", perf_ns=event.perf_ns + MONTH_NS, wall_ns=event.wall_ns + 2 * MONTH_NS,
            payload=json.dumps(shifted(json.loads(event.payload))),
        )
        for event in events
    ]  # fmt: skip


RECORDINGS = [events_of(*each) for each in read_recordings(FIXTURES / "recordings.jsonl.gz")]


@pytest.mark.parametrize("events", RECORDINGS, ids=lambda events: events[0].session_id)
def test_other_clocks_and_ids_are_no_difference(events: list[Event]) -> None:
    """Break: in projections/compare/recordings.py, ``_shift_times``, leave times in arguments; ``_ID``, compare ids."""
    one, two = on_common_clock(events), on_common_clock(again(events))
    assert changes_between(turns(one), turns(two)) == []
    assert first_divergences(one, two) == []


@given(streams(max_size=60), st.integers(10**15, 10**16), st.integers(-(10**17), 10**17))
def test_on_one_clock_nothing_is_left_of_the_clocks(events: list[Event], perf_ns: int, wall_ns: int) -> None:
    """Break: in ``on_one_clock``, keep ``wall_ns``."""

    def moved_by(perf_ns: int, wall_ns: int) -> list[Event]:
        both = [(event.perf_ns + perf_ns, event.wall_ns + wall_ns) for event in events]
        return [msgspec.structs.replace(e, perf_ns=p, wall_ns=w) for e, (p, w) in zip(events, both, strict=True)]

    one, two = on_common_clock(moved_by(10**15, 0)), on_common_clock(moved_by(perf_ns, wall_ns))
    assert one == two
    assert changes_between(turns(one), turns(two)) == []


def later_from(nth: int, by_ns: int) -> list[Event]:
    """The demo call, with everything from one event on delayed."""
    return [msgspec.structs.replace(e, perf_ns=e.perf_ns + by_ns, wall_ns=e.wall_ns + by_ns) if n >= nth else e
            for n, e in enumerate(DEMO)]  # fmt: skip


def test_a_slower_llm_changes_its_turn_and_not_those_after_it() -> None:
    """Break: in projections/compare/recordings.py, ``_since``, keep times as they are."""
    (_first, second, *_rest) = [n for n, event in enumerate(DEMO) if event.hook == "on_llm_first_token"]
    one, two = on_common_clock(DEMO), on_common_clock(again(later_from(second, 300_000_000)))
    found = changes_between(turns(one), turns(two))
    assert {change.turn for change in found} == {3}
    by_path = {change.path: change.after - change.before for change in found}
    assert by_path["llm_metrics[0].llm_ttft"] == pytest.approx(300)
    assert by_path["llm_metrics[0].llm_first_token_time"] == pytest.approx(0.3)
    assert "agent_speech_duration" not in by_path
    (late,) = first_divergences(one, two)
    assert late.what == "time"
    assert late.one is not None
    assert (late.one.seq, late.late_ms) == (second, 300)


def test_what_another_clock_rounds_otherwise_is_no_difference() -> None:
    """Break: ``ROUNDING = 0``."""
    one, two = Turn(e2e_latency=100.0, errors=[{"code": 1}]), Turn(e2e_latency=100.0001, errors=[{"code": 1}])
    assert changes_between([one], [two]) == []
    assert len(changes_between([one], [Turn(e2e_latency=100.01, errors=[{"code": 2}])])) == 2


def test_where_two_recordings_part() -> None:
    """Break: in ``first_divergences``, compare only payloads, or only hooks."""
    said = [event.hook for event in DEMO].index("set_user_transcript")
    other = msgspec.structs.replace(DEMO[said], payload='{"transcript":"something else"}')
    one = on_common_clock(DEMO)
    (parting,) = first_divergences(one, on_common_clock([*DEMO[:said], other, *DEMO[said + 1 :]]))
    assert (parting.what, parting.one, parting.late_ms) == ("arguments", one[said], None)
    bare = next(n for n, event in enumerate(DEMO) if event.payload == "{}")
    renamed = msgspec.structs.replace(DEMO[bare], hook="start_turn")
    (parting,) = first_divergences(one, on_common_clock([*DEMO[:bare], renamed, *DEMO[bare + 1 :]]))
    assert (parting.what, parting.one) == ("hook", one[bare])
    (parting,) = first_divergences(one, on_common_clock(DEMO[:-1]))
    assert (parting.what, parting.one, parting.other) == ("hook", one[-1], None)
    (parting,) = first_divergences(on_common_clock(DEMO[:-1]), one)
    assert (parting.what, parting.one, parting.other) == ("hook", None, one[-1])


def test_turns_are_matched_by_what_was_said() -> None:
    """Break: in ``align_turns``, zip the turns."""

    def said(*texts: str | None) -> list[Turn]:
        return [Turn(user_speech=text) for text in texts]

    one = said(None, "Hello.", "Where is it?", "Bye")
    assert list(align_turns(one, said(None, "hello", "Where is it", "bye"))) == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert list(align_turns(one, said(None, "Hello.", "Bye"))) == [(1, 1), (2, 2), (3, None), (4, 3)]
    assert list(align_turns(one, said("Hello.", "Hm?", "Where is it?", "Bye"))) == [
        (1, None), (2, 1), (None, 2), (3, 3), (4, 4),
    ]  # fmt: skip
    assert list(align_turns(one, said(None, "Hello.", "Where was it?", "Bye"))) == [(1, 1), (2, 2), (3, 3), (4, 4)]
    found = changes_between(one, said(None, "Hello.", "Bye"))
    assert found == [Change(3, None, "", "Where is it?", "(no such turn)")]


def test_two_logs(program: Program, tmp_path: Path) -> None:
    with closing(open_store(program.db)) as store, closing(open_store(tmp_path / "other.db")) as other:
        for name, ttft, new in (("s-1", 100, 100), ("s-2", 200, 500)):
            call(store, name, [50, ttft])
            call(other, name, [50, new])
        call(store, "old", [1])
        call(other, "new", [1])
    summary = json.loads(program.run("diff", "--all", "--against", "other.db", "--json").stdout)
    assert (summary["sessions"], summary["turns"], summary["changed_turns"]) == (2, 4, 1)
    assert (summary["only_in_one"], summary["only_in_other"]) == (["old"], ["new"])
    assert {(c["session_id"], c["turn"]) for c in summary["changes"]} == {("s-2", 2)}
    ttft_row = next(row for row in summary["fields"] if row["field"] == "llm_metrics.llm_ttft")
    assert [ttft_row[name] for name in ("turns", "least", "median", "most")] == [1, 300, 300, 300]
    (late,) = summary["first"].pop("s-2")
    assert summary["first"] == {}
    assert (late["what"], late["one"]["hook"], late["late_ms"]) == ("time", "on_llm_first_token", 300)
    shown = program.run("diff", "--all", "--against", "other.db").stdout
    assert "1 of 4 turns differ in 2 sessions: " in shown
    assert "1 session not in the log of --against: old\n" in shown
    assert "1 session only in the log of --against: new\n" in shown
    assert "s-2: first at another time: event 13, on_llm_first_token, +300.0 ms since the event before" in shown
    assert "unknown session 'old'" in program.fails("diff", "old", "--against", "other.db")


# two engines ----------------------------------------------------------------------------------------------------


def stored(events: list[Event], path: Path, rules: str = OLD) -> digests.SessionDigest:
    """The session's digest after it was written and read."""
    found = rule_sets.find_rules(rules)
    path.write_bytes(
        digests.digest_line(digests.digest_heading(found))
        + digests.digest_line(digests.session_digest("s", events, found))
    )
    _heading, sessions = digests.load_digests(path)
    (session,) = sessions
    return session


@given(streams(max_size=60), st.sampled_from([OLD, NEW]))
def test_a_log_is_what_its_digest_says(tmp_path: Path, events: list[Event], rules: str) -> None:
    """Break: in turnlog/compare/digest_files.py, ``session_digest``, drop the last turn, or read numbers as text."""
    session = stored(events, tmp_path / "d", rules)
    assert digests.digested_events(events, session) == events
    assert changes_since(session.turns, [digest(turn) for turn in turns(events, rules)]) == []


def test_arithmetic_that_became_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = stored(DEMO, tmp_path / "d")

    def in_seconds(turn: Turn, rules: rule_sets.Rules) -> float | None:
        found = e2e(turn, rules)
        return None if found is None else found / 1000

    monkeypatch.setattr("projections.reference.handlers.turn.e2e", in_seconds)
    found = changes_since(session.turns, [digest(turn) for turn in turns(DEMO)])
    assert {change.path for change in found} == {"e2e_latency"}
    assert len(found) == sum(turn.e2e_latency is not None for turn in turns(DEMO))
    assert all(change.after == change.before / 1000 for change in found)


def test_of_a_component_that_is_gone_it_alone_is_told() -> None:
    before = {"timestamp": 1.0, "stt_metrics": 1, "stt_metrics[0].stt_latency": 2.0, "user_speech": "aa"}
    assert changes_since([before], [{"timestamp": 1.0, "user_speech": "bb"}]) == [
        Change(1, 1, "stt_metrics", 1, None),
        Change(1, 1, "user_speech", "aa", "bb"),
    ]
    assert changes_since([before], []) == [Change(1, None, "", "(a turn)", "(no such turn)")]


def test_a_digest_file_has_no_words(program: Program) -> None:
    """Break: in projections/compare/digest.py, ``_fields``, yield the value for its hash."""
    store = open_store(program.db)
    with recording(store, "s-1") as (recorder, clock):
        turn(recorder, clock, ttft=100)
        recorder.set_user_transcript("call 555 0100")
        recorder.set_agent_response(5550100)
        recorder.add_function_tool_call("lookup", {"phone": 5550100}, {"Jane Doe": [12]})
        recorder.complete_turn()
    store.close()
    text = program.run("digest", "s-1").stdout
    assert '"llm_metrics[0].llm_ttft":100.0' in text
    for word in ("555", "0100", "Jane", "phone", "lookup"):
        assert word not in text


def test_digests_are_held_against_the_log(program: Program) -> None:
    with closing(open_store(program.db)) as store:
        for name in ("s-1", "s-2"):
            call(store, name, [100, 200])
    program.run("digest", "--all", "--out", "d.jsonl")
    same = program.run("diff", "--digests", "d.jsonl").stdout
    assert same == "0 of 4 turns differ in 2 sessions: turnlog 0.1.0 → 0.1.0, under videosdk-1.0\n"
    assert (
        "0 of 2 turns differ in 1 session" in program.run("diff", "s-2", "--digests", "d.jsonl", "--rules", OLD).stdout
    )

    path = program.folder / "d.jsonl"
    text = path.read_text()
    path.write_text(text.replace('"llm_metrics[0].llm_ttft":200.0', '"llm_metrics[0].llm_ttft":150.0', 1))
    done = program.run("diff", "--digests", "d.jsonl", code=1)
    assert "s-1 turn 2  llm_metrics[0].llm_ttft: 150.0 → 200.0\n" in done.stdout.replace("s-2", "s-1")
    assert done.stderr == "turnlog: 1 of 4 turns differ from d.jsonl\n"

    said = program.fails("diff", "--digests", "d.jsonl", "--rules", NEW)
    assert "was made under the rules 'videosdk-1.0', so it says nothing about 'videosdk-1.0.30'" in said
    assert "d.jsonl has no session 's-3'" in program.fails("diff", "s-3", "--digests", "d.jsonl")


def test_what_is_no_digest_file_is_one_line(tmp_path: Path) -> None:
    path, good = tmp_path / "d.jsonl", digests.digest_line(digests.digest_heading(rule_sets.find_rules(OLD)))
    for bad in (b"", b"{}", b"\xff", good.replace(b'"version":1', b'"version":2'), good[:-5]):
        path.write_bytes(bad)
        with pytest.raises(
            digests.BadDigests,
            match=r"d.jsonl\S* is not a digest file of this version; create one with `turnlog digest`",
        ):
            digests.load_digests(path)
    path.write_bytes(good + b'{"session":1}\n')
    _heading, sessions = digests.load_digests(path)
    with pytest.raises(digests.BadDigests, match="d.jsonl:2 is not a session of a digest file; the file is damaged"):
        next(sessions)


def test_a_log_that_grew_is_compared_up_to_there(program: Program) -> None:
    """Break: in turnlog/compare/digest_files.py, ``digested_events``, take all events."""
    kept = [msgspec.structs.replace(event, session_id="demo") for event in DEMO]
    with closing(open_store(program.db)) as store:
        store.append(kept[:150])
        store.append(msgspec.structs.replace(event, session_id="late") for event in DEMO if event.seq != 7)
    program.run("digest", "--all", "--out", "d.jsonl")
    (program.folder / "gone.jsonl").write_text((program.folder / "d.jsonl").read_text().replace('"demo"', '"left"'))
    with closing(open_store(program.db)) as store:
        store.append(kept)
        store.append(msgspec.structs.replace(event, session_id="late") for event in DEMO)
    shown = program.run("diff", "--digests", "d.jsonl").stdout
    assert "differ in 1 session:" in shown
    assert "1 session grown since; compared up to the former end: demo\n" in shown
    assert "1 session recorded with different events; not compared: late\n" in shown
    assert (
        "1 session no longer in the log; not compared: left\n" in program.run("diff", "--digests", "gone.jsonl").stdout
    )


@pytest.mark.slow
def test_the_commands_of_diff_md_run(tmp_path: Path) -> None:
    """In order, on a log of recorded calls and an identical one."""
    text = (FIXTURES.parent / "docs" / "diff.md").read_text()
    commands = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).splitlines()
    program = Program(tmp_path)
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    shutil.copy(program.db, tmp_path / "after.db")
    for command in commands:
        name, *arguments = command.partition("#")[0].split()
        assert name == "turnlog"
        program.run(*arguments)
    assert len(commands) == 6
