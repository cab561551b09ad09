"""The spans of a completed turn, component by component (reference: ``create_unified_turn_trace``).

The reference may raise on a missing value while creating a component's spans; those already started then never end,
and the rest of the component is missing. `State.span_failures` records where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from projections.reference.metrics import (
    Eou,
    Fallback,
    Interruption,
    Kb,
    Llm,
    Realtime,
    Stt,
    TimelineEvent,
    Tts,
    Turn,
    Vad,
)
from projections.reference.rules import Rules
from projections.reference.spans.lifecycle import add_event, end_span, point_span, start_span
from projections.reference.state import SpanFailure, State

ERROR_SECONDS = 0.100
"""Duration of a component's error span."""

T = TypeVar("T")
Attributes = dict[str, Any]


class _Trace(NamedTuple):
    """Shared context of the turn's spans."""

    s: State
    now: float
    turn: Turn
    span: int
    """The turn's own span."""

    def start(self, name: str, attributes: Attributes | None, start_time: Any, parent: int | None) -> int | None:
        return start_span(self.s, self.now, name, attributes, parent, start_time)

    def end(self, span: int | None, end_time: Any, status: str = "OK") -> None:
        end_span(self.s, self.now, span, end_time, status)

    def provider(self, component: str) -> tuple[Any, Any]:
        """Class and model of a component's current provider."""
        provider = self.s.session.provider_per_component.get(component)
        return (None, None) if provider is None else (provider["provider_class"], provider["model_name"])

    def errors_of(self, source: str) -> list[dict[str, Any]]:
        errors = self.turn.errors
        return [error for error in errors if error["source"] == source] if errors else errors


def trace_turn(s: State, now: float, turn: Turn) -> None:
    """Create the spans of a turn, if the span that contains all turns is open.

    Also fills in missing VAD times of the turn, whether or not spans are wanted.
    """
    if s.traces.main_turn is None:
        return
    if not s.spans_wanted:
        if s.session.provider_per_component.get("vad", {}).get("provider_class"):
            for vad in turn.vad_metrics:
                try:  # noqa: SIM105 - once per turn, and `contextlib.suppress` takes longer than the work itself
                    _fill_in(vad, s.rules)
                except TypeError:  # as `_each` does
                    pass
        return
    s.traces.turns += 1
    span = start_span(s, now, f"Turn #{s.traces.turns}", None, s.traces.main_turn, _earliest(turn))
    if span is None:
        return
    t = _Trace(s, now, turn, span)
    _each(t, "VAD", _vad, turn.vad_metrics)
    if turn.interruption_metrics is not None:
        _each(t, "interruption", _interruption, [turn.interruption_metrics])
    _each(t, "fallback", _fallback, turn.fallback_events)
    _each(t, "STT", _stt, turn.stt_metrics)
    _each(t, "EOU", _eou, turn.eou_metrics)
    _each(t, "LLM", _llm, turn.llm_metrics)
    _each(t, "TTS", _tts, turn.tts_metrics)
    _each(t, "KB", _kb, turn.kb_metrics)
    _each(t, "realtime", _realtime, turn.realtime_metrics)
    _each(t, "error", _error, turn.errors)
    end_time = _latest(turn)
    if turn.is_interrupted or end_time is None:
        end_time = now
    for event in turn.timeline_event_metrics:
        _timeline(t, event, end_time)
    t.end(span, end_time)


def _each(t: _Trace, component: str, make: Callable[[_Trace, T], None], entries: Iterable[T]) -> None:
    for entry in entries:
        try:
            make(t, entry)
        except Exception as error:  # noqa: BLE001 - the reference catches all, logs, and continues
            t.s.span_failures.append(SpanFailure(t.s.at, component, f"{type(error).__name__}: {error}"))


def _earliest(turn: Turn) -> float | None:
    times = [turn.user_speech_start_time]
    times += [turn.stt_metrics[0].stt_start_time] if turn.stt_metrics else []
    times += [turn.llm_metrics[0].llm_start_time] if turn.llm_metrics else []
    times += [turn.tts_metrics[0].tts_start_time] if turn.tts_metrics else []
    times += [turn.eou_metrics[0].eou_start_time] if turn.eou_metrics else []
    times += [event.start_time for event in turn.timeline_event_metrics]
    return min((time for time in times if time), default=None)


