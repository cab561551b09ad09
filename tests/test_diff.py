"""Two replays of one call, field by field."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given

from conftest import FIXTURES, Program
from eventstore import Event
from projections.diff import Change, changes, first_divergence
from projections.replay import replay
from strategies import streams
from turnlog.recordings import events_of, read_recordings

DEMO = events_of(*next(iter(read_recordings(FIXTURES / "demo.jsonl.gz"))))


def moved(hook: str, nth: int, by_ns: int) -> list[Event]:
    """The demo call, with one event at another moment."""
    found = [n for n, event in enumerate(DEMO) if event.hook == hook][nth]
    later = msgspec.structs.replace(DEMO[found], perf_ns=DEMO[found].perf_ns + by_ns)
    return [*DEMO[:found], later, *DEMO[found + 1 :]]


@given(streams(max_size=60))
def test_a_call_does_not_differ_from_itself(events: list[Event]) -> None:
    assert changes(replay(events), replay(events)) == []
    assert first_divergence(events, "videosdk-1.0", "videosdk-1.0") is None


def test_a_later_first_token_changes_what_follows_from_it_and_nothing_else() -> None:
    """Break: in projections/diff.py, ``_differences``, stop at the first that differs."""
    found = changes(replay(DEMO), replay(moved("on_llm_first_token", 1, 100_000_000)))
    assert {change.turn for change in found} == {change.other_turn for change in found} == {3}
    assert {change.field for change in found} == {
        "e2e_latency", "llm_metrics.llm_first_token_time", "llm_metrics.llm_ttft",
    }  # fmt: skip
    (ttft,) = [change for change in found if change.path == "llm_metrics[0].llm_ttft"]
    assert round(ttft.after - ttft.before) == 100


def test_a_turn_that_is_in_one_replay_only() -> None:
    """Break: in projections/diff.py, ``changes``, match turns by their numbers."""
    opened = [event.hook for event in DEMO].index("complete_turn")
    without_first = DEMO[opened + 1 :]
    one, two = replay(DEMO), replay(without_first)
    gone, *rest = changes(one, two)
    assert (gone.turn, gone.other_turn, gone.path, gone.after) == (1, None, "", "(no such turn)")
    assert {(change.turn, change.other_turn) for change in rest} <= {(2, 1), (3, 2), (4, 3)}
    (new,) = [change for change in changes(two, one) if change.turn is None]
    assert (new.other_turn, new.before) == (1, "(no such turn)")
    assert isinstance(new, Change)


def test_the_command(program: Program) -> None:
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    same = "--rules", "videosdk-1.0", "--rules", "videosdk-1.0"
    assert " turns in 53 sessions differ" in program.run("diff", "--all", *same).stdout
    report = json.loads(program.run("diff", "barge_in_vad", *same, "--json").stdout)
    assert report == {"sessions": 1, "turns": 4, "changed_turns": 0, "fields": [], "changes": [], "first": {}}
    assert "twice" in program.fails("diff", "barge_in_vad", "--rules", "videosdk-1.0")
    assert "unknown rule set" in program.fails("diff", "barge_in_vad", "--rules", "videosdk-1.0", "--rules", "nobody's")
    assert "did you mean 'barge_in_vad'" in program.fails("diff", "barge_in_va", *same)


def test_another_rule_set_shows_where_it_differs(program: Program) -> None:
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    rules = "--rules", "videosdk-1.0", "--rules", "videosdk-1.0.24"
    report = json.loads(program.run("diff", "--all", *rules, "--json").stdout)
    assert report["sessions"] == 53
    assert report["changed_turns"] > 20
    fields = {row["field"]: row for row in report["fields"]}
    assert fields["stt_metrics.stt_latency"]["turns"] > 5
    assert set(report["first"]) == {change["session_id"] for change in report["changes"]}
    shown = program.run("diff", "normal_cascading", *rules).stdout
    assert "turns in 1 sessions differ: videosdk-1.0 → videosdk-1.0.24" in shown
    assert "normal_cascading: first at event" in shown
