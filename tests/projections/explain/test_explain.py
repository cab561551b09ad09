"""Explanations: the activities and events that a value comes from, and the events that change it."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import Event
from projections.caller import read, reading_dict
from projections.explain import Explanation, UnknownPath, explain, what_if
from projections.explain.explanation import explainer, offsets_of
from projections.explain.paths import leaves, parse
from projections.explain.stretch import WHOLE
from projections.explain.what_if import HOW, How, apply_change
from projections.reference.replay import replay
from support.examples import examples
from support.program import FIXTURES, Program
from support.script import answered, log
from support.strategies import streams
from turnlog.recordings import events_of, read_recordings

FILES = ("recordings.jsonl.gz", "cases.jsonl")
RECORDED = {found.name: events_of(place, found) for file in FILES for place, found in read_recordings(FIXTURES / file)}
UNSAID = {"session.events", "session.sealed_events", "session.system_instruction"}
"""Counted and default values; only these, and values that are False or 0, may have no events."""


def paths(call: dict[str, Any]) -> list[tuple[str, Any]]:
    """All values of a call's JSON."""
    roots = [(f"{root}[{n}]", item) for root in ("turns", "discarded", "outside") for n, item in enumerate(call[root])]
    found = [(f"{root}.{path}", value) for root, item in roots for path, value in leaves(item)]
    return found + [(f"session.{path}", value) for path, value in leaves(call["session"])]


def check_explained(made: list[Event], chosen: list[tuple[str, Any]]) -> None:
    explained = explainer(read(made), made)
    for path, value in chosen:
        found = explained(parse(path))
        assert found.value == value, path
        assert type(found.value) is type(value), path
        if value is not None and value is not False and value != 0 and path not in UNSAID:
            assert any(one.events for one in found.made_of), path


@pytest.mark.parametrize("session", RECORDED)
def test_every_value_of_the_contract_is_explained(session: str) -> None:
    """The value equals that of the JSON, though only its turn is computed.

    Break: in projections/explain/sourced.py, leave out the operation ``truediv``, or in ``NEAR`` say 0.
    """
    made = RECORDED[session]
    there = paths(reading_dict(read(made)))
    check_explained(made, Random(session).sample(there, min(25, len(there))))
    check_explained(made, [(path, value) for path, value in there if ".barge_ins[" in path or "interrupted" in path])


@settings(max_examples=examples(40))
@given(streams(max_size=60).filter(bool), st.randoms(use_true_random=False))
def test_so_is_every_value_of_a_generated_call(made: list[Event], chance: Random) -> None:
    """Break: in projections/explain/provenance.py, ``barge_ins_at``, leave out doubts."""
    there = [one for one in paths(reading_dict(read(made))) if re.fullmatch(r"\w+(\.\w+|\[\d+\])*", one[0])]
    check_explained(made, chance.sample(there, min(30, len(there))))


# which events ------------------------------------------------------------------------------------------------------

LITTLE_NS = 200
CALLS = ("barge_in_vad", "fallback_exhausted", "realtime_full_s2s_base", "api_interrupt", "livekit_say_in_tool")


def floats(made: list[Event]) -> dict[str, float]:
    call = reading_dict(read(made))
    return {path: value for path, value in paths(call) if type(value) is float and not path.startswith("session")}


@pytest.mark.parametrize("session", [name for name in CALLS if name in RECORDED])
def test_what_an_event_moves_names_it(session: str) -> None:
    """An event that is shifted without crossing a threshold changes only values that name it.

    Break: in timeline/handlers/failures.py, do not add the run's start to the sources of a failed provider's.
    """
    made = RECORDED[session]
    explained, before, offsets = explainer(read(made), made), floats(made), offsets_of(made)
    named = {path: events_named(explained(parse(path))) for path in before}
    moved = 0
    for at in range(1, len(made)):  # all times count from the first
        after = floats(apply_change(made, at, Random(at).choice(["earlier", "later"]), LITTLE_NS, offsets))
        for path, value in before.items():
            other = after[path]
            seconds = 1e-3 if path.endswith(("ms", "e2e_latency")) else 1.0
            if other != value and abs(other - value) <= 3 * LITTLE_NS / 1e9 / seconds:
                assert at in named[path], (path, made[at].hook)
                moved += 1
    assert moved > 20


def events_named(found: Explanation) -> set[int]:
    return {event.at for one in found.made_of for event in one.events}