def _latest(turn: Turn) -> float | None:
    times = [turn.agent_speech_end_time, turn.user_speech_end_time]
    times += [turn.tts_metrics[-1].tts_end_time] if turn.tts_metrics else []
    times += [turn.llm_metrics[-1].llm_end_time] if turn.llm_metrics else []
    times += [turn.eou_metrics[-1].eou_end_time] if turn.eou_metrics else []
    times += [turn.stt_metrics[-1].stt_end_time] if turn.stt_metrics else []
    times += [turn.interruption_metrics.false_interrupt_end_time] if turn.interruption_metrics is not None else []
    return max((time for time in times if time), default=None)


def _status(errors_left: list[dict[str, Any]]) -> str:
    return "ERROR" if errors_left else "OK"


def _add_errors(t: _Trace, span: int, errors: list[dict[str, Any]], name: str, *fields: str) -> None:
    """Add an event and a child span for each error, and remove it from the list.

    As in the reference, removal during iteration skips every other error, which stays in the list.
    """
    for error in errors:
        add_event(t.s, span, "error", {field: error[field] for field in ("message", "timestamp", *fields)})
        _error_span(t, span, name, error)
        errors.remove(error)


def _error_span(t: _Trace, parent: int, name: str, error: dict[str, Any]) -> None:
    child = t.start(name, {"message": error["message"]}, error["timestamp"], parent)
    t.end(child, error["timestamp"] + ERROR_SECONDS)


def _truthy(**attributes: Any) -> Attributes:
    """The attributes with a truthy value."""
    return {name: value for name, value in attributes.items() if value}


def _fill_in(vad: Vad, rules: Rules) -> None:
    """Set a missing end one silence window after the start, and a missing start one window before the end.

    The window is known only after `set_vad_config`: without ``vad_window_optional``, raises `TypeError` if unknown.
    """
    window = vad.vad_min_silence_duration
    if rules.vad_window_optional:
        window = window or 0.0
    if vad.user_speech_start_time is None and vad.user_speech_end_time is not None:
        vad.user_speech_start_time = vad.user_speech_end_time - window
    elif vad.user_speech_start_time is not None and vad.user_speech_end_time is None:
        vad.user_speech_end_time = vad.user_speech_start_time + window


def _vad(t: _Trace, vad: Vad) -> None:
    provider, model = t.provider("vad")
    if not provider:
        return
    attributes = _truthy(
        provider_class=provider,
        model_name=model,
        min_silence_duration=vad.vad_min_silence_duration,
        min_speech_duration=vad.vad_min_speech_duration,
        threshold=vad.vad_threshold,
    )
    _fill_in(vad, t.s.rules)  # if it raises, there is no span
    if t.s.rules.vad_window_optional and vad.user_speech_start_time is None:
        return
    span = t.start(f"{provider}: VAD Processing", attributes, vad.user_speech_start_time, t.span)
    if span is not None:
        errors = t.errors_of("VAD")
        _add_errors(t, span, errors, "VAD Error", "source")
        t.end(span, vad.user_speech_end_time, _status(errors))


def _interruption(t: _Trace, interruption: Interruption) -> None:
    start, end = interruption.false_interrupt_start_time, interruption.false_interrupt_end_time
    if start and end:
        resumed = interruption.resumed_after_false_interrupt
        attributes = _truthy(
            pause_duration_config=interruption.false_interrupt_pause_duration,
            false_interrupt_duration=interruption.false_interrupt_duration,
            resumed_after_false_interrupt=resumed,
            actual_duration=interruption.false_interrupt_duration,
        )
        name = f"False Interruption ({'Resumed' if resumed else 'Escalated'})"
        t.end(t.start(name, attributes, start, t.span), end)
    if not t.turn.is_interrupted:
        # the reference ends a span here that it has not created
        raise UnboundLocalError("a turn with a false interruption was not interrupted")
    attributes = _truthy(
        false_interrupt_pause_duration=interruption.false_interrupt_pause_duration,
        resume_on_false_interrupt=interruption.resume_on_false_interrupt,
        preceded_by_false_interrupt=start is not None,
    )
    point_span(t.s, t.now, "Turn Interrupted", attributes, t.span, None)  # no hook reports its start


