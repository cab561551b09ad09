"""Each decision of the caller's reading on a minimal log that shows it: seconds, hooks and expected result."""

from __future__ import annotations

import pytest

from eventstore import Event
from projections.caller import Reading, read
from projections.turns import answer, barge_in, question  # noqa: F401 - they enter their decisions
from projections.turns.decisions import DECISIONS
from support.script import answered, log


def asked(at: float = 1.0, words: str = "How are you?") -> list[str]:
    """A question of one second, sent to the model half a second later."""
    return [
        f"{at} voice+", f"{at + 1} voice-", f"{at + 1} stt+", f"{at + 1.2} final {words}", f"{at + 1.5} words {words}",
    ]  # fmt: skip


def said(r: Reading) -> list[str | None]:
    return [turn.user_speech for turn in r.turns]


def waited(r: Reading) -> list[float | None]:
    return [None if turn.e2e_latency is None else round(turn.e2e_latency) for turn in r.turns]


CASES: dict[str, tuple[list[str], list[str | None], list[float | None]]] = {
    # by decision: the log, what was asked turn by turn, and what was waited
    "voices_of_words": (
        ["0 voice+", "0.4 voice-", "0.4 stt+", "0.6 final Hello there.", *asked(3), *answered(4.5, 6), "7 end"],
        ["Hello there.", "How are you?"], [None, 1000],
    ),
    "voices_in_a_row": (
        ["0 voice+", "0.5 voice-", "1 voice+", "2 voice-", "2.5 words Tell me.", *answered(2.5, 5)],
        ["Tell me."], [1000],
    ),
    "same_question": (
        ["1 voice+", "1.5 preflight", "1.5 llm+", "2 voice-", "2.2 cut", "2.2 words Hi.", *answered(2.3, 4)],
        ["Hi."], [800],
    ),
    "continues_question": (
        [*asked(words="I want"), "2.5 llm+", "3 voice+", "3.5 voice-", "3.6 final to go", "3.8 words I want to go",
         *answered(3.8, 6)],
        ["I want to go"], [800],
    ),
    "late_words": (
        ["0 realtime", "1 voice+", "2 voice-", "2.5 agent+", "3 agent-", "6 voice+", "6.5 words Are you there?",
         "7 voice-", "7.5 agent+", "8 agent-", "8.5 words And now?"],
        ["Are you there?", "And now?"], [500, 500],
    ),
    "words_of_run": (
        ["1 llm+", "1.01 words Hello.", "1.2 token", "1.2 tts+", "1.5 byte", "1.5 agent+"], ["Hello."], [500],
    ),
    "missed_by_detector": (["1 words Hello.", *answered(1, 3)], ["Hello."], [500]),
    "end_of_missed": (["1 stt+", "2 final Hello.", "2.6 words Hello.", *answered(2.6, 5)], ["Hello."], [1100]),
    "stands_for_typed": (
        ["1 words Hello.", "1.0001 voice+", "1.0002 voice-", *answered(1.001, 3), *asked(4), *answered(5.5, 7)],
        ["Hello.", "How are you?"], [501, 1000],
    ),
    "follows_a_tool": (
        [*asked(), *answered(2.5, 4), "6 tool 4 6", *answered(6, 8)], ["How are you?"], [1000],
    ),
    "caller_of_tool": (
        [*asked(), *answered(2.5), "4 voice+", "4.2 cut", "5 voice-", "5.2 final Stop.", "5.5 words Stop.",
         *answered(5.5, 8), "9 tool 3.2 4.1"],
        ["How are you?", "Stop."], [1000, 1000],
    ),
    "run_is_due": (
        ["1 voice+", "1.5 final One", "2 words typed", "2 llm+", "2.3 voice-", "2.4 tts+", "2.5 byte", "2.5 agent+",
         "4 agent-"],
        ["One", "typed"], [None, 500],
    ),
    "speaks_unasked": (["1 tts+", "1.2 byte", "1.2 agent+", "2 agent-"], [None], [None]),
    "filler": (
        [*asked(), "2.5 llm+", "2.7 token", "2.9 llm-", "2.9 tool 2.9 4", "3 say One moment.", "3 tts+", "3.2 byte",
         "3.2 agent+", "3.8 agent-", *answered(4, 6)],
        ["How are you?"], [1200],
    ),
    "goes_on_speaking": (
        [*asked(), *answered(2.5, 4), "4.3 agent+", "6 agent-"], ["How are you?"], [1000],
    ),
    "voice_behind": (
        [*asked(), *answered(2.5), "4 voice+", "4.5 cut", *asked(4, "Stop.")[1:], *answered(5.5, 8)],
        ["How are you?", "Stop."], [1000, 1000],
    ),
    "with_the_cut": (
        [*asked(), *answered(2.5), "4 voice+", "4.3 voice-", "4.3 cut", "5.5 voice+", "6 voice-", "6.2 final Stop.",
         "6.5 words Stop.", *answered(6.5, 8)],
        ["How are you?", "Stop."], [1000, 1000],
    ),
    "carried_over": (
        [*asked(), *answered(2.5), "4 voice+", "4.3 voice-", "4.5 cut", "5 voice+", "6 voice-", "6.2 final Stop.",
         "6.5 words Stop.", *answered(6.5, 8)],
        ["How are you?", "Stop."], [1000, 1000],
    ),
    "ended_under": (
        ["0 realtime", "1 voice+", "2 voice-", "2.5 agent+", "4 voice+", "4.2 agent-", "5 voice-", "5.5 agent+",
         "6 agent-"],
        [None, None], [500, 500],
    ),
    "back_channel": (
        [*asked(), *answered(2.5, 6), "4 voice+", "4.3 voice-", *answered(8, 9)], ["How are you?", None], [1000, None],
    ),
    "of_no_question": (
        [*asked(), *answered(2.5), "4 voice+", "4.3 voice-", "6 agent-", "7 end"], ["How are you?"], [1000],
    ),
    "words_at_the_end": (
        [*asked(), *answered(2.5, 4), *asked(5, "Hello?")[:4], "7 end"], ["How are you?", "Hello?"], [1000, None],
    ),
}  # fmt: skip


