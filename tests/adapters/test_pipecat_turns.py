"""The rules by which a Pipecat call is told in hooks, without Pipecat: what happens is written down, with its time."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import Clock
from eventstore.memory_store import MemoryStore
from projections.replay import Call, replay
from turnlog import Recorder
from turnlog.adapters.pipecat_turns import At, Turns

EPOCH_NS = 1_800_000_000 * 10**9


class Line:
    """A call that is told second by second."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.ns = 0
        clock = Clock(lambda: self.ns + 10**9, lambda: self.ns + EPOCH_NS)
        self.recorder = Recorder(self.store, "s", clock=clock, durability="memory")
        self.turns = Turns(self.recorder, lambda wall_ns: (wall_ns - EPOCH_NS) / 1e9 + 1)
        self.do(0, "begin")

    def at(self, seconds: float) -> At:
        return At(EPOCH_NS + round(seconds * 1e9), {"at": seconds})

    def do(self, seconds: float, what: str, *arguments: Any, late: float = 0.0) -> None:
        """Something happens; it is told ``late`` seconds after."""
        self.ns = round((seconds + late) * 1e9)
        self.turns.pass_time(EPOCH_NS + self.ns)
        getattr(self.turns, what)(self.at(seconds), *arguments)

    def wait(self, seconds: float) -> None:
        """Until then nothing happens."""
        self.ns = round(seconds * 1e9)
        self.turns.pass_time(EPOCH_NS + self.ns)

    def asks(self, seconds: float, text: str = "What?") -> None:
        """A user's turn of one second, and their words 0.4 s after."""
        self.do(seconds, "voice_started", late=0.2)
        self.do(seconds + 0.2, "user_turn_started")
        self.do(seconds + 1, "voice_stopped", late=0.2)
        self.do(seconds + 1.4, "transcript", text)
        self.do(seconds + 1.5, "user_turn_stopped")

    def answers(self, seconds: float, *, until: float | None = None) -> None:
        self.do(seconds, "llm_started")
        self.do(seconds + 0.1, "llm_gave")
        self.do(seconds + 0.2, "llm_ended")
        self.do(seconds + 0.2, "tts_started")
        self.do(seconds + 0.4, "tts_audio")
        self.do(seconds + 0.5, "agent_started")
        if until is not None:
            self.do(until, "agent_stopped")

    def call(self) -> Call:
        self.recorder.flush()
        return replay(self.store.read("s"))

    def end(self, seconds: float, *, cut_off: bool = False) -> Call:
        self.ns = round(seconds * 1e9)
        self.turns.finish(self.at(seconds), cut_off=cut_off)
        call = self.call()
        self.recorder.close()
        return call


@pytest.fixture
def line() -> Line:
    return Line()


def test_times_are_those_of_what_happened(line: Line) -> None:
    line.asks(1)
    line.answers(2.6, until=5)
    (turn,) = line.end(6).turns
    times = (turn.user_speech_start_time, turn.user_speech_end_time, turn.agent_speech_start_time)
    assert times == pytest.approx((2, 3, 4.1))  # the recorder's clock is one second ahead of the call
    assert turn.agent_speech_end_time == pytest.approx(6)
    assert turn.stt_metrics[-1].stt_latency == pytest.approx(400)
    assert turn.eou_metrics[-1].eou_latency == pytest.approx(100)
    assert turn.llm_metrics[-1].llm_ttft == pytest.approx(100)
    assert turn.tts_metrics[-1].ttfb == pytest.approx(200)


def test_words_before_the_detector_is_sure_of_the_silence(line: Line) -> None:
    line.do(1, "voice_started", late=0.2)
    line.do(1.2, "user_turn_started")
    line.do(2.3, "transcript", "What?")
    line.do(2, "voice_stopped", late=0.8)
    line.do(2.9, "user_turn_stopped")
    line.answers(3, until=5)
    (turn,) = line.end(6).turns
    assert turn.stt_metrics[-1].stt_latency == pytest.approx(300)
    assert turn.eou_metrics[-1].eou_latency == pytest.approx(600)
    assert turn.user_speech == "What?"


