"""LiveKit's events handed to `LiveKitCall` by hand, without LiveKit: in any order, and with what is rare."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventstore.codec import decode
from eventstore.stores.memory import MemoryStore
from turnlog import Recorder
from turnlog.adapters.livekit.call import LiveKitCall, Speech

T0 = time.time()


class Session:
    """A session whose events come one by one; times are seconds since its beginning."""

    def __init__(self, *, realtime: bool = False) -> None:
        self.store = MemoryStore()
        self.recorder = Recorder(self.store, "s", durability="memory")
        self.call = LiveKitCall(self.recorder, realtime=realtime, pause_seconds=2.0)
        self.handle = SimpleNamespace(id="a", interrupted=False, scheduled=True)

    @property
    def speech(self) -> Speech:
        return Speech(self.handle.id, self.handle.interrupted)

    def user(self, at: float, new: str) -> None:
        old = "listening" if new == "speaking" else "speaking"
        self.call.user_state_changed(SimpleNamespace(old_state=old, new_state=new, created_at=T0 + at))

    def heard(self, at: float, text: str, *, final: bool = True) -> None:
        self.call.user_input_transcribed(SimpleNamespace(transcript=text, is_final=final, created_at=T0 + at))

    def message(self, text: str, stopped: float | None = None) -> None:
        metrics = {} if stopped is None else {"stopped_speaking_at": T0 + stopped}
        self.call.user_message(SimpleNamespace(text_content=text, metrics=metrics))

    def agent(self, at: float, old: str, new: str) -> None:
        event = SimpleNamespace(old_state=old, new_state=new, created_at=T0 + at)
        self.call.agent_state_changed(event, self.speech, audible=True)

    def plays(self, at: float) -> None:
        self.call.playback_started(T0 + at, self.speech)

    def speech_created(self, **handle: Any) -> None:
        self.handle = SimpleNamespace(**{"id": "a", "interrupted": False, "scheduled": True} | handle)
        self.call.speech_created(self.handle)

    def speech_done(self) -> None:
        self.call.speech_done(self.handle)

    def llm(self, at: float, request: str = "r", speech: str = "a", *, cancelled: bool = False) -> None:
        counts = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_cached_tokens": 0}
        run = {"request_id": request, "label": "m", "timestamp": T0 + at + 0.4, "duration": 0.4, "ttft": 0.3}
        self.call.metrics(SimpleNamespace(type="llm_metrics", speech_id=speech, cancelled=cancelled, **run, **counts))

    def hooks(self, *names: str) -> list[tuple[str, dict[str, Any]]]:
        self.recorder.flush()
        kept = [(event.hook, decode(event)) for event in self.store.read("s")]
        return [(hook, args) for hook, args in kept if hook in names]

    def order(self, *names: str) -> list[str]:
        return [hook for hook, _args in self.hooks(*names)]


def test_usage_names_its_run_also_after_it_was_discarded() -> None:
    session = Session()
    session.speech_created(id="ahead", scheduled=False, interrupted=True)
    session.speech_done()
    session.llm(1.0, "late", "ahead")
    session.llm(2.0, "kept", "b")
    ended = [args for _hook, args in session.hooks("run_ended")]
    assert [(args["status"], args["run_id"]) for args in ended] == [("superseded", "late")]
    assert [args["run_id"] for _hook, args in session.hooks("name_usage")] == ["late", "kept"]
    assert session.order("on_llm_complete") == ["on_llm_complete"]


def test_a_run_without_a_request_id_has_one_of_its_own() -> None:
    session = Session()
    session.llm(1.0, "")
    session.llm(2.0, "")
    first, second = (args["run_id"] for _hook, args in session.hooks("name_run"))
    assert first != second


def test_an_end_that_is_measured_anew_is_recorded_only_for_the_voice_that_ended() -> None:
    session = Session()
    session.user(1.0, "speaking")
    session.user(2.0, "listening")
    session.message("hello", stopped=1.9)
    session.user(3.0, "speaking")
    session.message("late", stopped=1.8)
    assert session.order("on_user_speech_start", "on_user_speech_end") == [
        *("on_user_speech_start", "on_user_speech_end", "on_user_speech_end", "on_user_speech_start")
    ]


def test_an_answer_that_is_cancelled_in_the_making_is_interrupted_once_and_when_it_is_noticed() -> None:
    session = Session()
    session.speech_created()
    session.agent(1.0, "listening", "thinking")
    session.handle.interrupted = True
    session.call.notice_interruptions()
    session.speech_done()
    assert session.order("on_interrupted", "complete_turn") == ["on_interrupted", "complete_turn"]


def test_an_answer_that_was_heard_to_its_end_is_not_interrupted_by_the_hang_up() -> None:
    session = Session()
    session.speech_created()
    session.agent(1.0, "listening", "thinking")
    session.plays(2.0)
    session.call.playback_finished(False, session.speech)
    session.handle.interrupted = True
    session.speech_done()
    assert session.order("on_interrupted") == []


def test_a_pause_that_was_a_barge_in_is_where_the_agent_fell_silent() -> None:
    session = Session()
    session.speech_created()
    session.plays(2.0)
    session.user(2.5, "speaking")
    session.agent(3.0, "speaking", "listening")
    session.handle.interrupted = True
    session.call.playback_finished(True, session.speech)
    assert session.order("on_false_interrupt_start", "on_false_interrupt_escalated", "on_interrupted") == [
        *("on_false_interrupt_start", "on_false_interrupt_escalated", "on_interrupted")
    ]
    (end,) = [args for _hook, args in session.hooks("on_agent_speech_end")]
    (doubt,) = [args for _hook, args in session.hooks("on_false_interrupt_start")]
    assert abs(end["$happened_ns"] - doubt["$happened_ns"]) < 1_000_000


ACTS: list[Any] = [
    lambda s, at: s.user(at, "speaking"),
    lambda s, at: s.user(at, "listening"),
    lambda s, at: s.heard(at, "words"),
    lambda s, at: s.heard(at, "wor", final=False),
    lambda s, at: s.message("words", at - 1),
    lambda s, at: s.message("typed"),
    lambda s, at: s.agent(at, "thinking", "speaking"),
    lambda s, at: s.agent(at, "speaking", "listening"),
    lambda s, at: s.agent(at, "listening", "thinking"),
    lambda s, at: s.plays(at),
    lambda s, at: s.call.playback_finished(False, s.speech),
    lambda s, at: s.call.playback_finished(True, s.speech),
    lambda s, at: s.speech_created(id=str(at)),
    lambda s, at: s.speech_created(id=str(at), scheduled=False, interrupted=True),
    lambda s, at: s.speech_done(),
    lambda s, at: s.llm(at, str(at)),
    lambda s, at: s.llm(at, "same", cancelled=True),
    lambda s, at: s.call.fallback("LLM", "m", False),
]


@given(st.lists(st.sampled_from(ACTS), max_size=25), st.booleans())
def test_in_whatever_order_nothing_is_lost_and_each_run_is_one(acts: list[Any], realtime: bool) -> None:
    session = Session(realtime=realtime)
    for at, act in enumerate(acts):
        act(session, float(at))
    assert len(session.hooks("set_user_transcript")) == sum(act in ACTS[4:6] for act in acts)
    assert len(session.hooks("on_stt_complete")) == (0 if realtime else acts.count(ACTS[2]))
    assert len(session.hooks("emit_user_transcript_transport")) == acts.count(ACTS[3])
    assert len(session.hooks("on_user_speech_start")) == acts.count(ACTS[0])
    named = [args["run_id"] for _hook, args in session.hooks("name_run")]
    assert len(named) == len(set(named)) == len(session.hooks("on_llm_start"))
    assert len(session.hooks("set_llm_usage")) == sum(act in ACTS[15:17] for act in acts)
    session.recorder.close()


def test_neither_turnlog_nor_the_translation_imports_livekit() -> None:
    script = "import sys, turnlog.adapters.livekit.call; print([m for m in sys.modules if m.startswith('livekit')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
