"""Who was heard when, and what they said: a session's events as the speech of both sides, whatever turns they make.

Times are nanoseconds on one clock, the monotonic one of the session's first origin; another origin's is laid beside it
by the wall clocks of their first events, as in `eventstore.event.merge`. An ``at`` is an index into the events. What
later releases know (``local_vad`` and ``at``, 1.0.27) counts in every session, under whatever rules it is replayed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from eventstore.arguments import Args
from eventstore.codec import clocks, decode
from eventstore.event import Event


class Utterance(msgspec.Struct):
    """The user is heard."""

    at: int
    start: int
    end: int | None = None
    """None: nobody said when."""


class Doubt(msgspec.Struct):
    """The agent's side takes what it hears for a false interruption."""

    at: int
    start: int
    paused: bool
    """The agent is silent meanwhile. Who gives a ``pause_duration`` pauses; Pipecat only notes the noise."""
    end: int | None = None
    """When it was over, and the agent went on."""
    escalated: bool = False


class Speech(msgspec.Struct):
    """The agent is heard."""

    at: int
    start: int
    turn: int
    before: str
    """What it had said in this turn before."""
    end: int | None = None
    end_known: bool = False
    """The end was reported; else it is when the agent was told to stop, or its turn was completed."""
    cut: bool = False
    doubts: list[Doubt] = []


class Cut(msgspec.Struct):
    """The agent is told to stop."""

    at: int
    time: int
    turn: int
    speech: Speech | None
    """What was heard then."""
    characters: int
    """How many had been synthesised of the turn's answer."""


class Words(msgspec.Struct):
    """Something of the user was understood."""

    at: int
    time: int
    turn: int
    text: str
    """Empty of what is interim."""
    kind: Literal["interim", "final", "turn"]
    """From STT, or as the turn got it: perhaps of several utterances, perhaps typed."""


class Heard(msgspec.Struct):
    """What `hear` finds, and, below, where its fold stands."""

    events: list[Event] = []
    began: int = 0
    utterances: list[Utterance] = []
    speeches: list[Speech] = []
    cuts: list[Cut] = []
    doubts: list[Doubt] = []
    words: list[Words] = []
    texts: dict[int, str] = {}
    """The agent's answer by turn, as it was set last."""
    framework: str = ""

    at: int = -1
    turn: int = 0
    open: bool = False
    """A turn is open; between turns, what comes is the next one's."""
    user: Utterance | None = None
    agent: Speech | None = None
    awaited: Speech | None = None
    """The speech whose end may yet be reported: some frameworks do at once, some later, some never."""
    again: bool = False
    """Since the agent began to speak, another synthesis did."""
    before: str = ""
    characters: int = 0
    local_vad: bool = False

    def text_of(self, speech: Speech) -> str:
        """What the agent meant to say in it, or as much as its framework kept; empty if nobody told."""
        return self.texts.get(speech.turn, "").removeprefix(speech.before).strip()


def hear(events: Iterable[Event]) -> Heard:
    """Fold a session's events, which stand in canonical order.

    Raises `NewerEvent` for what only a newer turnlog can read. Hooks and arguments of no use here are passed over.
    """
    events = list(events)
    h = Heard(events=events, began=clocks(events[0])[0] if events else 0)
    first = events[0].wall_ns - events[0].perf_ns if events else 0
    offsets: dict[str, int] = {}
    for h.at, event in enumerate(events):
        offset = offsets.get(event.origin)
        if offset is None:
            offset = offsets[event.origin] = event.wall_ns - event.perf_ns - first
        handler = _HANDLERS.get(event.hook)
        if handler is None:
            continue
        h.open = h.open or event.hook in _OPENING
        args = decode(event) if event.payload != "{}" else {}
        if type(args.get("at")) in (int, float):
            args["at"] = _ns(args["at"], offset)
        handler(h, clocks(event)[0] + offset, args)
    return h


def _ns(seconds: float, offset: int) -> int | None:
    return round(seconds * 1e9) + offset if math.isfinite(seconds * 1e9) else None


def _text(value: Any) -> str:
    """Text that was sealed is none (`eventstore.content` has the mark), as its length says nothing."""
    return value.strip() if isinstance(value, str) and value != SEALED else ""


SAME_NS = 1_000_000
"""Two starts of the user that are nearer to each other are one, told by two hooks."""
SEALED = "[sealed]"
"""What stands for text whose key is not at hand, or was destroyed."""


# the user -------------------------------------------------------------------------------------------------------


def _user_start(h: Heard, now: int, args: Args) -> None:
    known = any(abs(user.start - now) < SAME_NS for user in h.utterances)
    if h.user is None and not known and (args.get("local_vad") or not h.local_vad):
        h.user = Utterance(h.at, now)
        h.utterances.append(h.user)


def _user_end(h: Heard, now: int, args: Args) -> None:
    """Reported again, it is the same end, measured better; before the last start, it is that of another utterance."""
    if not h.utterances or (h.local_vad and not args.get("local_vad")):
        return
    given = args.get("at")
    end = given if type(given) is int and h.utterances[-1].start <= given <= now else now
    user = next((user for user in reversed(h.utterances) if user.start <= end), None)
    if user is not None:
        user.end = end
    if user is h.user:
        h.user = None


