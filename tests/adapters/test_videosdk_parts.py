"""What of the VideoSDK adapter needs no framework: its view of newer releases, the comparison, the lent clock."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from turnlog import Event, Store, analytics_payloads, open_store
from turnlog.adapters.videosdk.call import VideoSDKCall, collector_write, traces_write
from turnlog.adapters.videosdk.clock import CALL_CONTEXT, RECORDING_CLOCK, LentTime, enter, leave
from turnlog.adapters.videosdk.payload_check import SENT, Difference, payload_differences, rules_of
from turnlog.recorder import Recorder


class NewCollector:
    """The collector of a newer release, as far as it is news."""

    def on_mood(self, mood: str) -> None: ...
    def on_user_speech_start(self, local_vad: bool = False, loudness: int = 0) -> None: ...
    def on_user_speech_end(self, local_vad: bool = False, at: float | None = None) -> None: ...
    def _finalize_realtime_turn(self) -> None: ...


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{tmp_path / 'calls.db'}")
    yield store
    store.close()


def recorded(store: Store, collector: NewCollector, name: str, *args: Any, **kwargs: Any) -> list[Event]:
    """What a call of one method leaves in the log."""
    log = VideoSDKCall(store, "s", "1.0.30", timer=False, reused=False)
    write, _is_hook = collector_write(name, vars(NewCollector)[name])
    write(log, collector, args, kwargs)
    log.recorder.close()
    return list(store.read("s"))[1:]


def plain(events: list[Event]) -> list[tuple[str, Any]]:
    return [(event.hook, json.loads(event.payload)) for event in events]


def test_a_method_that_is_no_hook_is_a_framework_event(store: Store) -> None:
    found = recorded(store, NewCollector(), "on_mood", "calm")
    assert plain(found) == [("framework_event", {"name": "on_mood", "arguments": {"mood": "calm"}})]


def test_a_hook_called_as_ever_is_just_that(store: Store) -> None:
    assert plain(recorded(store, NewCollector(), "on_user_speech_start")) == [("on_user_speech_start", {})]


def test_parameters_that_came_later_are_the_hooks(store: Store) -> None:
    at = time.perf_counter() - 100
    assert plain(recorded(store, NewCollector(), "on_user_speech_end", True, at=at)) == [
        ("on_user_speech_end", {"local_vad": True, "at": at})
    ]


def test_parameters_of_tomorrow_are_kept_before_the_hook(store: Store) -> None:
    assert plain(recorded(store, NewCollector(), "on_user_speech_start", local_vad=True, loudness=3)) == [
        ("framework_event", {"name": "on_user_speech_start", "arguments": {"local_vad": True, "loudness": 3}}),
        ("on_user_speech_start", {"local_vad": True}),
    ]


def test_the_timer_is_an_event(store: Store) -> None:
    assert plain(recorded(store, NewCollector(), "_finalize_realtime_turn")) == [("finalize_realtime_turn", {})]


@pytest.mark.parametrize(
    ("version", "rules"),
    [
        ("1.0.2", "videosdk-1.0"), ("1.0.10", "videosdk-1.0"), ("1.0.11", "videosdk-1.0.11"),
        ("1.0.26", "videosdk-1.0.24"), ("1.0.31", "videosdk-1.0.30"), ("2.0", "videosdk-1.0.30"),
        ("0.9", "videosdk-1.0"), ("nightly", "videosdk-1.0"),
    ],
)  # fmt: skip
def test_a_release_has_the_rules_of_the_newest_that_is_compared_up_to_it(version: str, rules: str) -> None:
    assert rules_of(version).name == rules


def test_a_span_between_agents_is_ended_by_the_one_that_was_begun(store: Store) -> None:
    log = VideoSDKCall(store, "s", "1.0.2", timer=False, reused=False)
    theirs = [object(), object()]
    create, _ = traces_write("create_a2a_trace", lambda self, name, attributes: None)
    end, _ = traces_write("end_a2a_trace", lambda self, span, message="": None)
    for span in theirs:
        log.a2a_spans[id(span)] = span, create(log, None, ("ask", {}), {})
    end(log, None, (theirs[1],), {"message": "answered"})
    end(log, None, (theirs[0],), {})
    log.recorder.close()
    assert plain(list(store.read("s")))[3:] == [
        ("traces.end_a2a_trace", {"index": 1, "message": "answered"}),
        ("traces.end_a2a_trace", {"index": 0, "message": ""}),
    ]


def turn(store: Store, change: dict[str, Any]) -> list[Event]:
    """The events of a call in which the framework sent what is replayed, but for ``change``: a number is added."""
    with Recorder(store, "s") as recorder:
        recorder.start_turn()
        recorder.on_llm_start()
        recorder.on_llm_first_token()
        recorder.complete_turn()
        recorder.flush()
        (replayed,) = analytics_payloads(store.read("s"))
        sent = {name: replayed[name] + by if type(by) is float else by for name, by in change.items()}
        recorder.framework_event(SENT, {"payload": replayed | sent})
    return list(store.read("s"))


def test_payloads_that_are_the_same_have_no_difference(store: Store) -> None:
    assert payload_differences(turn(store, {})) == []


def test_a_difference_names_turn_and_place(store: Store) -> None:
    found = payload_differences(turn(store, {"timeline": [], "interrupted": True, "news": 1}))
    assert found == [Difference(1, "interrupted", True, False), Difference(1, "news", 1, "(absent)")]


def test_a_payload_that_was_not_sent_is_a_difference(store: Store) -> None:
    with Recorder(store, "s") as recorder:
        recorder.on_llm_start()
        recorder.start_turn()
        recorder.on_llm_start()
        recorder.on_llm_first_token()
        recorder.complete_turn()
    (found,) = payload_differences(list(store.read("s")))
    assert (found.turn, found.path, found.sent) == (1, "", None)


@pytest.mark.parametrize(("jitter_ms", "found"), [(5.0, []), (2.0, ["ttft"])])
def test_jitter_is_let_pass_up_to_its_bound(store: Store, jitter_ms: float, found: list[str]) -> None:
    events = turn(store, {"ttft": 3.0})
    assert [difference.path for difference in payload_differences(events, jitter_ms=jitter_ms)] == found


def test_while_a_call_is_passed_on_the_clock_stands(store: Store) -> None:
    lent = LentTime()
    read = RECORDING_CLOCK.perf_ns(), RECORDING_CLOCK.wall_ns()
    enter(object(), lend=True)
    RECORDING_CLOCK.perf_ns()  # the recorder reads it again for an event inside the call
    assert (lent.perf_counter(), lent.time()) == (read[0] / 1e9, read[1] / 1e9)
    assert (lent.perf_counter_ns(), lent.time_ns()) == read
    leave()
    assert not CALL_CONTEXT.inside
    assert lent.perf_counter_ns() > read[0]
    assert lent.strftime is time.strftime
    enter(None, lend=True)  # nothing was recorded, so there is no reading of this call's
    assert lent.perf_counter_ns() > read[0]
    leave()
