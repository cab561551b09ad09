"""The barge-in ledger: kinds of barge-ins, time to yield, and spoken text."""

from __future__ import annotations

import base64
import math
from types import SimpleNamespace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import Event, Recorder, open_store
from eventstore.event import canonical
from eventstore.stores.memory import MemoryStore
from projections.caller import read
from projections.measures import measures
from support.program import FIXTURES, Program
from support.strategies import JSON, sessions, streams
from turnlog import Clock
from turnlog.cli.render.barge_in import entries, entry_dict
from turnlog.cli.render.barge_in import sentence as written
from turnlog.conformance import no_timers
from turnlog.recordings import events_of, read_recordings

Call = tuple[float, str, *tuple[object, ...]]
TEN_A_SECOND: list[Call] = [
    (0.0, "set_agent_response", "Hello you!"), (0.0, "on_tts_start"), (0.0, "on_agent_speech_start"),
    (1.0, "on_agent_speech_end"), (1.0, "complete_turn"),
]  # fmt: skip
"""A greeting of ten characters in one second."""
ANSWER: list[Call] = [
    *TEN_A_SECOND, (2.0, "on_tts_start"), (2.0, "set_agent_response", "We take everything back within thirty days."),
    (2.0, "add_tts_characters", 43), (2.0, "on_agent_speech_start"),
]  # fmt: skip
"""An answer of 43 characters that begins at second 2."""
WAIT: list[Call] = [
    (4.0, "on_user_speech_end"), (4.2, "on_stt_complete", "Wait, what?"), (4.5, "set_user_transcript", "Wait, what?"),
]  # fmt: skip
FRAMEWORK: Call = (0.0, "set_framework", "pipecat-ai", "1.14.0")


def log(calls: list[Call]) -> list[Event]:
    """``(seconds, "happened", hook, …)`` is recorded with the previous call, and back-dated to that time."""
    now = [0.0]
    clock = Clock(lambda: round((100 + now[0]) * 1e9), lambda: round((10**9 + now[0]) * 1e9))
    store = MemoryStore()
    with Recorder(store, "s", clock=clock, scheduler=no_timers) as recorder:
        for when, hook, *args in calls:
            if hook == "happened":
                getattr(recorder.happened(round((10**9 + when) * 1e9)), str(args[0]))(*args[1:])
            else:
                now[0] = when
                getattr(recorder, hook)(*args)
    return list(store.read("s"))


def barge_ins(events: list[Event]) -> list[SimpleNamespace]:
    """The records as in JSON; times are seconds since the first event, rounded, as they are whole ms here."""
    r = read(events)
    found = [entry_dict(r, events, entry) for entry in entries(r)]
    return [SimpleNamespace(**{k: round(v, 6) if isinstance(v, float) else v for k, v in one.items()}) for one in found]


def only(calls: list[Call]) -> SimpleNamespace:
    (found,) = barge_ins(log(calls))
    return found


def times(found: SimpleNamespace) -> tuple[float | None, ...]:
    """Yield, decision, overlap and duration of agent speech, in milliseconds."""
    return found.yield_ms, found.decision_ms, found.overlap_ms, found.agent_heard_ms


def test_a_barge_in() -> None:
    """VideoSDK: the agent's end is not reported. At 10 characters a second, 2 s are 20 of them: "…everything b".

    Break: in turns/spoken_text.py, ``_split``, do not look for a space.
    """
    found = only([*ANSWER, (3.2, "on_user_speech_start"), (4.0, "on_interrupted"), (4.0, "complete_turn"), *WAIT])
    assert found.kind == "true"
    assert times(found) == (800, 800, 800, 2000)
    assert (found.agent_start, found.user_start, found.stopped, found.user_end) == (2.0, 3.2, 4.0, 4.0)
    assert (found.silent, found.silent_known) == (4.0, False)
    assert (found.said, found.unsaid, found.estimated) == ("We take everything", "back within thirty days.", True)
    assert found.words == "Wait, what?"
    assert (found.into_call, found.at, found.origin != "", found.seq) == (3.2, 10, True, 10)


