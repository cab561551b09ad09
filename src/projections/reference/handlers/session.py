"""Session metrics: pipeline configuration, providers, participants, and the end."""

from __future__ import annotations

from typing import Any

from eventstore.hooks.arguments import Args
from projections.model import Participant
from projections.reference.handlers.turn import complete_turn
from projections.reference.registry import with_args, without_args
from projections.reference.state import Carried, ForgottenTurn, State


@with_args
def configure_pipeline(s: State, now: float, args: Args) -> None:
    realtime, components = args.get("realtime_mode"), args.get("active_components")
    s.session.pipeline_mode = str(args["pipeline_mode"])
    s.session.realtime_mode = str(realtime) if realtime else None
    if components:
        s.session.components = sorted({str(component) for component in components})


@with_args
def set_session_id(s: State, now: float, args: Args) -> None:
    s.session.session_id = args["session_id"]


@with_args
def set_system_instructions(s: State, now: float, args: Args) -> None:
    s.session.system_instruction = args["instructions"]


@with_args
def set_provider_info(s: State, now: float, args: Args) -> None:
    component = args["component_type"]
    if type(component) is not str:
        raise TypeError("the component type must be text")  # the reference takes any, and then fails to send JSON
    s.session.provider_per_component[component] = {
        "provider_class": args["provider_class"],
        "model_name": args["model_name"],
    }


@with_args
def update_provider_class(s: State, now: float, args: Args) -> None:
    """Update the provider of a component that has one, and its model if one is given."""
    provider = s.session.provider_per_component.get(args["component_type"].lower())
    if provider is not None:
        provider["provider_class"] = args["provider_class"]
        if args.get("model_name"):
            provider["model_name"] = args["model_name"]


def _read(config: Any, *names: str) -> dict[str, Any]:
    return {} if config is None else {name: config.get(name) for name in names}


@with_args
def set_eou_config(s: State, now: float, args: Args) -> None:
    s.session.eou_config = _read(args["config"], "mode", "min_max_speech_wait_timeout")


@with_args
def set_interrupt_config(s: State, now: float, args: Args) -> None:
    s.session.interrupt_config = _read(
        args["config"],
        "mode",
        "interrupt_min_duration",
        "interrupt_min_words",
        "false_interrupt_pause_duration",
        "resume_on_false_interrupt",
    )


@with_args
def add_participant_metrics(s: State, now: float, args: Args) -> None:
    """Add a participant to the session and, without ``meta``, to the traces; raises if these are not attached."""
    values = (args["participant_id"], args.get("kind"), args.get("sip_user"), args.get("join_time"))
    s.session.participant_metrics.append(Participant(*values, args.get("meta")))
    if not s.traces.attached:
        raise AttributeError("no traces manager is attached")
    s.traces.participants.append(Participant(*values))


@with_args
def set_traces_flow_manager(s: State, now: float, args: Args) -> None:
    s.traces.attached = bool(args["attached"])


@with_args
def set_playground_manager(s: State, now: float, args: Args) -> None:
    s.playground_attached = bool(args["attached"]) and not s.rules.playground_gone


@without_args
def finalize_session(s: State, now: float) -> None:
    complete_turn(s, now)
    s.session.session_end_time = s.wall_ns / 1e9
    if s.rules.finalize_resets:
        _reset(s)


def _reset(s: State) -> None:
    """Reset everything but the session for the next agent (reference: ``_reset_pipeline_state``)."""
    s.session.provider_per_component = {}
    s.stt_start = s.llm_start = s.tts_start = s.tts_first_byte = s.eou_start = None
    s.agent_speaking = s.user_speaking = s.local_vad = s.preemptive_generation = False
    s.user_input_start = s.user_speech_end = s.pending_user_start = None
    s.carried = Carried()
    s.holds = 0
    s.forgotten = ForgottenTurn(len(s.turns), s.total_turns, s.total_interruptions)
