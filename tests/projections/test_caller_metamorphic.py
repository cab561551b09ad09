"""Metamorphic tests: changes of a log that must not change its reading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import orjson
import pytest

from eventstore import Event
from projections.caller import Reading, read, reading_dict
from support.recorded import RECORDED, recorded, renumbered

SECOND = 1_000_000_000
VOICES = ("on_user_speech", "on_stt")
Hooks = list[tuple[float, str, str]]
"""Seconds after a moment, hook and arguments."""
VOICE: Hooks = [(0, "on_user_speech_start", "{}"), (0.3, "on_user_speech_end", "{}")]
FINAL: Hooks = [(0.3, "on_stt_start", "{}"), (0.45, "on_stt_complete", '{"transcript":"Mm-hm."}')]
BACK_CHANNELS: dict[str, Hooks] = {
    "a cough": VOICE,
    "words": [*VOICE, *FINAL],
    "words with interims": [*VOICE, (0.1, "on_stt_start", "{}"), (0.15, "on_stt_interim_end", "{}"), *FINAL],
    "words whose end is inferred": [
        *VOICE,
        *FINAL,
        (0.45, "on_eou_start", "{}"),
        (0.47, "on_eou_complete", "{}"),
        (0.47, "on_wait_for_additional_speech", '{"duration":0.5}'),
    ],
}


def placed(made: list[Event], at: int, hooks: Hooks) -> list[Event]:
    """The call with these hooks inserted at ``at``, in nanoseconds on its clock."""
    shift, added = made[0].wall_ns - made[0].perf_ns, []
    for seconds, hook, payload in hooks:
        perf_ns = at + int(seconds * SECOND)
        added.append(
            msgspec.structs.replace(
                made[0], hook=hook, perf_ns=perf_ns, wall_ns=perf_ns + shift, payload=payload, version=1
            )
        )
    return renumbered(sorted([*made, *added], key=lambda event: event.perf_ns))


def room(made: list[Event]) -> Iterator[int]:
    """Times during agent speech without user activity, and without an interruption nearby."""
    began = made[0].perf_ns
    for turn in read(made).turns:
        for speech in turn.agent_speeches:
            for part in (0.2, 0.5, 0.8):
                at = began + int((speech["start"] + (speech["end"] - speech["start"]) * part) * SECOND)
                if at + 0.55 * SECOND <= began + speech["end"] * SECOND and _is_quiet(made, at):
                    yield at


def _is_quiet(made: list[Event], at: int) -> bool:
    spoken = [event.hook for event in made if event.hook.startswith("on_user_speech") and event.perf_ns <= at]
    if spoken and spoken[-1] == "on_user_speech_start":
        return False
    for event in made:
        after = (event.perf_ns - at) / SECOND
        if (
            (event.hook.startswith(VOICES) and abs(after) < 1.2)
            or (event.hook == "on_interrupted" and -1 < after < 4.2)
            or (event.hook == "on_wait_for_additional_speech" and -2 < after < 1)
        ):
            return False
    return True


def without_indices(value: Any) -> Any:
    """The reading without event indices, which differ in a longer log, and without the ledger."""
    if isinstance(value, dict):
        return {key: without_indices(v) for key, v in value.items() if key not in ("at", "decisions", "barge_ins")}
    return [without_indices(each) for each in value] if isinstance(value, list) else value


def turns_of(r: Reading) -> Any:
    return without_indices(msgspec.to_builtins(r.turns))


@recorded
def test_a_back_channel_changes_the_ledger_and_nothing_else(made: list[Event]) -> None:
    """Break: in turns/question.py, let `back_channel` return False; in timeline/handlers/eou.py, set no voice."""
    before = read(made)
    expected, kinds = turns_of(before), sorted(record.kind for record in before.barge_ins)
    transcribed = any(event.hook == "on_stt_complete" for event in made)
    for at in room(made):
        for what, hooks in BACK_CHANNELS.items():
            if what == "a cough" or transcribed:
                after = read(placed(made, at, hooks))
                assert turns_of(after) == expected, what
                assert sorted(record.kind for record in after.barge_ins) == sorted([*kinds, "overlap"]), what
                assert len(after.discarded) == len(before.discarded) + 1, what


def delayed(made: list[Event], which: set[int], by: float) -> list[Event]:
    """The call with these events, by their indices, recorded ``by`` seconds later."""
    found: list[Event] = []
    late: list[Event] = []
    for at, event in enumerate(made):
        while late and late[0].perf_ns <= event.perf_ns:
            found.append(late.pop(0))
        if at in which:
            ns = int(by * SECOND)
            late.append(msgspec.structs.replace(event, perf_ns=event.perf_ns + ns, wall_ns=event.wall_ns + ns))
        else:
            found.append(event)
    return renumbered(found + late)


def attribution(made: list[Event]) -> list[Any]:
    """The assignment of texts, runs, tools and tokens to turns."""
    return [
        (t.user_speech, t.agent_speech, t.user_started, t.agent_started, t.tokens, len(t.llm), len(t.tts),
         [tool.get("name") for tool in t.tools])
        for t in read(made).turns
    ]  # fmt: skip


@recorded
@pytest.mark.parametrize("by", [0.02, 0.6, 4.0])
def test_late_usage_is_of_the_run_that_caused_it(made: list[Event], by: float) -> None:
    """Up to the next run's first token, as a log without run ids cannot resolve later usage.

    Break: in timeline/handlers/llm.py, return the latest run.
    """
    expected = attribution(made)
    for run in read(made).timeline.activities:
        if run.kind == "llm" and run.status == "done" and len(run.sources.get("tokens", ())) == 1:
            (at,) = run.sources["tokens"]
            tokens = (e.perf_ns for e in made[at:] if e.hook == "on_llm_first_token")
            late = min(by, (next(tokens, made[at].perf_ns + 10 * SECOND) - made[at].perf_ns) / SECOND - 0.001)
            assert attribution(delayed(made, {at}, late)) == expected


@recorded
@pytest.mark.parametrize("by", [0.02, 0.6, 4.0])
def test_a_late_report_of_a_tool_is_of_the_run_that_called_it(made: list[Event], by: float) -> None:
    """Break: in timeline/handlers/tools.py, let the call start when it is reported."""
    timed = []
    for event in made:
        if event.hook == "add_function_tool_call":
            times = dict.fromkeys(("start_time", "end_time"), event.perf_ns / SECOND)
            event = msgspec.structs.replace(  # noqa: PLW2901
                event, payload=orjson.dumps(orjson.loads(event.payload) | times).decode()
            )
        timed.append(event)
    tools = {at for at, event in enumerate(made) if event.hook == "add_function_tool_call"}
    assert attribution(delayed(timed, tools, by)) == attribution(timed)


@recorded
def test_late_final_words_are_of_the_voice_that_spoke_them(made: list[Event]) -> None:
    """The delay is shorter than the time until they are used.

    Break: in timeline/handlers/stt.py, give final words to the latest voice.
    """

    def words(made: list[Event]) -> list[Any]:
        return [(t.user_speech, t.user_started) for t in read(made).turns if not t.typed]

    expected = words(made)
    for at, event in enumerate(made):
        if event.hook == "on_stt_complete":
            used = next((e.perf_ns for e in made[at + 1 :] if e.hook.startswith(("on_llm", "on_tts", "set_"))), None)
            room = 0.1 if used is None else min(0.1, (used - event.perf_ns) / SECOND / 2)
            assert words(delayed(made, {at}, room)) == expected


@recorded
@pytest.mark.parametrize("by", [0.6, 2.0])
def test_late_words_of_a_realtime_model_shift_no_turn(made: list[Event], by: float) -> None:
    """Break: in turns/question.py, let `late_words` return None."""
    if read(made).timeline.realtime:
        late = {at for at, event in enumerate(made) if event.hook == "set_user_transcript"}
        assert attribution(delayed(made, late, by)) == attribution(made)


@recorded
def test_a_call_that_is_moved_in_time_moves_as_a_whole(made: list[Event]) -> None:
    """Break: in projections/timeline/fold.py, set `began` to 0."""
    by = 86_400 * SECOND
    moved = [msgspec.structs.replace(e, perf_ns=e.perf_ns + by, wall_ns=e.wall_ns + by) for e in made]
    if any("_time" in event.payload for event in made):
        return  # times that an agent handed over would have to move, too
    here, there = reading_dict(read(made)), reading_dict(read(moved))
    epochs = {"opened_at", "session_start_time", "session_end_time"}
    for name in ("turns", "discarded", "outside"):
        assert _without(there[name], epochs) == _without(here[name], epochs)


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(v, names) for key, v in value.items() if key not in names}
    return [_without(each, names) for each in value] if isinstance(value, list) else value


def test_there_are_calls_to_try() -> None:
    tried = sum(1 for made in RECORDED.values() for _at in room(made))
    assert tried > 200