def test_an_end_that_is_told_counts() -> None:
    calls = [*ANSWER, (3.2, "on_user_speech_start"), (3.8, "on_interrupted"), (4.0, "on_agent_speech_end")]
    found = only([*calls, (4.0, "complete_turn"), (4.1, "on_user_speech_end")])
    assert times(found) == (800, 600, 800, 2000)
    assert (found.silent, found.silent_known, found.said) == (4.0, True, "We take everything")


def test_an_end_of_another_answer_does_not_count() -> None:
    cut: list[Call] = [*ANSWER, (3.2, "on_user_speech_start"), (3.8, "on_interrupted"), (3.8, "complete_turn")]
    found = only([*cut, (5.0, "on_tts_start"), (15.0, "on_agent_speech_end")])
    assert (found.silent, found.silent_known) == (3.8, False)


def test_without_a_rate_nothing_is_estimated() -> None:
    """Break: in turns/spoken_text.py, ``_split``, take 15 characters a second if none is known."""
    found = only([*ANSWER[5:], (3.2, "on_user_speech_start"), (3.8, "on_interrupted")])
    assert (found.said, found.unsaid, found.estimated) == (None, None, False)
    assert times(found) == (600, 600, 600, 1800)


def test_sealed_text_is_no_text() -> None:
    calls = [(when, hook, *("[sealed]" for _ in args)) if hook == "set_agent_response" else (when, hook, *args)
             for when, hook, *args in ANSWER]  # fmt: skip
    found = only([*calls, (3.2, "on_user_speech_start"), (3.8, "on_interrupted")])
    assert (found.said, found.unsaid) == (None, None)


def test_a_pause_for_nothing() -> None:
    """LiveKit: the agent pauses, then resumes. Break: in turns/ledger.py, ``_audible_intervals``, skip no pause."""
    found = only(
        [
            *ANSWER, (3.0, "on_user_speech_start"), (3.25, "on_false_interrupt_start", 2.0),
            (3.5, "on_user_speech_end"), (5.25, "on_false_interrupt_resume"), (7.0, "on_agent_speech_end"),
        ]
    )  # fmt: skip
    assert found.kind == "false"
    assert times(found) == (250, 250, 250, 1250), "both were heard until the pause"
    assert (found.stopped, found.silent, found.silent_known, found.resumed) == (3.25, 3.25, True, 5.25)
    assert (found.said, found.unsaid) == (None, None)


def test_noise_that_stopped_nobody() -> None:
    """Pipecat: no pause, and the doubt itself stands for the voice."""
    found = only(
        [
            FRAMEWORK, *ANSWER, (3.4, "framework_event", "voice_stopped", {}),
            (3.0, "happened", "on_false_interrupt_start"), (3.3, "happened", "on_false_interrupt_resume"),
            (7.0, "on_agent_speech_end"),
        ]
    )  # fmt: skip
    assert (found.kind, found.user_start, found.user_end) == ("false", 3.0, 3.3)
    assert (found.stopped, found.silent, found.resumed) == (None, None, None)
    assert times(found) == (None, None, 300, 1000)


def test_a_pause_that_was_right() -> None:
    """LiveKit: the interruption counts from the pause. Break: in turns/ledger.py, ``_escalated_doubt``, find none."""
    found = only(
        [
            *ANSWER, (3.25, "on_false_interrupt_start", 2.0), (3.9, "on_false_interrupt_escalated"),
            (3.25, "happened", "on_interrupted"), (3.25, "happened", "on_agent_speech_end"), (3.95, "complete_turn"),
            (3.0, "happened", "on_user_speech_start"), *WAIT,
        ]
    )  # fmt: skip
    assert (found.kind, found.stopped, found.silent, found.silent_known) == ("escalated", 3.25, 3.25, True)
    assert times(found) == (250, 250, 250, 1250)


