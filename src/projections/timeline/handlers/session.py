"""Session details: framework, components, participants and configuration."""

from __future__ import annotations

import math
from typing import Any

from eventstore.hooks.arguments import Args
from projections.model import Participant
from projections.timeline.handlers.voice import end_voice, start_voice
from projections.timeline.registry import text, with_args
from projections.timeline.state import Timeline


@with_args
def set_framework(t: Timeline, now: int, args: Args) -> None:
    t.framework, t.framework_version = text(args.get("name")), text(args.get("version"))


@with_args
def framework_event(t: Timeline, now: int, args: Args) -> None:
    """LiveKit's user state event, for logs whose adapter recorded the user's voice in no other way."""
    event = args.get("arguments")
    if args.get("name") != "user_state_changed" or not isinstance(event, dict):
        return
    created = event.get("created_at")
    if type(created) is float and math.isfinite(created * 1e9):
        then = round(created * 1e9) - t.wall_ns + now
        if event.get("new_state") == "speaking":
            start_voice(t, then)
        elif event.get("old_state") == "speaking":
            end_voice(t, then, then)


@with_args
def configure_pipeline(t: Timeline, now: int, args: Args) -> None:
    realtime, components = args.get("realtime_mode"), args.get("active_components")
    t.session.pipeline_mode = str(args.get("pipeline_mode"))
    t.session.realtime_mode = str(realtime) if realtime else None
    names = {str(component) for component in components} if isinstance(components, list) else set()
    if names:
        t.session.components = sorted(names)
    t.realtime = t.realtime or bool(realtime) or "realtime_model" in names


@with_args
def set_session_id(t: Timeline, now: int, args: Args) -> None:
    t.session.session_id = args.get("session_id")


@with_args
def set_system_instructions(t: Timeline, now: int, args: Args) -> None:
    t.session.system_instruction = args.get("instructions")


@with_args
def set_provider_info(t: Timeline, now: int, args: Args) -> None:
    component = args.get("component_type")
    if isinstance(component, str):
        provider = {"provider_class": args.get("provider_class"), "model_name": args.get("model_name")}
        t.session.provider_per_component[component] = provider
        t.realtime = t.realtime or component == "realtime"


@with_args
def update_provider_class(t: Timeline, now: int, args: Args) -> None:
    """Replace the provider dict without mutating it, as earlier runs refer to the old one."""
    component = str(args.get("component_type")).lower()
    provider = t.session.provider_per_component.get(component)
    if provider is not None:
        model = args.get("model_name") or provider["model_name"]
        new = {"provider_class": args.get("provider_class"), "model_name": model}
        t.session.provider_per_component[component] = new


def _read(config: Any, *names: str) -> dict[str, Any]:
    return {name: config.get(name) for name in names} if isinstance(config, dict) else {}


@with_args
def set_eou_config(t: Timeline, now: int, args: Args) -> None:
    t.session.eou_config = _read(args.get("config"), "mode", "min_max_speech_wait_timeout")


@with_args
def set_interrupt_config(t: Timeline, now: int, args: Args) -> None:
    names = "mode", "interrupt_min_duration", "interrupt_min_words", "false_interrupt_pause_duration"
    t.session.interrupt_config = _read(args.get("config"), *names, "resume_on_false_interrupt")


@with_args
def add_participant_metrics(t: Timeline, now: int, args: Args) -> None:
    values = (args.get(name) for name in ("participant_id", "kind", "sip_user", "join_time", "meta"))
    t.session.participant_metrics.append(Participant(*values))