def _user_state(h: Heard, now: int, args: Args) -> None:
    """LiveKit's own event: what is said into an answer is only told by hooks if it becomes a turn, and then late."""
    event = args.get("arguments")
    if args.get("name") != "user_state_changed" or not isinstance(event, dict):
        return
    created_at = event.get("created_at")
    if type(created_at) is float and math.isfinite(created_at * 1e9):
        then = now - (clocks(h.events[h.at])[1] - round(created_at * 1e9))
        if event.get("new_state") == "speaking":
            _user_start(h, then, {})
        elif event.get("old_state") == "speaking":
            _user_end(h, then, {})


def _local_vad(h: Heard, now: int, args: Args) -> None:
    h.local_vad = bool(args.get("owns"))


def _interim(h: Heard, now: int, args: Args) -> None:
    h.words.append(Words(h.at, now, h.turn, "", "interim"))


def _final(h: Heard, now: int, args: Args) -> None:
    _add_words(h, now, args.get("transcript"), "final")


def _transcript(h: Heard, now: int, args: Args) -> None:
    _add_words(h, now, args.get("transcript"), "turn")


def _add_words(h: Heard, now: int, text: Any, kind: Literal["final", "turn"]) -> None:
    if isinstance(text, str) and text.strip():
        h.words.append(Words(h.at, now, h.turn, text.strip(), kind))


# the agent ------------------------------------------------------------------------------------------------------


def _agent_start(h: Heard, now: int, args: Args) -> None:
    """A second start is the same speech, after a pause or told twice, unless more was synthesised for it."""
    if h.agent is not None and not h.again:
        return
    _close(h, now)
    h.agent = Speech(h.at, now, h.turn, h.before)
    h.speeches.append(h.agent)
    h.awaited, h.again = None, False


def _agent_end(h: Heard, now: int, args: Args) -> None:
    speech = h.agent or h.awaited
    if speech is not None:
        speech.end, speech.end_known = now, True
        h.agent = h.awaited = None
        h.before = h.texts.get(speech.turn, "")


def _close(h: Heard, now: int) -> None:
    """The agent is not heard any more, and nobody said since when."""
    if h.agent is not None:
        h.agent.end = now
        h.awaited, h.agent = h.agent, None


def _interrupted(h: Heard, now: int, args: Args) -> None:
    h.cuts.append(Cut(h.at, now, h.turn, h.agent, h.characters))
    if h.agent is not None:
        h.agent.cut = True
    _close(h, now)


def _doubt(h: Heard, now: int, args: Args) -> None:
    doubt = Doubt(h.at, now, args.get("pause_duration") is not None)
    h.doubts.append(doubt)
    if h.agent is not None:
        h.agent.doubts.append(doubt)


def _resumed(h: Heard, now: int, args: Args) -> None:
    if h.doubts and h.doubts[-1].end is None:
        h.doubts[-1].end = now


def _escalated(h: Heard, now: int, args: Args) -> None:
    if h.doubts:
        h.doubts[-1].escalated = True


def _response(h: Heard, now: int, args: Args) -> None:
    h.texts[h.turn] = _text(args.get("response"))


def _characters(h: Heard, now: int, args: Args) -> None:
    count = args.get("count")
    if type(count) is int:
        h.characters += count


def _synthesis(h: Heard, now: int, args: Args) -> None:
    """An answer is being made: an end that is reported now is not that of the speech before it."""
    h.awaited, h.again = None, True


# turns ----------------------------------------------------------------------------------------------------------


def _complete(h: Heard, now: int, args: Args) -> None:
    _close(h, now)
    if h.open:
        h.open, h.turn, h.before, h.characters = False, h.turn + 1, "", 0


def _start_turn(h: Heard, now: int, args: Args) -> None:
    """A turn that begins while both are heard cuts the agent off: realtime models say it in no other way."""
    if h.agent is not None and h.user is not None:
        _interrupted(h, now, args)
    _complete(h, now, args)
    h.open = True


def _framework(h: Heard, now: int, args: Args) -> None:
    h.framework = str(args.get("name"))


_OPENING = {"on_user_speech_start", "on_eou_start", "set_agent_response", "on_agent_speech_start", "on_tts_start"}
_HANDLERS: dict[str, Callable[[Heard, int, Args], None]] = {
    "on_user_speech_start": _user_start,
    "on_user_speech_end": _user_end,
    "set_local_vad_user_speech": _local_vad,
    "on_stt_interim_end": _interim,
    "on_stt_preflight_end": _interim,
    "emit_user_transcript_transport": _interim,
    "on_stt_complete": _final,
    "set_user_transcript": _transcript,
    "on_agent_speech_start": _agent_start,
    "on_agent_speech_end": _agent_end,
    "on_interrupted": _interrupted,
    "on_false_interrupt_start": _doubt,
    "on_false_interrupt_resume": _resumed,
    "on_false_interrupt_escalated": _escalated,
    "set_agent_response": _response,
    "add_tts_characters": _characters,
    "on_tts_start": _synthesis,
    "on_llm_start": _synthesis,
    "on_eou_start": lambda h, now, args: None,
    "start_turn": _start_turn,
    "complete_turn": _complete,
    "finalize_realtime_turn": _complete,
    "finalize_session": _complete,
    "set_framework": _framework,
    "framework_event": _user_state,
}