def test_a_pause_that_was_right_without_saying_so() -> None:
    """Break: in turns/ledger.py, ``_escalated_doubt``, check only for an escalation."""
    calls: list[Call] = [*ANSWER, (3.0, "on_user_speech_start"), (3.25, "on_false_interrupt_start", 2.0)]
    found = only([*calls, (4.0, "on_interrupted"), (4.0, "complete_turn")])
    assert (found.kind, found.stopped, found.silent) == ("escalated", 3.25, 3.25)
    assert times(found) == (250, 250, 250, 1250)


def test_a_pause_is_not_the_barge_in_after_it() -> None:
    """Break: in turns/ledger.py, ``_escalated_doubt``, find the last one always."""
    first, second = barge_ins(
        log(
            [
                *ANSWER, (2.5, "on_user_speech_start"), (2.6, "on_false_interrupt_start", 0.2),
                (2.7, "on_user_speech_end"), (2.8, "on_false_interrupt_resume"), (3.2, "on_user_speech_start"),
                (3.8, "on_interrupted"),
            ]
        )
    )  # fmt: skip
    assert (first.kind, second.kind) == ("false", "true")
    assert (times(first), times(second)) == ((100, 100, 100, 600), (600, 600, 600, 1600))


def test_a_back_channel() -> None:
    """Break: in turns/question.py, ``words_of``, continue after the user spoke again."""
    calls: list[Call] = [
        *ANSWER, (3.0, "on_user_speech_start"), (3.5, "on_user_speech_end"), (3.6, "on_stt_complete", "Mm-hm."),
        (6.3, "on_agent_speech_end"), (6.3, "complete_turn"), (7.0, "on_user_speech_start"),
        (8.0, "on_user_speech_end"), (8.2, "on_stt_complete", "And then?"),
    ]  # fmt: skip
    found = only(calls)
    assert (found.kind, found.words, found.stopped, found.silent) == ("overlap", "Mm-hm.", None, None)
    assert times(found) == (None, None, 500, 1000)


def test_an_overlap_that_nobody_notices() -> None:
    """Short overlaps are normal at turn changes. Break: make `MIN_OVERLAP_NS` 1."""
    calls: list[Call] = [
        *ANSWER,
        (6.0, "on_user_speech_start"),
        (6.1, "on_agent_speech_end"),
        (7.0, "on_user_speech_end"),
    ]
    assert barge_ins(log(calls)) == []


def test_livekit_s_own_events_tell_of_a_voice_that_was_no_turn() -> None:

    def state(reported: float, at: float, old: str, new: str) -> Call:
        event = {"old_state": old, "new_state": new, "created_at": 10**9 + at}
        return reported, "framework_event", "user_state_changed", event

    heard = [state(3.1, 3.0, "listening", "speaking"), state(3.6, 3.5, "speaking", "listening")]
    found = only([*ANSWER, *heard, (3.6, "on_stt_complete", "Mm-hm."), (6.3, "on_agent_speech_end")])
    assert (found.kind, found.user_start, found.user_end, found.words) == ("overlap", 3.0, 3.5, "Mm-hm.")


def test_a_voice_that_is_told_twice_is_one() -> None:
    """The hooks of a barge-in come late and together. Break: make `SAME_NS` 0."""
    noise = {"old_state": "listening", "new_state": "speaking", "created_at": 10**9 + 3.0}
    silence = {"old_state": "speaking", "new_state": "listening", "created_at": 10**9 + 3.5}
    found = only(
        [
            *ANSWER, (3.1, "framework_event", "user_state_changed", noise),
            (3.6, "framework_event", "user_state_changed", silence), (3.8, "on_interrupted"),
            (3.8, "on_agent_speech_end"), (3.8, "complete_turn"), (3.0, "happened", "on_user_speech_start"),
            (3.48, "happened", "on_user_speech_end"), (4.2, "on_stt_complete", "Wait, what?"),
        ]
    )  # fmt: skip
    assert (found.kind, found.user_start, found.user_end, found.words) == ("true", 3.0, 3.48, "Wait, what?")


