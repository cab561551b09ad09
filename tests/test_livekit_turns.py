"""LiveKit's events told to `LiveKitTurns` by hand, without LiveKit: the decisions that make a turn."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventstore.memory_store import MemoryStore
from projections.model import Turn
from projections.replay import Call, replay
from turnlog import Recorder
from turnlog.adapters.livekit_turns import LiveKitTurns, Speech

T0 = time.time()
PLAIN, CUT = Speech("a", False), Speech("a", True)


class Told:
    """A call, told event by event; times are seconds since its beginning."""

    def __init__(self, *, realtime: bool = False, pause_seconds: float | None = 2.0) -> None:
        self.store = MemoryStore()
        self.recorder = Recorder(self.store, "s", durability="memory")
        self.turns = LiveKitTurns(self.recorder, realtime=realtime, pause_seconds=pause_seconds)

    def user(self, at: float, new: str) -> None:
        old = "listening" if new == "speaking" else "speaking"
        self.turns.user_state_changed(SimpleNamespace(old_state=old, new_state=new, created_at=T0 + at))

    def asks(self, text: str, start: float, end: float, speech: str = "a") -> None:
        self.user(start, "speaking")
        self.user(end, "listening")
        self.committed(text, start, end, speech)

    def committed(self, text: str, start: float, end: float, speech: str = "a") -> None:
        self.turns.metrics(SimpleNamespace(type="eou_metrics", speech_id=speech))
        metrics = {"started_speaking_at": T0 + start, "stopped_speaking_at": T0 + end}
        metrics |= {"transcription_delay": 0.2, "end_of_turn_delay": 0.5}
        self.turns.user_message(SimpleNamespace(text_content=text, metrics=metrics, transcript_confidence=0.9), None)

    def agent(self, at: float, old: str, new: str, speech: Speech | None = PLAIN) -> None:
        self.turns.agent_state_changed(SimpleNamespace(old_state=old, new_state=new, created_at=T0 + at), speech)

    def answers(self, text: str, start: float, end: float, speech: Speech = PLAIN, interrupted: bool = False) -> None:
        metrics = {"started_speaking_at": T0 + start, "stopped_speaking_at": T0 + end}
        item = SimpleNamespace(text_content=text, metrics=metrics, interrupted=interrupted, created_at=T0 + start)
        self.turns.agent_message(item, speech)

    def llm(self, at: float, speech: str = "a") -> None:
        counts = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_cached_tokens": 0}
        times = {"timestamp": T0 + at + 0.4, "duration": 0.4, "ttft": 0.3}
        self.turns.metrics(SimpleNamespace(type="llm_metrics", speech_id=speech, **times, **counts))

    def call(self) -> Call:
        self.turns.close()
        self.recorder.close()
        call = replay(self.store.read("s"))
        assert call.raised == []
        return call


def ms(later: float | None, earlier: float | None) -> int:
    assert later is not None
    assert earlier is not None
    return round((later - earlier) * 1000)


def test_stt_and_eou_are_the_end_of_turn_delay_in_two_parts() -> None:
    told = Told()
    told.asks("hello", 1.0, 2.0)
    told.agent(3.0, "thinking", "speaking")
    told.answers("hi", 3.0, 4.0)
    told.turns.speech_done(PLAIN)
    (turn,) = told.call().turns
    assert round(turn.stt_metrics[0].stt_latency or 0) == 200
    assert round(turn.eou_metrics[0].eou_latency or 0) == 300
    assert ms(turn.agent_speech_start_time, turn.user_speech_end_time) == 1000
    assert ms(turn.agent_speech_end_time, turn.agent_speech_start_time) == 1000


def test_an_llm_that_is_done_before_the_turn_was_decided_belongs_to_it() -> None:
    told = Told()
    told.user(1.0, "speaking")
    told.user(2.0, "listening")
    told.llm(2.1)
    told.llm(2.2, speech="discarded")
    told.committed("hello", 1.0, 2.0)
    told.agent(3.0, "thinking", "speaking")
    told.answers("hi", 3.0, 4.0)
    told.turns.speech_done(PLAIN)
    (turn,) = told.call().turns
    assert ms(turn.llm_metrics[0].llm_start_time, turn.user_speech_end_time) == 100
    assert turn.llm_metrics[0].total_tokens == 3


def test_noise_into_an_answer_is_in_no_turn() -> None:
    told = Told()
    told.asks("hello", 1.0, 2.0)
    told.agent(3.0, "thinking", "speaking")
    told.user(3.2, "speaking")
    told.user(3.4, "listening")
    told.answers("hi", 3.0, 4.0)
    told.turns.speech_done(PLAIN)
    told.asks("and now", 5.0, 6.0, "b")
    told.agent(7.0, "thinking", "speaking", Speech("b", False))
    told.answers("bye", 7.0, 8.0, Speech("b", False))
    told.turns.speech_done(Speech("b", False))
    first, second = told.call().turns
    assert ms(first.agent_speech_start_time, first.user_speech_end_time) == 1000
    assert ms(second.user_speech_start_time, first.agent_speech_end_time) == 1000


def test_speech_that_outlasts_the_answer_begins_the_next_turn() -> None:
    told = Told()
    told.asks("hello", 1.0, 2.0)
    told.agent(3.0, "thinking", "speaking")
    told.user(3.8, "speaking")
    told.answers("hi", 3.0, 4.0)
    told.turns.speech_done(PLAIN)
    told.user(4.5, "listening")
    told.committed("and", 3.8, 4.5, "b")
    first, second = told.call().turns
    assert not first.is_interrupted
    assert ms(second.user_speech_start_time, first.agent_speech_start_time) == 800


def test_a_pause_that_was_a_barge_in_ends_the_speech_where_it_began() -> None:
    told = Told()
    told.asks("hello", 1.0, 2.0)
    told.agent(3.0, "thinking", "speaking")
    told.user(4.0, "speaking")
    told.agent(4.5, "speaking", "listening")
    told.user(5.0, "listening")
    told.answers("hi there", 3.0, 5.5, CUT, interrupted=True)
    told.turns.speech_done(CUT)
    told.committed("no", 4.0, 5.0, "b")
    call = told.call()
    first, second = call.turns
    assert first.is_interrupted
    assert ms(first.agent_speech_end_time, first.agent_speech_start_time) == 1500
    assert ms(second.user_speech_start_time, first.agent_speech_start_time) == 1000
    assert second.user_speech == "no"
    assert call.total_interruptions == 1


def test_a_noise_that_paused_the_agent_is_not_the_beginning_of_a_later_barge_in() -> None:
    told = Told()
    told.asks("hello", 1.0, 2.0)
    told.agent(3.0, "thinking", "speaking")
    told.user(4.0, "speaking")
    told.agent(4.5, "speaking", "listening")
    told.user(5.0, "listening")
    told.agent(7.0, "listening", "speaking")
    told.user(8.0, "speaking")
    told.answers("hi there", 3.0, 9.0, CUT, interrupted=True)
    told.turns.speech_done(CUT)
    first = told.recorder.current_turn
    assert first is not None
    assert first.user_speech_start_time is not None
    (interrupted,) = told.recorder.turns
    assert ms(first.user_speech_start_time, interrupted.agent_speech_start_time) == 5000
    told.call()


def test_the_agent_is_heard_from_when_playback_began() -> None:
    told = Told()
    told.asks("hello", 1.0, 2.0)
    told.turns.playback_started_at = T0 + 2.9
    told.agent(3.0, "thinking", "speaking")
    (turn,) = told.call().turns
    assert ms(turn.agent_speech_start_time, turn.user_speech_end_time) == 900


def test_a_message_cut_short_by_its_tts_is_no_interruption() -> None:
    told = Told()
    told.asks("hello", 1.0, 2.0)
    told.agent(3.0, "thinking", "speaking")
    told.answers("hi th", 3.0, 3.5, PLAIN, interrupted=True)
    told.turns.speech_done(PLAIN)
    assert [turn.is_interrupted for turn in told.call().turns] == [False]


def test_a_realtime_transcript_may_come_after_the_answer() -> None:
    told = Told(realtime=True, pause_seconds=None)
    told.user(1.0, "speaking")
    told.user(2.0, "listening")
    told.agent(3.0, "listening", "speaking")
    told.agent(4.0, "speaking", "listening")
    told.turns.speech_done(PLAIN)
    late = SimpleNamespace(text_content="hello", metrics={}, transcript_confidence=1.0)
    told.turns.user_message(late, None)
    (turn,) = told.call().turns
    assert turn.user_speech == "hello"
    assert round(turn.e2e_latency or 0) == 1000


ACTS: list[Any] = [
    lambda t, at: t.user(at, "speaking"),
    lambda t, at: t.user(at, "listening"),
    lambda t, at: t.agent(at, "thinking", "speaking"),
    lambda t, at: t.agent(at, "speaking", "listening"),
    lambda t, at: t.agent(at, "speaking", "thinking", None),
    lambda t, at: t.agent(at, "listening", "speaking", Speech("b", False)),
    lambda t, at: t.committed("x", at - 1, at),
    lambda t, at: t.committed("x", at - 1, at, "b"),
    lambda t, at: t.answers("y", at - 1, at),
    lambda t, at: t.answers("y", at - 1, at, CUT, interrupted=True),
    lambda t, at: t.turns.speech_done(PLAIN),
    lambda t, at: t.turns.speech_done(CUT),
    lambda t, at: t.turns.speech_done(Speech("b", False)),
    lambda t, at: t.llm(at),
    lambda t, at: t.turns.fallback("LLM", "m", False),
]


@given(st.lists(st.sampled_from(ACTS), max_size=25), st.booleans())
def test_whatever_comes_in_whatever_order_every_commit_is_one_turn(acts: list[Any], realtime: bool) -> None:
    told = Told(realtime=realtime)
    for at, act in enumerate(acts):
        act(told, float(at))
    call = told.call()
    turns: list[Turn] = [*call.turns, *(found.turn for found in call.discarded)]
    assert sum(turn.user_speech == "x" for turn in turns) == sum(act in ACTS[6:8] for act in acts)
    assert all(len(turn.vad_metrics) <= 1 and len(turn.stt_metrics) <= 1 for turn in turns)


def test_neither_turnlog_nor_the_turns_import_livekit() -> None:
    script = "import sys, turnlog.adapters.livekit_turns; print([m for m in sys.modules if m.startswith('livekit')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
