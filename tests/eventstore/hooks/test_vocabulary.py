"""The hooks are those of the reference, parameter for parameter, its later ones, and turnlog's own.

`fixtures/hooks.json` has the signatures of 1.0.2.
"""

from __future__ import annotations

import inspect
import json

import pytest

from eventstore import HOOKS, Event, Recorder, codec
from eventstore.errors import BadArguments, NewerEvent, UnknownHook
from eventstore.hooks.traces import TracesHooks
from eventstore.hooks.vocabulary import find_hook
from eventstore.stores.memory import MemoryStore
from projections.reference.handlers import HANDLERS
from support.program import FIXTURES

REFERENCE = json.loads((FIXTURES / "hooks.json").read_text())
LATER: dict[str, list[list[str | None]]] = {
    "on_user_speech_start": [["local_vad", "False"]],
    "on_user_speech_end": [["local_vad", "False"], ["at", "None"]],
    "set_agent_response": [["emit_transport", "True"]],
    "on_knowledge_base_complete": [["retrievals", "None"]],
}
"""Parameters that came after 1.0.2, behind the others."""
LATER_HOOKS = {
    "on_wait_for_additional_speech_complete", "emit_user_transcript_transport", "emit_agent_transcript_transport",
    "set_local_vad_user_speech", "hold_turn", "release_turn",
}  # fmt: skip
OWN = {
    "log_record", "set_framework", "framework_event", "name_run", "name_usage", "run_ended", "on_tts_complete",
    "add_audio_seconds", "tool_started", "tool_progress", "tool_ended", "session_ended", "agent_active",
}  # fmt: skip
ALL = [(target, hook) for target, hooks in REFERENCE.items() for hook in hooks]


@pytest.mark.parametrize(("target", "hook"), ALL)
def test_a_hook_has_the_reference_s_signature(target: str, hook: str) -> None:
    method = getattr(Recorder if target == "collector" else TracesHooks, hook)
    expected = REFERENCE[target][hook]
    assert inspect.iscoroutinefunction(method) == expected["async"]
    parameters = list(inspect.signature(method).parameters.values())[1:]
    defaults = [None if p.default is p.empty else repr(p.default) for p in parameters]
    found = [[p.name, default] for p, default in zip(parameters, defaults, strict=True)]
    assert found == expected["parameters"] + (LATER.get(hook, []) if target == "collector" else [])


def test_what_came_later_changes_no_event_that_does_without_it() -> None:
    """Break: in eventstore/hooks/declare.py, `without_defaults`, keep every argument."""
    found = {name: dict(hook.later) for name, hook in HOOKS.items() if hook.later}
    assert {name: [[one, repr(default)] for one, default in later.items()] for name, later in found.items()} == LATER
    store = MemoryStore()
    with Recorder(store, "s") as recorder:
        recorder.on_user_speech_start()
        recorder.on_user_speech_end(local_vad=True)
        recorder.set_agent_response("a")
        recorder.on_knowledge_base_complete([], [])
    payloads = [event.payload for event in store.read("s")]
    assert payloads == ["{}", '{"local_vad":true}', '{"response":"a"}', '{"documents":[],"scores":[]}']
    assert find_hook("collector", "on_user_speech_end").complete({"local_vad": False, "at": 1.5}) == {"at": 1.5}


def test_there_are_no_other_hooks() -> None:
    assert {find_hook(*pair).name for pair in ALL} | LATER_HOOKS | OWN == set(HOOKS)


def test_every_hook_has_a_handler() -> None:
    assert set(HANDLERS) == set(HOOKS)


def test_an_unknown_hook_is_named_with_its_nearest() -> None:
    with pytest.raises(UnknownHook, match="did you mean 'on_stt_start'"):
        find_hook("collector", "on_stt_strat")
    with pytest.raises(UnknownHook, match="unknown target 'tracer'"):
        find_hook("tracer", "on_stt_start")
    with pytest.raises(UnknownHook):
        find_hook("collector", "traces.set_session_id")


def test_arguments_are_completed_and_checked() -> None:
    assert find_hook("collector", "on_stt_complete").complete({"transcript": "a"}) == {
        "transcript": "a", "duration": 0.0, "confidence": 0.0,
    }  # fmt: skip
    with pytest.raises(BadArguments, match="lacks its argument 'message'"):
        find_hook("collector", "add_error").complete({"source": "STT"})
    with pytest.raises(BadArguments, match="takes no argument 'nope'"):
        find_hook("collector", "on_eou_start").complete({"nope": 1})


def test_events_of_a_newer_turnlog_are_refused_with_a_word() -> None:
    event = Event("s", "o", 3, "on_eou_start", 99, 1, 1, "{}")
    with pytest.raises(NewerEvent, match="upgrade turnlog"):
        codec.decode(event)
    with pytest.raises(UnknownHook, match="unknown hook 'on_mars'"):
        codec.decode(Event("s", "o", 3, "on_mars", 1, 1, 1, "{}"))