def test_a_framework_that_kept_too_much_is_not_believed() -> None:
    """Break: make `PLAUSIBLE` a hundred."""
    heard = (2.4, "set_agent_response", "We take everything back within thirty days.")  # reported as it is heard
    calls = [call for call in ANSWER if call[1:] != heard[1:]]
    found = only([FRAMEWORK, *calls, heard, (2.5, "on_user_speech_start"), (3.0, "on_interrupted")])
    assert (found.said, found.unsaid, found.estimated) == ("We take", "everything back within thirty days.", True)


def test_an_agent_that_talks_over_the_user() -> None:
    """Break: in turns/ledger.py, ``_record``, count from the user's start."""
    calls: list[Call] = [*TEN_A_SECOND, (1.5, "on_user_speech_start"), *ANSWER[5:]]
    over = only([*calls, (2.5, "on_user_speech_end"), (6.0, "on_agent_speech_end")])
    assert (over.kind, over.user_start, over.agent_start, over.into_call) == ("overlap", 1.5, 2.0, 2.0)
    assert times(over) == (None, None, 500, 0)
    cut = only([*calls, (2.75, "on_interrupted")])
    assert (cut.kind, *times(cut)) == ("true", 750, 750, 750, 750)


def test_an_answer_that_was_not_heard_yet() -> None:
    """Break: in turns/ledger.py, ``_interruption_record``, drop those without speech."""
    found = only([*TEN_A_SECOND, (2.0, "on_llm_start"), (3.0, "on_user_speech_start"), (3.5, "on_interrupted"), *WAIT])
    assert (found.kind, found.agent_start, found.user_start, found.words) == ("phantom", None, 3.0, "Wait, what?")
    assert times(found) == (None, 500, None, None)


def test_an_interruption_by_nobody() -> None:
    """An answered transcript cannot interrupt. Break: in ``_recognised_during``, accept any transcript."""
    asked: list[Call] = [(1.2, "on_stt_complete", "And then?"), (1.3, "set_user_transcript", "And then?")]
    found = only([*TEN_A_SECOND, (1.1, "start_turn"), *asked, *ANSWER[5:], (2.5, "on_interrupted")])
    assert (found.kind, found.agent_start, found.user_start) == ("phantom", 2.0, None)
    assert times(found) == (None, None, None, 500)
    assert (found.said, found.unsaid) == ("We", "take everything back within thirty days.")


def test_a_voice_of_long_ago_interrupts_nobody() -> None:
    """Break: make `RECENT_NS` an hour."""
    first, second = barge_ins(
        log([*ANSWER, (2.1, "on_user_speech_start"), (2.3, "on_user_speech_end"), (5.4, "on_interrupted")])
    )
    assert (first.kind, second.kind, second.user_start) == ("overlap", "phantom", None)


def test_the_local_detector_counts() -> None:
    """And the end it gives."""
    found = only(
        [
            *ANSWER, (2.1, "set_local_vad_user_speech", True), (2.5, "on_user_speech_start"),
            (3.0, "on_user_speech_start", True), (3.6, "on_user_speech_end"),
            (3.9, "on_user_speech_end", True, 103.5), (6.3, "on_agent_speech_end"),
        ]
    )  # fmt: skip
    assert (found.user_start, found.user_end, found.overlap_ms) == (3.0, 3.5, 500)


def test_a_second_start_is_the_same_speech_again_unless_more_was_synthesised() -> None:
    over: list[Call] = [(3.0, "on_user_speech_start"), (3.5, "on_user_speech_end"), (6.0, "on_agent_speech_end")]
    same = only([*ANSWER, (2.5, "on_agent_speech_start"), *over])
    assert (same.agent_start, same.agent_heard_ms) == (2.0, 1000)
    other = only([*ANSWER, (2.4, "on_tts_start"), (2.5, "on_agent_speech_start"), *over])
    assert (other.agent_start, other.agent_heard_ms) == (2.5, 500)


@pytest.mark.parametrize("odd", [105.0, 1e300, "soon", None])
def test_an_end_that_cannot_be_is_when_it_was_told(odd: object) -> None:
    found = only([*ANSWER, (3.0, "on_user_speech_start"), (3.9, "on_user_speech_end", False, odd)])
    assert found.user_end == 3.9