def test_a_response_moves_exactly_with_the_events_at_its_ends() -> None:
    """Break: in projections/explain/sourced.py, ``_propagate``, keep the sources of ``self`` alone."""
    tried = 0
    for made in RECORDED.values():
        offsets = offsets_of(made)
        answered = [turn for turn in read(made).turns if turn.e2e_latency] if len(made) <= WHOLE else []
        for turn in answered:
            path = f"turns[{turn.turn - 1}].e2e_latency"
            ends = explain(made, path).made_of
            assert {one.kind for one in ends} in ({"agent", "voice"}, {"agent", "turn"})
            for one in ends:
                said = [event.at for event in one.events if event.seconds == pytest.approx(one.value, abs=1e-9)]
                for at in said[:1]:  # others repeat it, or said how long the detector waits
                    after = read(apply_change(made, at, "later", LITTLE_NS, offsets)).turns[turn.turn - 1].e2e_latency
                    assert after is not None
                    by = LITTLE_NS / 1e6 if one.kind == "agent" else -LITTLE_NS / 1e6
                    assert after - (turn.e2e_latency or 0) == pytest.approx(by, abs=1e-9), path
                    tried += 1
    assert tried > 100


def test_what_is_said_of_a_response() -> None:
    """Break: in projections/explain/provenance.py, ``_in_turn``, leave out the decisions."""
    found = explain(RECORDED["barge_in_vad"], "turn 2 e2e_latency")
    assert (found.path, found.turn, round(found.value or 0)) == ("turns[1].e2e_latency", 2, 1281)
    said = [(one.kind, one.field, [(event.hook, event.seq) for event in one.events]) for one in found.made_of]
    assert said == [
        ("agent", "start", [("on_agent_speech_start", 55)]), ("voice", "end", [("on_user_speech_end", 34)]),
    ]  # fmt: skip
    assert sum(part.ms for part in found.parts) == pytest.approx(found.value)
    assert [(one.decision, one.event and one.event.seq) for one in found.decisions] == [
        ("voices_of_words", 40), ("run_is_due", 41), ("voice_behind", 105),
    ]  # fmt: skip
    assert all(one.why.endswith(".") for one in found.decisions)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (["1 words Hi."], ("came", "set_user_transcript")),
        (["1 stt+", "1.2 final Hi.", "1.5 words Hi."], ("came", "on_stt_complete")),
        (["1 llm+", "1.1 words Hi."], ("came", "on_llm_start")),
        (["1 voice+", "1.2 final Hi.", "1.5 words Hi."], ("sent", "set_user_transcript")),
    ],
)
def test_a_question_without_the_end_of_a_voice_names_its_words(before: list[str], said: tuple[str, str]) -> None:
    """Break: in projections/turns/listening.py, ``question_text``, do not keep ``arrived_at``."""
    found = explain(log(*before, *answered(1.6, 3)), "turn 1")
    assert found.value is not None
    ((field, (event,)),) = [(one.field, one.events) for one in found.made_of if one.kind == "turn"]
    assert (field, event.hook) == said


def test_what_is_said_of_a_barge_in() -> None:
    """Break: in projections/explain/provenance.py, ``barge_ins_at``, take ``_identity`` for ``copies.of``."""
    found = explain(RECORDED["barge_in_vad"], "turns[1].barge_ins[0].yield_ms")
    said = {(one.kind, one.field, one.turn) for one in found.made_of}
    assert said == {("interruption", "start", 2), ("voice", "start", 3)}


def test_why_there_is_no_response() -> None:
    """Break: in projections/explain/provenance.py, leave ``no_response`` out of ``OF_TURN``."""
    found = explain(RECORDED["barge_in_vad"], "turn 1")
    assert (found.value, found.note) == (None, "no response: no question")
    assert [event.hook for one in found.made_of for event in one.events] == ["on_tts_start"]
    left = explain(RECORDED["noise_discarded"], "discarded 1")
    assert left.value == left.note
    assert {one.kind for one in left.made_of} == {"voice"}
    assert [one.decision for one in left.decisions] == ["of_no_question"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("turns[1].e2e_latenc", "did you mean e2e_latency"),
        ("turns[1].llm[7].first_token", "did you mean llm[0].first_token"),
        ("turns[99].e2e_latency", "the session has 4 turns"),
        ("turn 0", "counted from 1"),
        ("turns.e2e_latency", "turns needs an index, like turns[0]; the session has 4 turns"),
        ("discarded 9", "the session has 0 discarded voices"),
        ("turns[1].response", "is not a single value; name a value in it, like turns[1].response.start"),
        ("turns[1].", "is not a path"),
        ("payloads[0].x", "a path begins with turns[0]"),
        ("", "is not a path"),
    ],
)
def test_a_path_that_leads_nowhere(path: str, said: str) -> None:
    """Break: in projections/explain/paths.py, ``_unknown``, suggest nothing."""
    with pytest.raises(UnknownPath, match=re.escape(said)) as raised:
        explain(RECORDED["barge_in_vad"], path)
    assert "\n" not in str(raised.value)


def test_of_the_framework_s_reading_there_is_the_value() -> None:
    found = explain(RECORDED["barge_in_vad"], "turn 2 e2e_latency", "videosdk-1.0")
    assert found.value == replay(RECORDED["barge_in_vad"], "videosdk-1.0").turns[1].e2e_latency
    assert [event.hook for one in found.made_of for event in one.events] == ["complete_turn"]
    assert "--what-if" in found.note
    with pytest.raises(UnknownPath, match="did you mean e2e_latency"):
        explain(RECORDED["barge_in_vad"], "turn 2 e2e_latenc", "videosdk-1.0")


