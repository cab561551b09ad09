"""The hooks are the reference's, to the parameter, and one of ours; `fixtures/hooks.json` has its signatures."""

from __future__ import annotations

import inspect
import json

import pytest

from conftest import FIXTURES
from eventstore import HOOKS, Event, Recorder, codec
from eventstore.errors import BadArguments, NewerEvent, UnknownHook
from eventstore.traces_hooks import TracesHooks
from eventstore.vocabulary import find
from projections.handlers import HANDLERS

REFERENCE = json.loads((FIXTURES / "hooks.json").read_text())
ALL = [(target, hook) for target, hooks in REFERENCE.items() for hook in hooks]


@pytest.mark.parametrize(("target", "hook"), ALL)
def test_a_hook_has_the_reference_s_signature(target: str, hook: str) -> None:
    method = getattr(Recorder if target == "collector" else TracesHooks, hook)
    expected = REFERENCE[target][hook]
    assert inspect.iscoroutinefunction(method) == expected["async"]
    parameters = list(inspect.signature(method).parameters.values())[1:]
    defaults = [None if p.default is p.empty else repr(p.default) for p in parameters]
    assert [[p.name, default] for p, default in zip(parameters, defaults, strict=True)] == expected["parameters"]


def test_there_are_no_other_hooks() -> None:
    assert {find(*pair).name for pair in ALL} | {"log_record", "set_framework", "framework_event"} == set(HOOKS)


def test_every_hook_has_a_handler() -> None:
    assert set(HANDLERS) == set(HOOKS)


def test_an_unknown_hook_is_named_with_its_nearest() -> None:
    with pytest.raises(UnknownHook, match="did you mean 'on_stt_start'"):
        find("collector", "on_stt_strat")
    with pytest.raises(UnknownHook, match="unknown target 'tracer'"):
        find("tracer", "on_stt_start")
    with pytest.raises(UnknownHook):
        find("collector", "traces.set_session_id")


def test_arguments_are_completed_and_checked() -> None:
    assert find("collector", "on_stt_complete").complete({"transcript": "a"}) == {
        "transcript": "a", "duration": 0.0, "confidence": 0.0,
    }  # fmt: skip
    with pytest.raises(BadArguments, match="lacks its argument 'message'"):
        find("collector", "add_error").complete({"source": "STT"})
    with pytest.raises(BadArguments, match="takes no argument 'nope'"):
        find("collector", "on_eou_start").complete({"nope": 1})


def test_events_of_a_newer_turnlog_are_refused_with_a_word() -> None:
    event = Event("s", "o", 3, "on_eou_start", 99, 1, 1, "{}")
    with pytest.raises(NewerEvent, match="upgrade turnlog"):
        codec.decode(event)
    with pytest.raises(UnknownHook, match="unknown hook 'on_mars'"):
        codec.decode(Event("s", "o", 3, "on_mars", 1, 1, 1, "{}"))