def test_no_time_is_negative() -> None:
    """Clocks may put the interruption before the speech. Break: in turns/ledger.py, ``_ms``, allow negative times."""
    calls: list[Call] = [(2.5, "on_user_speech_start"), (3.5, "on_agent_speech_start")]
    found = only([*calls, (3.0, "happened", "on_interrupted")])
    assert times(found) == (None, None, 0, 0)


def test_origins_share_a_clock() -> None:
    """A different process records the user, on its own monotonic clock. Break: leave the offset 0."""
    events = log([*ANSWER, (3.2, "on_user_speech_start"), (3.8, "on_interrupted")])
    moved = [
        Event(e.session_id, "other", 0, e.hook, 1, e.perf_ns + 5 * 10**9, e.wall_ns, e.payload)
        for e in events if e.hook == "on_user_speech_start"
    ]  # fmt: skip
    rest = [e for e in events if e.hook != "on_user_speech_start"]
    rest = [Event(e.session_id, e.origin, n, e.hook, 1, e.perf_ns, e.wall_ns, e.payload) for n, e in enumerate(rest)]
    (found,) = barge_ins(canonical([*rest, *moved]))
    assert times(found) == (600, 600, 600, 1800)


# laws -----------------------------------------------------------------------------------------------------------

SPEECH = st.sampled_from(
    [
        "on_user_speech_start", "on_user_speech_end", "on_agent_speech_start", "on_agent_speech_end", "on_interrupted",
        "on_false_interrupt_start", "on_false_interrupt_resume", "on_false_interrupt_escalated", "on_stt_complete",
        "set_user_transcript", "set_agent_response", "add_tts_characters", "on_tts_start", "start_turn",
        "complete_turn", "set_local_vad_user_speech", "set_framework",
    ]
)  # fmt: skip


@st.composite
def odd_speech(draw: st.DrawFn) -> list[Event]:
    """Speech hooks in any order, with arbitrary arguments, some back-dated."""
    perf, wall, events = 10**12, 10**18, []
    for seq, hook in enumerate(draw(st.lists(SPEECH, max_size=30))):
        step = draw(st.sampled_from([0, 10**6, 10**8, 10**9]))
        perf, wall = perf + step, wall + step
        args = {
            name: draw(st.one_of(st.just("some words of it"), st.just(1000.5), JSON))
            for name in draw(st.sets(st.sampled_from(ARGUMENTS)))
        }
        back = {"$happened_ns": perf - draw(st.sampled_from([10**8, 10**9]))} if draw(st.integers(0, 4)) == 0 else {}
        events.append(Event("s", "o", seq, hook, 1, perf, wall, orjson.dumps(back | args).decode()))
    return events


ARGUMENTS = ["at", "local_vad", "transcript", "response", "count", "pause_duration", "owns", "name"]


def holds(events: list[Event]) -> None:
    found = barge_ins(events)
    assert orjson.dumps([measure for record in found for measure in times(record)])
    assert found == barge_ins(list(events))
    interruptions = [n for n, event in enumerate(events) if event.hook == "on_interrupted"]
    assert [r.at for r in found if events[r.at].hook == "on_interrupted"] == interruptions
    turns = len(read(events).turns)
    for record in found:
        event = events[record.at]
        assert (event.origin, event.seq) == (record.origin, record.seq)
        assert all(ms is None or (ms >= 0 and math.isfinite(ms)) for ms in times(record))
        assert (record.silent is None) or record.stopped is not None
        if record.overlap_ms is not None and event.hook in ("on_interrupted", "start_turn"):
            assert record.yield_ms is None or record.overlap_ms <= record.yield_ms
            assert record.agent_heard_ms is not None
            assert record.overlap_ms <= record.agent_heard_ms
        assert (record.agent_start is None) == (record.agent_heard_ms is None)
        assert record.turn is None or 1 <= record.turn <= turns


@given(streams(max_size=60) | sessions().map(canonical))
def test_laws_of_any_session(events: list[Event]) -> None:
    holds(events)


@given(odd_speech())
def test_laws_of_odd_speech(events: list[Event]) -> None:
    holds(events)


