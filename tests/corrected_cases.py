"""What each switch of ``corrected`` changes, on the smallest log that shows it: `test_rules` runs them, off and on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from projections.reference.metrics import Turn
from projections.reference.replay import Call
from projections.reference.rules import VIDEOSDK_1_0

Log = list[tuple[int, str, dict[str, Any]]]


class Case(NamedTuple):
    """A log (milliseconds, hook, arguments), what to look at, and what is there without and with the switch."""

    log: Log
    seen: Callable[[Call], Any]
    off: Any
    on: Any
    under: str = VIDEOSDK_1_0.name


def at(ms: int, *hooks: str) -> Log:
    return [(ms, hook, {}) for hook in hooks]


def sent(field: str) -> Callable[[Call], Any]:
    return lambda call: call.payloads[-1].get(field)


def counts(turn: Turn) -> tuple[int, int, int]:
    return len(turn.vad_metrics), len(turn.stt_metrics), len(turn.eou_metrics)


def every(call: Call) -> list[Turn]:
    """In the order in which they were opened."""
    turns = [*call.turns, *(discarded.turn for discarded in call.discarded)]
    return sorted(turns, key=lambda turn: turn.timestamp) + ([call.current_turn] if call.current_turn else [])


def user_speech(call: Call) -> list[tuple[float | None, float | None]]:
    return [(turn.user_speech_start_time, turn.user_speech_end_time) for turn in every(call)]


GREETING = at(0, "on_agent_speech_start")
BARGE_IN = [
    *GREETING,
    *at(1000, "on_user_speech_start"), *at(1500, "on_interrupted"), *at(1600, "on_user_speech_end"),
    *at(1600, "on_stt_start"), *at(1700, "on_stt_complete", "on_eou_start"), *at(1800, "on_eou_complete"),
    (1900, "set_user_transcript", {"transcript": "stop"}), *at(2000, "start_turn"),
]  # fmt: skip
ANSWER = at(0, "on_llm_start") + at(300, "on_llm_first_token") + at(500, "on_llm_complete")
TTS = at(0, "on_tts_start") + at(200, "on_tts_first_byte")
MODEL = {"component_type": "llm", "provider_class": "A", "model_name": "a"}
USAGE = {"usage": {"completion_tokens": 50}}

CASES = {
    "barge_in_moves_on": Case(
        BARGE_IN, lambda call: [(counts(turn), turn.user_speech) for turn in every(call)],
        [((1, 1, 1), "stop"), ((0, 0, 0), None)], [((0, 0, 0), None), ((1, 1, 1), "stop")],
    ),
    "speech_goes_on": Case(
        [*GREETING, *TTS, *at(1000, "on_user_speech_start"), *at(1500, "start_turn"), *at(1800, "on_user_speech_end")],
        user_speech, [(2.0, None), (None, None)], [(None, None), (2.0, 2.8)],
    ),
    "words_wait": Case(
        [(0, "set_user_transcript", {"transcript": "a"}), *ANSWER, (600, "set_user_transcript", {"transcript": "b"}),
         *at(700, "start_turn")],
        lambda call: call.current_turn and call.current_turn.user_speech, None, "b",
        "videosdk-1.0+components_open_turn",
    ),
    "noise_keeps_its_start": Case(
        [*at(0, "start_turn", "on_eou_start", "on_eou_complete", "complete_turn"),
         *at(100, "on_user_speech_start"), *at(200, "on_user_speech_end"), *at(300, "complete_turn"),
         *at(5000, "on_user_speech_start")],
        lambda call: call.current_turn and call.current_turn.user_speech_start_time, 1.1, 6.0,
    ),
    "agent_ends_with_turn": Case(
        [*GREETING, *at(1500, "on_interrupted"), *at(1600, "start_turn"), *at(1700, "on_interrupted", "complete_turn")],
        lambda call: [(turn.agent_speech_duration, turn.is_interrupted) for turn in every(call)],
        [(None, True), (None, True)], [(1500.0, True), (None, False)],
    ),
    "own_start": Case(
        [*at(0, "start_turn", "on_llm_start"), *at(100, "start_turn"), *at(200, "on_llm_start", "complete_turn"),
         (300, "set_llm_input", {"text": "x"}), *at(900, "on_llm_complete")],
        lambda call: call.current_turn and call.current_turn.llm_metrics[0].llm_duration, 700.0, None,
        "videosdk-1.0+components_open_turn+content_kept",
    ),
    "components_open_turn": Case(
        [(0, "add_function_tool_call", {"tool_name": "t"}), *at(0, "on_knowledge_base_start", "on_llm_start")],
        lambda call: call.current_turn and (counts(call.current_turn), call.current_turn.function_tools_called),
        None, ((0, 0, 0), ["t"]),
    ),
    "errors_kept": Case(
        [(0, "add_error", {"source": "STT", "message": "gone"})],
        lambda call: [error["message"] for error in call.session.errors], [], ["gone"],
    ),
    "content_kept": Case(
        [*at(0, "start_turn", "complete_turn", "start_turn"), (0, "add_error", {"source": "LLM", "message": "no"}),
         *at(0, "complete_turn", "start_turn", "complete_turn")],
        lambda call: (len(call.turns), len(call.discarded)), (1, 2), (2, 1),
    ),
    "providers_of_turn": Case(
        [(0, "set_provider_info", MODEL), *at(0, "start_turn"), *ANSWER,
         (600, "set_provider_info", MODEL | {"model_name": "b"}), *at(700, "complete_turn")],
        sent("llmModelName"), "b", "a",
    ),
    "e2e_after_barge_in": Case(
        [*GREETING, *at(0, "on_eou_start"), *at(100, "on_eou_complete"), *at(1000, "on_interrupted", "on_eou_start"),
         *at(1500, "on_eou_complete"), *at(1600, "complete_turn")],
        sent("e2eLatency"), 500.0, 100.0,
    ),
    "e2e_of_answer": Case(
        [*at(0, "on_eou_start"), *at(100, "on_eou_complete", "on_agent_speech_start"), *at(1000, "on_eou_start"),
         *at(1500, "on_eou_complete"), *at(1600, "complete_turn")],
        lambda call: (sent("e2eLatency")(call), sent("eouLatency")(call)), (500.0, 500.0), (100.0, 100.0),
    ),
    "llm_calls_apart": Case(
        [*at(0, "start_turn"), *ANSWER, (500, "set_llm_usage", USAGE), *at(700, "on_llm_start"),
         *at(900, "on_llm_first_token"), *at(1000, "on_llm_complete"), (1000, "set_llm_usage", USAGE),
         *at(1000, "complete_turn")],
        lambda call: ([llm.llm_ttft for llm in call.turns[0].llm_metrics], sent("completionTokens")(call)),
        ([200.0], 50), ([300.0, 200.0], 100),
    ),
    "tts_runs_apart": Case(
        [*TTS, (300, "add_tts_characters", {"count": 5}), *at(300, "on_tts_start"), *at(400, "on_tts_first_byte"),
         (500, "add_tts_characters", {"count": 7}), *at(500, "complete_turn")],
        lambda call: ([tts.ttfb for tts in call.turns[0].tts_metrics], sent("ttsCharacters")(call)),
        ([100.0], 12), ([200.0, 100.0], 12),
    ),
    "tts_latency_at_once": Case([*TTS, *at(300, "complete_turn")], sent("ttsLatency"), None, 200.0),
    "tts_ends_with_speech": Case(
        [*TTS, *at(250, "on_agent_speech_start"), *at(900, "on_agent_speech_end", "complete_turn")],
        lambda call: call.turns[0].tts_metrics[0].tts_end_time, 1.2, 1.9,
    ),
    "tokens_per_second_late": Case(
        [*at(0, "start_turn", "on_llm_start"), (400, "set_llm_usage", USAGE),
         *at(500, "on_llm_complete", "complete_turn")],
        sent("tokensPerSecond"), None, 100.0,
    ),
    "negatives_reported": Case(
        [*at(0, "start_turn", "on_eou_start"), (0, "on_eou_complete", {}),
         (0, "add_function_tool_call", {"tool_name": "t", "start_time": 5.0, "end_time": 4.0}),
         (0, "on_knowledge_base_start", {}), (0, "on_knowledge_base_complete", {"documents": [], "scores": [-0.5]}),
         (0, "complete_turn", {})],
        lambda call: (
            call.turns[0].function_tool_metrics[0].latency, sent("kbScores")(call),
            [(error.turn, error.what, error.ms) for error in call.clock_errors],
        ),
        (-1000.0, [0], []), (None, [-0.5], [(1, "function_tool_metrics[0].latency", -1000.0)]),
    ),
    "interruptions_recorded": Case(
        [*GREETING, *at(1000, "on_user_speech_start"), *at(1500, "on_interrupted"), *at(1600, "on_agent_speech_end"),
         *at(1700, "complete_turn")],
        lambda call: (found := call.turns[0].interruption_metrics) and found.interrupt_duration, None, 600.0,
        "videosdk-1.0+agent_ends_with_turn",
    ),
}  # fmt: skip
"""`one_clock` is in `test_corrected`, as it takes two origins; those of the spans are in `span_cases`."""