def test_every_decision_has_its_smallest_log() -> None:
    assert set(CASES) == set(DECISIONS)
    assert all(sentence.endswith(".") for sentence in DECISIONS.values())


@pytest.mark.parametrize("name", CASES)
def test_smallest_log(name: str) -> None:
    lines, words, waits = CASES[name]
    lines = sorted(lines, key=lambda line: float(line.split(" ", 1)[0]))
    r = read(log(*lines))
    assert (said(r), waited(r)) == (words, waits)


def test_a_decision_names_its_event() -> None:
    turn = read(log(*asked(), *answered(2.5, 4))).turns[0]
    assert {"decision": "voices_of_words", "at": 4} in turn.decisions


def test_an_answer_that_is_written_before_it_is_synthesised_is_no_turn_of_its_own() -> None:
    """Break: in turns/exchange.py, let `is_over` ignore unspoken output."""
    later = ["6 llm+", "6.2 token", "6.5 llm-", "6.6 tts+", "6.8 byte", "6.8 agent+", "8 agent-"]
    (turn,) = read(log(*asked(), *answered(2.5, 4), "6 tool 4 6", *later)).turns
    assert turn.response is not None
    assert (turn.response["ms"], turn.response["time_to_answer_ms"]) == pytest.approx((1000, 4800))


def test_a_fallback_may_have_any_names_in_it() -> None:
    made = log(*asked())
    payload = '{"event_data":{"kind":"x","now":1,"component_type":"LLM"}}'
    event = Event("s", "o", 9, "on_fallback_event", 1, 10**10, 2 * 10**18, payload)
    assert read([*made, event]).turns[0].fallbacks[0]["kind"] == "x"


def test_final_words_at_one_moment_are_each_kept() -> None:
    """Interim transcripts right after a final one are not a run of their own.

    Break: in timeline/handlers/stt.py, let a final be of the run that has just ended, too; or ``_open_run`` of none.
    """
    lines = ["1 voice+", "2 voice-", "2 stt+", "2.2 final Two of", "2.201 final them.", "2.202 preflight"]
    (turn,) = read(log(*lines, "2.5 words Two of them.", *answered(2.5, 4))).turns
    assert [run.get("transcript") for run in turn.stt] == ["Two of", "them."]