# real calls -----------------------------------------------------------------------------------------------------

LETS = "Let me read you the full return policy."
REAL = {
    # for each record its kind, yield, overlap, how long the agent was heard (ms), and the end of what it said
    "barge_in_vad": [("true", 501, 501, 2219, LETS)],
    "barge_in_words_only": [("true", 381, 381, 2641, LETS + " You can")],
    "barge_in_by_final": [("true", 2860, 2160, 5103, "within thirty days of delivery. The")],
    "backchannel_ignored": [("overlap", None, 603, 2255, None), ("overlap", None, 565, 4832, None)],
    "false_interrupt_resume": [("overlap", None, 983, 2277, None)],  # VideoSDK 1.0.2 pauses without telling
    "false_interrupt_escalated_by_words": [("true", 1120, 1120, 3447, "You can return any item")],
    "false_interrupt_still_speaking": [("true", 1302, 1302, 3519, "You can return any item within")],
    "api_interrupt": [("phantom", None, None, 1507, "Let me read you the full"), ("phantom", *[None] * 4)],
    "barge_in_while_thinking": [("phantom", *[None] * 4)],
    "barge_in_at_end_of_playback": [
        ("true", 504, 504, 730, "Sure,"), ("phantom", *[None] * 4),  # the end overlaps by 81 ms, too short to notice
    ],
    "non_interruptible_say": [("overlap", None, 2038, 1154, None)],
    "user_talks_over_greeting": [("true", 501, 501, 1563, "thanks for calling. How")],
    "realtime_inference_late_transcript": [("true", 1, 1, 2890, None)],
    "close_while_agent_speaking": [],
    "close_while_user_speaking": [],
    "normal_cascading": [],
    "noise_discarded": [],
    "say_only": [],
}  # fmt: skip


def whole(ms: float | None) -> int | None:
    return None if ms is None else round(ms)


def test_real_calls() -> None:
    """Each was verified event by event. Break: in turns/ledger.py, ``_overlaps``, find none."""
    seen = {}
    for place, recording in read_recordings(FIXTURES / "recordings.jsonl.gz"):
        events = events_of(place, recording)
        holds(events)
        found = barge_ins(events)
        seen[recording.name] = found
        if recording.name in REAL:
            numbers = [(r.kind, whole(r.yield_ms), whole(r.overlap_ms), whole(r.agent_heard_ms)) for r in found]
            assert numbers == [expected[:4] for expected in REAL[recording.name]], recording.name
            for record, (*_, said) in zip(found, REAL[recording.name], strict=True):
                assert (record.said or "").endswith(said or ""), recording.name
                assert (record.said is None) == (said is None), recording.name
    assert [r.words for r in seen["backchannel_ignored"]] == ["Okay.", "Right."]
    assert [r.words for r in seen["barge_in_vad"]] == ["Wait, stop, I meant the other order please."]
    assert [r.words for r in seen["false_interrupt_still_speaking"]] == [None], "it was noise"
    assert set(seen) >= set(REAL)


def test_measures_have_them() -> None:
    """Break: in measures/reading.py, ``_barge_ins``, return nothing."""
    for place, recording in read_recordings(FIXTURES / "recordings.jsonl.gz"):
        if recording.name in ("barge_in_vad", "backchannel_ignored"):
            found = [(whole(m.yield_ms), whole(m.overlap_ms)) for m in measures(events_of(place, recording))]
            assert [pair for pair in found if pair != (None, None)] == {
                "barge_in_vad": [(501, 501)], "backchannel_ignored": [(None, 1168)],
            }[recording.name]  # fmt: skip


# the command line -----------------------------------------------------------------------------------------------


@pytest.fixture
def imported(program: Program) -> Program:
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    return program