def _fallback(t: _Trace, fallback: Fallback) -> None:
    common = {
        "temporary_disable_sec": fallback.temporary_disable_sec,
        "permanent_disable_after_attempts": fallback.permanent_disable_after_attempts,
        "recovery_attempt": fallback.recovery_attempt,
        "message": fallback.message,
    }
    old, new, time = fallback.original_provider_label, fallback.new_provider_label, fallback.start_time
    if fallback.is_recovery:
        attributes = common | {"restored_provider": new, "previous_provider": old}
        span = t.start(f"Recovery: {fallback.component_type}", attributes, time, t.span)
        if span is not None:
            t.end(span, fallback.end_time)
            return
    span = t.start(f"Fallback: {fallback.component_type}", common, time, t.span)
    if span is None:
        return
    for provider, status, outcome in ((old, "ERROR", "failed"), (new, "OK", "success")):
        if provider:
            connection = {"provider": provider, "status": outcome}
            t.end(t.start(f"Connection: {provider}", connection, time, span), time, status)
    t.end(span, time, "OK" if new else "ERROR")


def _stt(t: _Trace, stt: Stt) -> None:
    provider, model = t.provider("stt")
    attributes = _truthy(provider_class=provider) | {"input": "N/A"} | _truthy(model_name=model)
    if stt.stt_latency is not None:
        attributes["duration_ms"] = stt.stt_latency
    attributes |= _truthy(start_timestamp=stt.stt_start_time, end_timestamp=stt.stt_end_time, output=stt.stt_transcript)
    if provider == "DeepgramSTTV2":
        attributes |= _truthy(stt_preemptive_generation_enabled=t.turn.preemtive_generation_enabled)
    span = t.start(f"{provider}: Speech to Text Processing", attributes, stt.stt_start_time, t.span)
    if span is None:
        return
    errors = t.errors_of("STT")
    for error in errors:  # as in `_add_errors`, but only those within the span get one of their own
        add_event(t.s, span, "error", {"message": error["message"], "timestamp": error["timestamp"]})
        if stt.stt_start_time <= error["timestamp"] <= stt.stt_end_time:  # may raise, as the reference does
            _error_span(t, span, "STT Error", error)
            errors.remove(error)
    t.end(span, stt.stt_end_time, _status(errors))


def _eou(t: _Trace, eou: Eou) -> None:
    provider, model = t.provider("eou")
    attributes = _truthy(provider_class=provider, model_name=model, input=t.turn.user_speech)
    if eou.eou_latency is not None:
        attributes["duration_ms"] = eou.eou_latency
    attributes |= _truthy(
        start_timestamp=eou.eou_start_time,
        end_timestamp=eou.eou_end_time,
        waited_for_additional_speech=eou.waited_for_additional_speech,
    )
    if eou.eou_probability:
        attributes["eou_probability"] = round(eou.eou_probability, 4)
    if t.s.session.eou_config is None:
        raise AttributeError("the EOU configuration was never set")
    span = t.start(f"{provider}: End-Of-Utterance Detection", attributes, eou.eou_start_time, t.span)
    if eou.waited_for_additional_speech:
        (_eou_wait if t.s.rules.eou_wait_in_ms else _eou_wait_in_seconds)(t, eou, span)
    if span is not None:
        errors = t.errors_of("TURN-D")
        _add_errors(t, span, errors, "EOU Error")
        t.end(span, eou.eou_end_time, _status(errors))


def _eou_wait_in_seconds(t: _Trace, eou: Eou, parent: int | None) -> None:
    delay = round(eou.wait_for_additional_speech_duration, 4)
    attributes = {"wait_for_additional_speech_duration": delay, "eou_probability": round(eou.eou_probability, 4)}
    child = t.start("Wait for Additional Speech", attributes, eou.eou_end_time, parent)
    t.end(child, eou.eou_end_time + delay)


def _eou_wait(t: _Trace, eou: Eou, parent: int | None) -> None:
    if eou.eou_wait_ms is None or eou.eou_end_time is None:
        return
    delay_ms = round(eou.eou_wait_ms, 4)
    attributes = {"eou_wait_ms": delay_ms, "eou_probability": round(eou.eou_probability or 0, 4)}
    child = t.start("EOU Wait", attributes, eou.eou_end_time, parent)
    t.end(child, eou.eou_end_time + delay_ms / 1000)


def _llm(t: _Trace, llm: Llm) -> None:
    provider, model = t.provider("llm")
    attributes = _truthy(
        provider_class=provider,
        model_name=model,
        input=llm.llm_input,
        duration_ms=llm.llm_duration,
        start_timestamp=llm.llm_start_time,
        end_timestamp=llm.llm_end_time,
        output=t.turn.agent_speech,
        input_tokens=llm.prompt_tokens,
        output_tokens=llm.completion_tokens,
        cached_input_tokens=llm.prompt_cached_tokens,
        total_tokens=llm.total_tokens,
    )
    span = t.start(f"{provider}: LLM Processing", attributes, llm.llm_start_time, t.span)
    if span is None:
        return
    for tool in t.turn.function_tool_timestamps:
        point_span(t.s, t.now, f"Invoked Tool: {tool['tool_name']}", None, span, tool["timestamp"])
    errors = t.errors_of("LLM")
    _add_errors(t, span, errors, "LLM Error")
    if llm.llm_ttft is not None and llm.llm_start_time is not None:
        child = t.start("Time to First Token", {"llm_ttft": llm.llm_ttft}, llm.llm_start_time, span)
        t.end(child, llm.llm_start_time + (llm.llm_ttft / 1000))
    t.end(span, llm.llm_end_time, _status(errors))