def test_the_agent_pauses_and_its_answer_goes_on(line: Line) -> None:
    """A filler, a slow tool, the answer: one turn, one speech, and the latency is up to the filler."""
    line.asks(1)
    line.answers(2.6)
    line.do(3.5, "tool_started", "t")
    line.do(4, "agent_stopped")
    line.wait(9)
    assert line.turns.open
    line.do(9, "tool_ended", "t", "look_up", {"a": 1}, "found")
    line.answers(9.1, until=12)
    line.wait(14.4)
    assert line.turns.open
    line.wait(14.6)
    assert not line.turns.open
    (turn,) = line.end(20).turns
    assert (turn.agent_speech_start_time, turn.agent_speech_end_time) == pytest.approx((4.1, 13))
    assert turn.llm_metrics[-1].llm_ttft == pytest.approx(100)
    assert turn.function_tool_metrics[0].latency == pytest.approx(5500)
    assert turn.function_tool_metrics[0].tool_response == {"result": "found"}


def test_an_agent_that_speaks_up_by_itself_has_a_turn_of_its_own(line: Line) -> None:
    line.asks(1)
    line.answers(2.6, until=4)
    line.do(10, "llm_started")  # it had nothing to say
    line.do(11, "llm_ended")
    line.answers(20, until=22)
    first, second = line.end(30).turns
    assert first.agent_speech_end_time == pytest.approx(5)
    assert (second.user_speech_start_time, second.agent_speech_start_time) == (None, pytest.approx(21.5))
    assert (second.llm_metrics[-1].llm_ttft, second.tts_metrics[-1].ttfb) == pytest.approx((100, 200))
    assert second.timestamp - EPOCH_NS / 1e9 == pytest.approx(20)


def test_work_on_an_answer_that_nobody_hears_is_of_no_turn(line: Line) -> None:
    line.asks(1)
    line.answers(2.6, until=4)
    line.do(10, "llm_started")
    line.do(10.1, "llm_gave")
    line.do(10.2, "llm_ended")
    line.asks(11)
    line.answers(13, until=15)
    _, second = line.end(20).turns
    assert second.user_speech_start_time == pytest.approx(12)
    assert second.llm_metrics[-1].llm_start_time == pytest.approx(14)


def test_a_barge_in_waits_for_the_agents_end_and_words(line: Line) -> None:
    line.asks(1)
    line.answers(2.6)
    line.do(6, "voice_started", late=0.2)
    line.do(6.2, "user_turn_started")
    line.do(6.21, "agent_stopped")
    line.do(6.215, "agent_words", "What the user heard.")
    line.wait(6.25)
    assert line.call().turns == []
    line.wait(6.31)
    assert len(line.call().turns) == 1
    line.do(7, "voice_stopped", late=0.2)
    line.do(7.5, "user_turn_stopped")
    line.answers(8, until=9)
    cut, after = line.end(12).turns
    assert (cut.is_interrupted, after.is_interrupted) == (True, False)
    assert (cut.agent_speech, cut.agent_speech_end_time) == ("What the user heard.", pytest.approx(7.21))
    assert after.user_speech_start_time == pytest.approx(7)


def test_a_rest_of_what_was_cut_is_no_answer(line: Line) -> None:
    line.asks(1)
    line.answers(2.6)
    line.do(4.4, "transcript", "Stop it please.")
    line.do(4.4, "user_turn_started")
    line.do(4.45, "agent_stopped")
    line.do(4.46, "agent_started")
    line.do(4.6, "agent_stopped")
    line.do(4.8, "user_turn_stopped")
    line.answers(5, until=7)
    cut, after = line.end(8).turns
    assert (cut.is_interrupted, after.user_speech) == (True, "Stop it please.")
    assert after.agent_speech_start_time == pytest.approx(6.5)


def test_noise_while_the_agent_speaks(line: Line) -> None:
    line.asks(1)
    line.answers(2.6)
    line.do(6, "voice_started", late=0.2)
    line.do(6.5, "voice_stopped", late=0.2)
    line.do(9, "agent_stopped")
    (turn,) = line.end(12).turns
    assert not turn.is_interrupted
    assert turn.user_speech_end_time == pytest.approx(3)
    assert turn.interruption_metrics is not None
    assert turn.interruption_metrics.is_false_interrupt
    assert turn.interruption_metrics.false_interrupt_duration == pytest.approx(500)