# what if -----------------------------------------------------------------------------------------------------------


def without_snapshots(made: list[Event], at: int, how: How, path: str, rules: str) -> Any:
    """The value in a full replay of a log that was changed differently: by time only."""
    event = made[at]
    by = {"removed": 0, "earlier": -50_000_000, "later": 50_000_000}[how]
    key = {id(other): (other.perf_ns, n) for n, other in enumerate(made)}
    rest = [other for other in made if other is not event]
    if how != "removed":
        event = msgspec.structs.replace(event, perf_ns=event.perf_ns + by, wall_ns=event.wall_ns + by)
        key[id(event)] = (event.perf_ns, len(made) if how == "earlier" else -1)
        rest.append(event)
    again = [msgspec.structs.replace(e, seq=n) for n, e in enumerate(sorted(rest, key=lambda e: key[id(e)]))]
    turns: Any = read(again).turns if rules == "turnlog" else replay(again, rules).turns
    index, field = re.match(r"turns\[(\d+)\]\.(\w+)$", path).groups()  # type: ignore[union-attr]
    return getattr(turns[int(index)], field) if int(index) < len(turns) else "gone"


@pytest.mark.parametrize(
    ("session", "path", "rules"),
    [
        ("barge_in_vad", "turns[1].e2e_latency", "turnlog"),
        ("barge_in_vad", "turns[1].user_speech", "turnlog"),
        ("realtime_full_s2s_base", "turns[1].e2e_latency", "turnlog"),
        ("soak_seed1", "turns[9].e2e_latency", "turnlog"),
        ("soak_seed1", "turns[4].interrupted", "turnlog"),
        ("barge_in_vad", "turns[1].e2e_latency", "videosdk-1.0"),
        ("soak_seed1", "turns[9].e2e_latency", "videosdk-1.0.30"),
    ],
)
def test_what_if_is_what_a_whole_replay_gives(session: str, path: str, rules: str) -> None:
    """Both for events that it names and for those that it tried and does not name.

    Break: in projections/explain/stretch.py, ``_without_finished``, use `Timeline()`; or ``_copy_state``, return ``s``.
    """
    made = RECORDED[session]
    assert all(one.perf_ns <= two.perf_ns for one, two in pairwise(made))
    found = what_if(made, path, rules)
    said = {(one.event.at, one.how): "gone" if one.gone else one.value for one in found.outcomes}
    assert said
    assert found.tried < len(made) if len(made) > WHOLE else found.tried == len(made)
    tried = [(at, how) for at in range(found.first, found.first + found.tried) for how in HOW]
    for at, how in {*said, *Random(session).sample(tried, 60)}:
        assert without_snapshots(made, at, how, path, rules) == said.get((at, how), found.value), (at, how)


# the command -------------------------------------------------------------------------------------------------------


def test_the_command(program: Program) -> None:
    """Break: in projections/explain/paths.py, ``parse``, count turns from 0."""
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    shown = program.run("explain", "barge_in_vad", "turn", "2", "e2e_latency", "--what-if", COLUMNS="80").stdout
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    assert "turns[1].e2e_latency  1,281.23 ms  rules turnlog" in shown
    for said in ("agent start +6.814 s on_agent_speech_start #55", "LLM to first token 250.3 ms",
                 "voices_of_words #40", "172 events tried", "on_user_speech_end #34 −699.7 +50 −50"):  # fmt: skip
        assert said in " ".join(shown.split())
    report = json.loads(program.run("explain", "barge_in_vad", "2", "--what-if", "--by", 10, "--json").stdout)
    assert report["made_of"][0]["events"][0]["hook"] == "on_agent_speech_start"
    assert report["parts"][0]["path"] == "turns[1].response.parts[0].ms"
    assert report["decisions"][0]["event"]["seq"] == 40
    by = {(one["event"]["seq"], one["how"]): one["value"] - report["value"] for one in report["what_if"]["outcomes"]
          if one["value"] is not None}  # fmt: skip
    assert by[55, "later"] == pytest.approx(10)
    shown = program.run("explain", "barge_in_vad", "2", "--rules", "framework").stdout
    assert "rules videosdk-1.0" in shown
    assert "--what-if" in shown
    assert "did you mean e2e_latency" in program.fails("explain", "barge_in_vad", "2", "e2elatency")


def test_a_bar_shows_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown only on a terminal, and only if it takes long. Break: do not start it."""
    from turnlog.cli import common

    monkeypatch.setattr(common, "PATIENCE_SECONDS", -1.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with common.patient_progress("trying") as step:
        step(1, 2)
    assert "1/2" in capsys.readouterr().err
    monkeypatch.setattr(common, "PATIENCE_SECONDS", 1e9)
    with common.patient_progress("trying") as step:
        step(1, 2)
    assert capsys.readouterr().err == ""
