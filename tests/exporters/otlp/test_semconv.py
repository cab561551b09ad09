"""Attributes as OpenTelemetry GenAI and OpenInference name them: what they say, and of which type."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import HOOKS, Event
from exporters.otlp.semconv import TYPES, Attributes, attributes
from projections.reference.replay import Call, latency_of, replay
from projections.reference.state import Span
from support.program import FIXTURES
from support.strategies import streams
from turnlog.recordings import events_of, read_recordings

CALLS = {r.name: replay(events_of("", r)) for _place, r in read_recordings(FIXTURES / "recordings.jsonl.gz")}

# As the conventions define them; what is not here and not `turnlog.` must not be there.
TYPE_OF: dict[str, type] = {
    "session.id": str, "openinference.span.kind": str, "input.value": str, "output.value": str,
    "input.mime_type": str, "output.mime_type": str, "agent.name": str, "tool.name": str, "llm.model_name": str,
    "llm.provider": str, "llm.token_count.prompt": int, "llm.token_count.completion": int,
    "llm.token_count.total": int, "llm.token_count.prompt_details.cache_read": int,
    "llm.token_count.prompt_details.audio": int, "llm.token_count.completion_details.audio": int,
    "llm.token_count.completion_details.reasoning": int, "gen_ai.operation.name": str, "gen_ai.conversation.id": str,
    "gen_ai.provider.name": str, "gen_ai.system": str, "gen_ai.request.model": str, "gen_ai.agent.name": str,
    "gen_ai.response.time_to_first_chunk": float, "gen_ai.usage.input_tokens": int,
    "gen_ai.usage.output_tokens": int, "gen_ai.usage.cache_read.input_tokens": int,
    "gen_ai.usage.reasoning.output_tokens": int, "gen_ai.data_source.id": str, "gen_ai.retrieval.query.text": str,
    "gen_ai.tool.name": str, "gen_ai.tool.type": str, "gen_ai.tool.call.arguments": str,
    "gen_ai.tool.call.result": str, "turnlog.turn": int, "turnlog.turn_id": str, "turnlog.interrupted": bool,
    "turnlog.stt_confidence": float, "turnlog.tokens_per_second": float,
}  # fmt: skip


def type_of(name: str) -> type:
    if name in TYPE_OF:
        return TYPE_OF[name]
    if name.startswith("retrieval.documents."):
        return {"content": str, "score": float}[name.rpartition(".")[2]]
    if name.startswith("turnlog.latency."):
        assert name.endswith("_ms"), name
        return float
    own = name.removeprefix("turnlog.")
    assert own != name, f"{name} is of no convention"
    return TYPES.get(own, str)


def has_the_right_types(call: Call) -> None:
    found = attributes(call)
    assert list(found) == [span.id for span in call.spans]
    for own in found.values():
        assert own["session.id"] == call.session_name
        assert own["openinference.span.kind"] in {"AGENT", "LLM", "TOOL", "RETRIEVER", "CHAIN"}
        for name, value in own.items():
            assert type(value) is type_of(name), (name, value)
            assert not isinstance(value, int) or abs(value) < 1 << 63
            assert not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize("name", CALLS)
def test_types_of_recordings(name: str) -> None:
    has_the_right_types(CALLS[name])


@given(streams(max_size=30))
def test_types_of_calls_that_make_no_sense(events: list[Event]) -> None:
    has_the_right_types(replay(events))


TEXTS = st.text() | st.sampled_from(["nan", "-inf", "1e400", "9" * 30, "7", "7.0", "-1.5", "True", "None", "0x1", "٣"])


@given(st.dictionaries(st.sampled_from(sorted(TYPES)), TEXTS), st.sampled_from(["L: LLM Processing", "Turn #1", "x"]))
def test_types_of_any_text(texts: dict[str, str], name: str) -> None:
    """A number that is none is left out; every other is there, and is that number."""
    call = CALLS["say_only"]._replace(spans=[Span(0, None, name, 1, texts, 0.0, 2)])
    has_the_right_types(call)
    exported = attributes(call)[0]
    for own, text in texts.items():
        if text in ("7", "-1.5", "True") and (value := exported.get(f"turnlog.{own}")) is not None:
            assert str(value) in (text, f"{text}.0")
        if (TYPES[own], text) in {(int, "7"), (float, "7"), (float, "-1.5"), (bool, "True")}:
            assert f"turnlog.{own}" in exported


def spans(call: Call, name: str) -> list[Attributes]:
    """Those whose name ends so, by their start."""
    found = attributes(call)
    return [found[span.id] for span in sorted(call.spans, key=lambda span: span.id) if span.name.endswith(name)]


def test_a_turn_has_both_sides_and_its_latencies() -> None:
    call = CALLS["barge_in_vad"]
    exported = [own for own in attributes(call).values() if own.get("gen_ai.operation.name") == "invoke_agent"]
    exported.sort(key=lambda own: own["turnlog.turn"])
    assert len(exported) == len(call.turns)
    for number, (own, turn) in enumerate(zip(exported, call.turns, strict=True), 1):
        assert own.get("input.value") == (turn.user_speech or None)
        assert own.get("output.value") == (turn.agent_speech or None)
        assert (own["turnlog.turn"], own["turnlog.turn_id"]) == (number, turn.turn_id)
        assert own["turnlog.interrupted"] is turn.is_interrupted
        latency = latency_of(turn, number)
        assert own.get("turnlog.latency.e2e_ms") == latency.e2e
        assert own.get("turnlog.latency.llm_ttft_ms") == latency.ttft
        assert own["openinference.span.kind"] == "AGENT"
    assert {own["turnlog.interrupted"] for own in exported} == {True, False}


def test_a_model_has_its_name_its_tokens_and_its_texts() -> None:
    call = CALLS["normal_cascading"]
    entries = [(turn, llm) for turn in call.turns for llm in turn.llm_metrics]
    exported = spans(call, ": LLM Processing")
    assert len(exported) == len(entries) > 2
    for own, (turn, llm) in zip(exported, entries, strict=True):
        assert own["openinference.span.kind"] == "LLM"
        assert own["gen_ai.request.model"] == own["llm.model_name"] == "scripted-llm-1"
        assert own["gen_ai.provider.name"] == own["gen_ai.system"] == own["llm.provider"] == "ScriptedLLM"
        assert own["gen_ai.usage.input_tokens"] == own["llm.token_count.prompt"] == llm.prompt_tokens
        assert own["gen_ai.usage.output_tokens"] == own["llm.token_count.completion"] == llm.completion_tokens
        assert own["llm.token_count.total"] == llm.total_tokens
        assert (own["input.value"], own["output.value"]) == (llm.llm_input, turn.agent_speech)
        assert llm.llm_ttft is not None
        assert own["gen_ai.response.time_to_first_chunk"] == llm.llm_ttft / 1000, "seconds"
        assert own["turnlog.duration_ms"] == llm.llm_duration


def test_providers_are_called_as_the_conventions_call_them() -> None:
    (first, *_rest) = spans(CALLS["real_plugins_normal"], "OpenAILLM: LLM Processing")
    assert first["turnlog.provider_class"] == "OpenAILLM"
    assert first["gen_ai.provider.name"] == first["llm.provider"] == "openai"
    call = CALLS["say_only"]._replace(
        spans=[Span(0, None, "GoogleLLM: LLM Processing", 1, {"provider_class": "GoogleLLM"}, 0.0, 2)]
    )
    own = attributes(call)[0]
    assert (own["gen_ai.provider.name"], own["llm.provider"]) == ("gcp.gemini", "google")


def test_speech_goes_in_and_out() -> None:
    call = CALLS["normal_cascading"]
    texts = [stt.stt_transcript for turn in call.turns for stt in turn.stt_metrics]
    assert [own["output.value"] for own in spans(call, ": Speech to Text Processing")] == texts
    assert "input.value" not in spans(call, ": Speech to Text Processing")[0], "N/A is no text"
    spoken = [turn.agent_speech for turn in call.turns for _tts in turn.tts_metrics]
    assert [own["input.value"] for own in spans(call, ": Text to Speech Processing")] == spoken
    confidences = [stt.stt_confidence for turn in call.turns for stt in turn.stt_metrics]
    assert [own["turnlog.stt_confidence"] for own in spans(call, ": Speech to Text Processing")] == confidences


def test_documents_have_their_scores() -> None:
    call = CALLS["realtime_hybrid_stt"]
    entries = [kb for turn in call.turns for kb in turn.kb_metrics]
    exported = spans(call, "Knowledge Base: Retrieval")
    assert len(exported) == len(entries)
    for own, kb in zip(exported, entries, strict=True):
        assert own["openinference.span.kind"] == "RETRIEVER"
        documents = [value for name, value in own.items() if name.endswith(".document.content")]
        assert documents == (kb.kb_documents or [])
        assert [value for name, value in own.items() if name.endswith(".document.score")] == (kb.kb_scores or [])
        assert own["input.value"] == own["gen_ai.retrieval.query.text"]
    assert "retrieval.documents.0.document.content" in {name for own in exported for name in own}


def call_of(*hooks: tuple[str, dict[str, Any]]) -> Call:
    """What the hooks make, a second between each two."""
    opening: list[tuple[str, dict[str, Any]]] = [
        ("set_traces_flow_manager", {"attached": True}),
        ("traces.start_agent_joined_meeting", {"attributes": {"agent_name": "Ann", "peerId": "p"}}),
        ("traces.start_agent_session", {"attributes": {}}),
    ]
    return replay(
        Event("s", "o", n, hook, HOOKS[hook].version, n * 10**9, 10**18 + n * 10**9, orjson.dumps(args).decode())
        for n, (hook, args) in enumerate([*opening, *hooks], 1)
    )


def test_tools_have_arguments_and_results() -> None:
    call = call_of(
        ("start_turn", {}),
        ("on_llm_start", {}),
        ("add_function_tool_call", {"tool_name": "add", "tool_params": {"a": 1}, "tool_response": {"sum": 3},
                                    "start_time": 5.5, "end_time": 5.75}),
        ("add_function_tool_call", {"tool_name": "add", "tool_params": {"a": 2}, "tool_response": "four"}),
        ("on_llm_first_token", {}),
        ("on_llm_complete", {}),
        ("complete_turn", {}),
    )  # fmt: skip
    first, second = spans(call, "Invoked Tool: add")
    assert first["openinference.span.kind"] == "TOOL"
    assert first["tool.name"] == first["gen_ai.tool.name"] == "add"
    assert first["gen_ai.operation.name"] == "execute_tool"
    assert (first["input.value"], first["input.mime_type"]) == ('{"a":1}', "application/json")
    assert first["output.value"] == first["gen_ai.tool.call.result"] == '{"sum":3}'
    assert first["turnlog.latency.tool_ms"] == 250
    assert second["gen_ai.tool.call.arguments"] == '{"a":2}'
    assert (second["output.value"], second["output.mime_type"]) == ("four", "text/plain")
    (handoff,) = spans(CALLS["agent_handoff"], "Invoked Tool: to_billing")
    assert not {"input.value", "output.value", "input.mime_type"} & set(handoff), "it has no arguments"


def test_what_is_no_text_is_written_as_text() -> None:
    call = call_of(
        ("start_turn", {}),
        ("set_user_transcript", {"transcript": 5}),
        ("set_agent_response", {"response": {"a": 1}}),
        ("complete_turn", {}),
    )
    (own,) = spans(call, "Turn #1")
    assert (own["input.value"], own["output.value"]) == ("5", "{'a': 1}")


def test_realtime_models_have_their_tokens_from_the_turn() -> None:
    usage = {
        "input_tokens": 7,
        "output_tokens": 5,
        "total_tokens": 12,
        "input_audio_tokens": 6,
        "output_audio_tokens": 4,
    }
    call = call_of(
        ("set_provider_info", {"component_type": "realtime", "provider_class": "GeminiRealtime", "model_name": "live"}),
        ("start_turn", {}),
        ("on_user_speech_start", {}),
        ("set_user_transcript", {"transcript": "hello?"}),
        ("on_user_speech_end", {}),
        ("set_realtime_usage", {"usage": usage}),
        ("on_agent_speech_start", {}),
        ("set_agent_response", {"response": "hi"}),
        ("finalize_realtime_turn", {}),
    )
    (own,) = spans(call, ": Realtime Processing")
    assert own["openinference.span.kind"] == "LLM"
    assert (own["input.value"], own["output.value"]) == ("hello?", "hi")
    assert (own["gen_ai.provider.name"], own["gen_ai.request.model"]) == ("gcp.gemini", "live")
    assert (own["llm.token_count.prompt"], own["llm.token_count.completion"]) == (7, 5)
    assert (own["gen_ai.usage.input_tokens"], own["gen_ai.usage.output_tokens"]) == (7, 5)
    assert own["llm.token_count.prompt_details.audio"] == 6
    assert own["llm.token_count.completion_details.audio"] == 4
    assert own["turnlog.latency.realtime_ms"] == call.turns[0].e2e_latency