def test_the_command_lists_them(imported: Program) -> None:
    """Break: in turnlog/cli/commands/barge_ins.py, ``_show``, leave out what is estimated."""
    shown = imported.run("barge-ins", "barge_in_vad", "backchannel_ignored").stdout
    assert "3 barge-ins in 2 sessions: 2 overlap, 1 true" in shown
    line = next(line for line in shown.splitlines() if "barge_in_vad" in line)
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells[1:5] == ["true", "+8.5 s", "≥ 501", "501"]
    assert cells[5:] == [f"~ {LETS}", "~ You can return any item within thirty d…"]
    every = orjson.loads(imported.run("barge-ins", "--all", "--json").stdout)
    assert len(every) == 98
    (one,) = [record for record in every if record["session_id"] == "barge_in_vad"]
    assert (one["kind"], one["seq"], round(one["yield_ms"]), one["estimated"]) == ("true", 105, 501, True)
    assert "barge-ins" not in imported.fails("barge-ins", "nobody").split(":")[0]


def test_replay_shows_them_under_their_turn(imported: Program) -> None:
    """Break: in turnlog/cli/render/reading.py, ``show_reading``, show those of every turn."""
    cut = f"+8.5 s: cut off after 2.2 s of speech: yielded in ≥ 501 ms, overlap 501 ms, had said about “{LETS}”"
    shown = imported.run("replay", "barge_in_vad", COLUMNS="300").stdout
    assert shown.count(cut + " and not “You can return any item within thirty d…” (“Wait, stop, I meant") == 1
    assert shown.index("turn 2") < shown.index(cut) < shown.index("turn 3")
    assert cut in imported.run("replay", "barge_in_vad", "--turn", 2, COLUMNS="300").stdout
    assert "cut off" not in imported.run("replay", "barge_in_vad", "--turn", 3).stdout
    went_on = imported.run("replay", "backchannel_ignored", COLUMNS="300").stdout
    assert "+5.6 s: the user spoke over the agent for 603 ms, and it went on (“Okay.”)" in went_on
    stopped = imported.run("replay", "api_interrupt", COLUMNS="300").stdout
    assert "cut off after 1.5 s of speech, though no one spoke: had said about “Let me read you the full”" in stopped
    assert "interrupted before it was heard" in stopped


@pytest.mark.parametrize(
    ("calls", "sentence"),
    [
        (
            [
                *ANSWER, (3.0, "on_user_speech_start"), (3.25, "on_false_interrupt_start", 2.0),
                (3.5, "on_user_speech_end"), (5.25, "on_false_interrupt_resume"),
            ],
            "paused after 1.2 s of speech for a false interruption, and went on 2,000 ms later",
        ),
        (
            [*ANSWER, (3.0, "on_false_interrupt_start"), (3.3, "on_false_interrupt_resume")],
            "noise after 1.0 s of speech, and the agent went on",
        ),
        (
            [
                *ANSWER, (3.0, "on_user_speech_start"), (3.25, "on_false_interrupt_start", 2.0),
                (4.0, "on_interrupted"), (4.0, "on_agent_speech_end"),
            ],
            "cut off after 1.2 s of speech, first taken for a false interruption: yielded in 1,000 ms, "
            "overlap 250 ms, had said about “We take” and not “everything back within thirty days.”",
        ),
        (
            [(1.0, "on_user_speech_start"), (2.0, "on_agent_speech_start"), (2.5, "on_user_speech_end"),
             (3.0, "on_agent_speech_end")],
            "the agent spoke over the user for 500 ms, and it went on",
        ),
    ],
)  # fmt: skip
def test_the_sentences(calls: list[Call], sentence: str) -> None:
    assert [written(entry) for entry in entries(read(log(calls)))] == [sentence]


def test_what_was_forgotten_is_not_shown(program: Program) -> None:
    pytest.importorskip("cryptography")
    store = open_store(program.db, master_key=base64.b64encode(bytes(32)).decode())
    store.append(log([*ANSWER, (3.2, "on_user_speech_start"), (3.8, "on_interrupted"), *WAIT]))
    store.close()
    shown = program.run("barge-ins", "s").stdout + program.run("replay", "s").stdout
    shown += program.run("barge-ins", "s", "--json").stdout
    assert "cut off after 1.8 s of speech: yielded in ≥ 600 ms" in shown
    assert "everything" not in shown
    assert "Wait" not in shown