def test_noise_that_its_words_make_a_barge_in(line: Line) -> None:
    line.asks(1)
    line.answers(2.6)
    line.do(6, "voice_started", late=0.2)
    line.do(6.5, "voice_stopped", late=0.2)
    line.do(6.9, "transcript", "Stop!")
    line.do(6.9, "user_turn_started")
    line.do(6.91, "agent_stopped")
    line.do(7.2, "user_turn_stopped")
    line.answers(7.3, until=9)
    cut, after = line.end(12).turns
    assert cut.is_interrupted
    assert cut.interruption_metrics is not None
    assert not cut.interruption_metrics.is_false_interrupt
    assert (after.user_speech, after.user_speech_start_time) == ("Stop!", pytest.approx(7))
    assert after.user_speech_end_time == pytest.approx(7.5)
    assert after.stt_metrics[-1].stt_latency == pytest.approx(400)


def test_words_of_old_noise_are_not_the_turns(line: Line) -> None:
    line.asks(1)
    line.answers(2.6)
    line.do(6, "voice_started")
    line.do(6.5, "voice_stopped")
    line.do(6.9, "transcript", "Hm.")
    line.do(9, "agent_stopped")
    line.asks(10, "Why?")
    line.answers(12, until=13)
    assert [turn.user_speech for turn in line.end(20).turns] == ["What?", "Why?"]


def test_without_a_voice_detector(line: Line) -> None:
    """A service that finds turns by itself says only when they start and stop."""
    line.do(1, "user_turn_started")
    line.do(1.8, "transcript", "What?")
    line.do(2, "user_turn_stopped")
    line.answers(2, until=4)
    (turn,) = line.end(5).turns
    assert (turn.user_speech_start_time, turn.user_speech_end_time) == pytest.approx((2, 3))
    assert turn.user_speech == "What?"


def test_going_on_before_the_answer_is_one_turn(line: Line) -> None:
    line.asks(1, "I want")
    line.do(2.6, "llm_started")
    line.do(2.7, "tts_started")
    line.asks(3, "a jacket.")
    line.answers(4.6, until=6)
    (turn,) = line.end(7).turns
    assert (turn.user_speech_start_time, turn.user_speech_end_time) == pytest.approx((2, 5))
    assert len(turn.vad_metrics) == 1
    assert turn.tts_metrics[-1].ttfb == pytest.approx(200)
    assert turn.stt_metrics[-1].stt_latency == pytest.approx(400)


@pytest.mark.parametrize("cut_off", [True, False])
def test_only_a_call_that_is_cut_off_interrupts_the_agent(line: Line, cut_off: bool) -> None:
    line.asks(1)
    line.answers(2.6)
    (turn,) = line.end(5, cut_off=cut_off).turns
    assert turn.is_interrupted == cut_off


def test_a_realtime_models_turn(line: Line) -> None:
    line.turns.realtime = True
    line.do(1, "user_turn_started")
    line.do(2, "user_turn_stopped")
    line.do(2.7, "agent_started")
    line.do(4, "llm_usage", {"total_tokens": 5})
    line.do(5, "agent_stopped")
    (turn,) = line.end(6).turns
    assert turn.realtime_metrics[-1].realtime_ttfb == pytest.approx(700)
    assert turn.realtime_metrics[-1].realtime_total_tokens == 5


def test_what_is_told_twice_counts_once(line: Line) -> None:
    things = (
        "voice_started",
        "user_turn_started",
        "voice_stopped",
        "user_turn_stopped",
        "agent_started",
        "agent_stopped",
    )
    for seconds, what in enumerate(things, 1):
        line.do(seconds, what)
        line.do(seconds, what)
    call = line.end(6)
    hooks = [event.hook for event in line.store.read("s")]
    assert len(call.turns) == 1
    for hook in ("on_user_speech_start", "on_user_speech_end", "on_eou_start", "on_agent_speech_start"):
        assert hooks.count(hook) == 1