def _tts(t: _Trace, tts: Tts) -> None:
    provider, model = t.provider("tts")
    attributes = _truthy(
        provider_class=provider,
        model_name=model,
        input=t.turn.agent_speech,
        duration_ms=tts.tts_duration,
        start_timestamp=tts.tts_start_time,
        end_timestamp=tts.tts_end_time,
        characters=tts.tts_characters,
        audio_duration_ms=t.turn.agent_speech_duration,
        output="N/A",
    )
    span = t.start(f"{provider}: Text to Speech Processing", attributes, tts.tts_start_time, t.span)
    if span is None:
        return
    if tts.tts_first_byte_time is not None:
        t.end(t.start("Time to First Byte", None, tts.tts_start_time, span), tts.tts_first_byte_time)
    errors = t.errors_of("TTS")
    _add_errors(t, span, errors, "TTS Error")
    t.end(span, tts.tts_end_time, _status(errors))


def _kb(t: _Trace, kb: Kb) -> None:
    attributes = _truthy(
        input=t.turn.user_speech,
        retrieval_latency_ms=kb.kb_retrieval_latency,
        start_timestamp=kb.kb_start_time,
        end_timestamp=kb.kb_end_time,
    )
    if kb.kb_documents:
        count = len(kb.kb_documents)
        attributes["documents"] = ", ".join(kb.kb_documents) if count <= 5 else f"{count} documents"
        attributes["document_count"] = count
    if kb.kb_scores:
        attributes["scores"] = ", ".join(str(round(score, 4)) for score in kb.kb_scores[:5])
    t.end(t.start("Knowledge Base: Retrieval", attributes, kb.kb_start_time, t.span), kb.kb_end_time)


def _realtime(t: _Trace, _entry: Realtime) -> None:
    turn = t.turn
    provider, model = t.provider("realtime")
    start, end = turn.user_speech_end_time or turn.agent_speech_start_time, turn.agent_speech_start_time
    attributes = _truthy(provider_class=provider, model_name=model)
    span = t.start(f"{provider}: Realtime Processing", attributes, start, t.span)
    for name in turn.function_tools_called:
        point_span(t.s, t.now, f"Invoked Tool: {name}", None, t.span, t.now)
    if turn.e2e_latency is not None:
        t.end(t.start("Time to First Word", {"duration_ms": turn.e2e_latency}, start, span), end)
    errors = t.errors_of("REALTIME")
    for error in errors:  # as in `_add_errors`, but on the turn's span
        add_event(t.s, t.span, "Errors", {"message": error["message"], "timestamp": error["timestamp"]})
        _error_span(t, t.span, "Realtime Error", error)
        errors.remove(error)
    t.end(span, end, _status(errors))


def _error(t: _Trace, error: dict[str, Any]) -> None:
    attributes = {"error message": error["message"]} if error["message"] else {}
    time = error["timestamp_perf"]
    t.end(t.start(f"{error['source']} Error span", attributes, time, t.span), time + 0.001, "ERROR")


_SPEECH = {"user_speech": "User Input Speech", "agent_speech": "Agent Output Speech"}


def _timeline(t: _Trace, event: TimelineEvent, turn_end: float) -> None:
    turn, kind = t.turn, event.event_type
    if kind in _SPEECH:
        name, attributes = _SPEECH[kind], {"Transcript": event.text, "duration_ms": event.duration_ms}
    else:
        thinking = kind == "thinking_audio"
        name = "Thinking Audio" if thinking else "Background Audio"
        attributes = _truthy(file_path=turn.thinking_audio_file_path if thinking else turn.background_audio_file_path)
        looping = turn.thinking_audio_looping if thinking else turn.background_audio_looping
        rest = {"looping": looping, "duration_ms": event.duration_ms}
        attributes |= {key: value for key, value in rest.items() if value is not None}
    t.end(t.start(name, attributes, event.start_time, t.span), event.end_time or turn_end)
