"""What happens in a Pipecat call, told in hooks: which turn it belongs to, and what counts.

Plain data in, hook calls out: this file knows no frame and no framework. Its rules are those of two observers of
Pipecat's: a turn begins and is interrupted as `TurnTrackingObserver` says, and runs, as in `UserBotLatencyObserver`,
from the moment the user fell silent to the moment the agent is first heard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from eventstore.happened import Happened
from eventstore.recorder import Recorder

PAUSE_NS = 2_500_000_000
"""An agent that is silent for longer, and at work on nothing, is done (`TurnTrackingObserver` has the same pause)."""
CUT_NS = 100_000_000
"""How long after a barge-in the agent's end and last words are waited for; they come in a few milliseconds."""


class At(NamedTuple):
    """When something happened: ``wall_ns`` since the epoch, and ``raw``, what the framework said of it."""

    wall_ns: int
    raw: dict[str, Any]


class Turns:
    """Where the call stands. One method for each thing that can happen; each records hooks, or keeps it for later.

    Things are kept where only what follows tells which turn they belong to: speech that may be noise until Pipecat
    calls it a turn, and work on an answer that nobody asked for, until it is heard.
    """

    def __init__(self, recorder: Recorder, perf_seconds: Callable[[int], float]) -> None:
        """``perf_seconds`` turns nanoseconds since the epoch into seconds of the recorder's monotonic clock."""
        self._recorder, self._perf_seconds = recorder, perf_seconds
        self.realtime = False
        self.speaking = False
        """The agent is heard."""
        self._vad: At | None = None
        """Voice is heard, since then."""
        self._noise: tuple[At, At] | None = None
        """The last voice heard that is of no turn so far."""
        self._words: list[tuple[At, str]] = []
        """Transcripts of it."""
        self._paused: At | None = None
        self._cut: At | None = None
        """When the user barged in; the turn is closed as soon as it is complete."""
        self._ahead: list[tuple[At, str, tuple[Any, ...]]] = []
        """Work on an answer that is of no turn so far."""
        self._tools: dict[str, At] = {}
        self._worked_ns = 0
        """When a tool, or the model, was done last."""
        self._llm_runs = self._llm_counts = self._token_due = self._audio_due = False
        self._usage: dict[str, Any] | None = None
        self._errors: dict[str, str] = {}
        """The last one of each source, as a reason to switch."""
        self.open = False
        self._begin()

    def _begin(self) -> None:
        """What is known of a turn that is new."""
        self._user_turn = self._heard = self._answered = self._doubted = self._tts = self._interim = False
        self._since: At | None = None
        """The user speaks; then they are silent, and there are final words."""
        self._silent: At | None = None
        self._final: At | None = None
        self._said: list[str] = []
        self._spoken: list[str] = []
        self._response: list[str] = []

    def _at(self, at: At) -> Happened:
        return self._recorder.happened(at.wall_ns, at.raw)

    def note(self, at: At, name: str, **arguments: Any) -> None:
        """What no hook is for."""
        self._at(at).framework_event(name, arguments)

    # turns -----------------------------------------------------------------------------------------------------

    def begin(self, at: At) -> None:
        """A turn begins: the first one with the call, before anybody speaks."""
        self._begin()
        self._ahead.clear()
        self.open = True
        self._at(at).start_turn()

    def end(self, at: At) -> None:
        """The turn is over; one of a realtime model is closed as its timer would."""
        if self.speaking or self._paused is not None:
            self._at(self._paused or at).on_agent_speech_end()
        if not self._response and self._spoken:
            self._at(at).set_agent_response(" ".join(self._spoken))
        self._flush_usage(at)
        self.open = self.speaking = False
        self._paused = self._cut = None
        hooks = self._at(at)
        hooks.finalize_realtime_turn() if self.realtime else hooks.complete_turn()

    def finish(self, at: At, *, cut_off: bool) -> None:
        """The call is over; ``cut_off`` if what the agent was saying will not be heard."""
        self._settle()
        if self.open:
            if self.speaking and cut_off:
                self._at(at).on_interrupted()
            self.end(at)
        self._at(at).finalize_session()

    @property
    def waits(self) -> bool:
        """Whether `pass_time` may have something to do."""
        return self._paused is not None or self._cut is not None

    def pass_time(self, wall_ns: int) -> None:
        """It is so late; turns end by silence too."""
        if self._cut is not None:
            if wall_ns - self._cut.wall_ns >= CUT_NS:
                self._settle()
        elif self._paused is not None and not self._llm_runs and not self._tools:
            idle_since_ns = max(self._paused.wall_ns, self._worked_ns)
            if wall_ns - idle_since_ns >= PAUSE_NS:
                self.end(At(wall_ns, {"idle_since_ns": idle_since_ns}))

    def _settle(self) -> None:
        """Close a turn in which the user barged in, and open the next."""
        if (cut := self._cut) is not None:
            self.end(cut)
            self.begin(cut)
            self._listen(cut)

    # the user --------------------------------------------------------------------------------------------------

    def user_turn_started(self, at: At) -> None:
        """Pipecat takes what it hears for a turn: a barge-in if the agent is speaking."""
        if self._cut is not None:
            return
        if self.speaking:
            if self._doubted:
                self._at(at).on_false_interrupt_escalated()
            self._at(at).on_interrupted()
            self._cut = at
            self._llm_runs = False
            self._tools.clear()
            return
        if self.open and self._answered:
            self.end(at)
        if not self.open:
            self.begin(at)
        self._listen(at)

    def _listen(self, at: At) -> None:
        self._user_turn, self._interim = True, False
        noise, self._noise = self._noise, None
        if self._heard:  # they go on, before they got an answer; what was being said of one is void
            self._tts = self._audio_due = False
            return
        self._heard = True
        self._since = self._vad or (noise[0] if noise else self._words[0][0] if self._words else at)
        self._at(self._since).on_user_speech_start()
        if self._vad is None:
            if noise is not None:
                self._fell_silent(noise[1])
            self._take_words(self._since)

    def user_turn_stopped(self, at: At) -> None:
        """Pipecat takes the user to be done. Without a voice detector, that is also when they fell silent."""
        self._settle()
        if not self._user_turn or self._answered:
            return
        self._user_turn = False
        if self._silent is None and self._vad is None:
            self._fell_silent(at)
        self._take_words(self._since or at)
        since = max((moment for moment in (self._silent, self._final) if moment), key=lambda m: m.wall_ns, default=at)
        self._at(since).on_eou_start()
        self._at(at).on_eou_complete()
        self._hand_over(at)

    def voice_started(self, at: At) -> None:
        """The voice detector; ``at`` is when the sound began, not when it was sure."""
        if self._vad is not None:
            return
        self._settle()
        self._vad = at
        self.note(at, "voice_started")

    def voice_stopped(self, at: At) -> None:
        """Silence since ``at``. Of a voice that was no turn while the agent spoke, a false interruption is left."""
        if (start := self._vad) is None:
            return
        self._settle()
        self._vad = None
        if self._heard and not self._answered:
            return self._fell_silent(at)
        self._noise = start, at
        self.note(at, "voice_stopped")
        if self.speaking:
            self._doubted = True
            self._at(start).on_false_interrupt_start()
            self._at(at).on_false_interrupt_resume()

    def _fell_silent(self, at: At) -> None:
        self._silent = at
        self._at(at).on_user_speech_end()
        self._take_words(self._since or at)

    def interim(self, at: At, text: str) -> None:
        self._settle()
        self.note(at, "interim", text=text)
        if self._user_turn and not self._answered and not self._interim:
            self._interim = True
            self._at(self._vad or at).on_stt_start()
            self._at(at).on_stt_interim_end()

    def transcript(self, at: At, text: str) -> None:
        """Final words. They are kept until it is known whether they are of a turn, and when the voice ended."""
        self._settle()
        if self._heard and not self._answered and self._vad is None:
            self._transcribed(at, text)
        else:
            self._words.append((at, text))
            self.note(at, "transcript", text=text)

    def _take_words(self, since: At) -> None:
        words, self._words = self._words, []
        for at, text in words:
            if at.wall_ns >= since.wall_ns:
                self._transcribed(at, text)

    def _transcribed(self, at: At, text: str) -> None:
        """STT takes as long as from the user's silence to the words; no time if they spoke on."""
        after_silence = self._silent is not None and self._vad is None and self._silent.wall_ns < at.wall_ns
        hooks = self._at(at)
        (self._at(self._silent) if after_silence and self._silent else hooks).on_stt_start()
        hooks.on_stt_complete(text)
        self._final = at
        self._said.append(text)
        if not self._user_turn:
            self._hand_over(at)

    def _hand_over(self, at: At) -> None:
        if self._said:
            self._at(at).set_user_transcript(" ".join(self._said))

    # the answer ------------------------------------------------------------------------------------------------

    def _answer(self, at: At, hook: str, *args: Any) -> None:
        """A step towards an answer: of this turn until the agent is heard, then of the next, if there will be one."""
        if self.open and not self._answered:
            getattr(self._at(at), hook)(*args)
        else:
            self._ahead.append((at, hook, args))
            self.note(at, hook, arguments=list(args))

    def llm_started(self, at: At) -> None:
        self._settle()
        self._llm_runs = self._token_due = True
        self._llm_counts = self.open and not self._answered
        if not self._llm_counts:
            self._ahead.clear()
        self._answer(at, "on_llm_start")

    def llm_gave(self, at: At) -> None:
        """A token, or a tool call; the first one counts."""
        if self._token_due:
            self._token_due = False
            self._llm("on_llm_first_token", at)

    def llm_ended(self, at: At) -> None:
        self._llm_runs = self._token_due = False
        self._worked_ns = at.wall_ns
        self._llm("on_llm_complete", at)
        self._flush_usage(at)

    def _llm(self, hook: str, at: At) -> None:
        if self._llm_counts and self.open:
            getattr(self._at(at), hook)()
        else:
            self._answer(at, hook)

    def llm_usage(self, at: At, usage: dict[str, Any]) -> None:
        """Token counts; they come before the model's end, and count with it."""
        self._usage = usage
        if not self._llm_runs:
            self._flush_usage(at)

    def _flush_usage(self, at: At) -> None:
        if (usage := self._usage) is not None:
            self._usage = None
            hooks = self._at(at)
            hooks.set_realtime_usage(usage) if self.realtime else hooks.set_llm_usage(usage)

    def tts_started(self, at: At) -> None:
        """Speech is being made; of an answer in several pieces, the first counts."""
        self._settle()
        if self._tts:
            return self.note(at, "tts_started")
        self._tts = self._audio_due = True
        self._answer(at, "on_tts_start")

    def tts_audio(self, at: At) -> None:
        if self._audio_due:
            self._audio_due = False
            self._answer(at, "on_tts_first_byte")

    @property
    def audio_due(self) -> bool:
        """Whether `tts_audio` has something to do."""
        return self._audio_due

    def tts_characters(self, at: At, count: int) -> None:
        if self.open:
            self._at(at).add_tts_characters(count)
        else:
            self._answer(at, "add_tts_characters", count)

    def agent_started(self, at: At) -> None:
        """The agent is heard. After a pause it is the same speech; after its turn, it begins one of its own."""
        self._settle()
        if self.speaking:
            return
        if self.open and self._user_turn and not self._tts:  # it has no answer yet: a rest of the one that was cut
            return self.note(at, "agent_started")
        self.speaking, self._paused = True, None
        if self.open and self._answered:
            self._ahead.clear()
            return self.note(at, "agent_started")
        if not self.open:
            ahead = list(self._ahead)
            self.begin(ahead[0][0] if ahead else at)
            self._tts = True
            for when, hook, args in ahead:
                getattr(self._at(when), hook)(*args)
        self._answered, self._user_turn = True, False
        self._at(at).on_agent_speech_start()

    def agent_stopped(self, at: At) -> None:
        """The agent is silent: cut off, done, or only pausing; that shows later."""
        if not self.speaking:
            return
        self.speaking, self._paused, self._tts = False, at, False
        self.note(at, "agent_stopped")

    def agent_words(self, at: At, text: str) -> None:
        """What the agent has said, and the user heard, as the context keeps it."""
        if not self.open or not text:
            return self.note(at, "agent_words", text=text)
        self._response.append(text)
        self._at(at).set_agent_response(" ".join(self._response))

    def agent_text(self, text: str) -> None:
        """What the agent is going to say; it counts where nobody tells what it has said."""
        self._spoken.append(text)

    # tools and trouble -----------------------------------------------------------------------------------------

    def tool_started(self, at: At, call: str) -> None:
        self._settle()
        self._tools[call] = at

    def tool_ended(self, at: At, call: str, name: str, arguments: Any, result: Any) -> None:
        self._settle()
        start = self._tools.pop(call, at)
        self._worked_ns = at.wall_ns
        self._at(at).add_function_tool_call(
            name,
            dict(arguments) if isinstance(arguments, Mapping) else arguments,
            dict(result) if isinstance(result, Mapping) else {"result": result},
            self._perf_seconds(start.wall_ns),
            self._perf_seconds(at.wall_ns),
        )

    def failed(self, at: At, source: str, message: str) -> None:
        self._errors[source] = message
        self._at(at).add_error(source, message)

    def switched(self, at: At, component: str, old: str, new: str, model: str) -> None:
        """Another provider serves a component (``stt``, ``llm``, ``tts``) from now on."""
        self._settle()
        hooks, time = self._at(at), self._perf_seconds(at.wall_ns)
        event = {
            "component_type": component.upper(),
            "message": self._errors.pop(component.upper(), "switched on demand"),
            "start_time": time,
            "end_time": time,
            "original_provider_label": old,
            "new_provider_label": new,
        }
        if self.open:
            hooks.on_fallback_event(event)
        else:
            self.note(at, "switched", **event)
        hooks.update_provider_class(component.upper(), new, model)
