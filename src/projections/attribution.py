"""What came of each event? The turn whose records it wrote, or else what it was for, or why nothing came of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from eventstore.event import Event
from eventstore.vocabulary import TRACES
from projections.provenance import Place, Trail, Write
from projections.reference.rules import VIDEOSDK_1_0, Rules

_SIGNALS = frozenset({"emit_user_transcript_transport", "emit_agent_transcript_transport"})
_SPANS = frozenset({"on_background_audio_start", "on_background_audio_stop"})
_WHY_NOTHING = {
    "on_user_speech_start": "the user was already speaking, or the local VAD has the word",
    "on_user_speech_end": "no user was heard in the turn, or the local VAD has the word",
    "on_stt_interim_end": "nothing was being transcribed, or an interim result had come before",
    "on_agent_speech_start": "the agent was already speaking",
    "on_agent_speech_end": "the agent was not heard in the turn",
    "start_turn": "the user's voice has opened the turn already",
    "on_stt_preflight_end": "nothing was being transcribed",
    "on_eou_complete": "no end-of-utterance detection had begun",
    "on_wait_for_additional_speech": "there was no end-of-utterance detection to wait after",
    "on_wait_for_additional_speech_complete": "no wait had begun, or these rules keep the scheduled one",
    "on_llm_first_token": "the LLM had not been started in the turn",
    "on_llm_complete": "the LLM had not been started",
    "on_tts_first_byte": "the TTS had not been started",
    "on_interrupted": "the agent was not speaking",
    "on_false_interrupt_resume": "no false interruption had begun",
    "on_false_interrupt_escalated": "no false interruption had begun",
    "on_knowledge_base_complete": "no lookup had begun",
    "set_user_transcript": "the turn has its words already",
    "finalize_realtime_turn": "no turn was open, or it was held",
    "complete_turn": "no turn was open, or nothing of it was over yet",
    "schedule_turn_complete": "the timer that it sets is an event of its own",
    "release_turn": "nothing was held",
    "update_provider_class": "the component has no provider",
    "set_framework": "the rules are the same for all frameworks",
    "framework_event": "it is no hook of ours",
}
"""Where a turn is open; without one, mostly, that is why."""
_LASTING = frozenset({"local_vad", "holds", "preemptive_generation", "playground_attached", "forgotten"})
"""Fields of the state that are facts of the session."""


class Attribution(NamedTuple):
    """Of one event. ``number`` counts from 1 among the completed turns, or from 0 among the discarded ones."""

    at: int
    origin: str
    seq: int
    hook: str
    to: Literal["turn", "discarded", "open", "session", "trace", "signal", "log", "state", "nothing"]
    """``state``: it has changed nothing that is kept, but what is known for events to come."""
    number: int | None
    why: str
    """Why nothing came of it; empty if something did."""


def attributed(events: Iterable[Event], rules: str | Rules = VIDEOSDK_1_0) -> list[Attribution]:
    """One for each event, in canonical order. Where it wrote records of two turns, as it ends one and opens the next,
    the later one counts; the end of a turn is the turn's. Raises what `projections.replay` does."""
    trail = Trail(events, rules)
    homes = _homes(trail)
    logs = {line.at for line in trail.state.logs}
    raised = {found.at: found.error for found in trail.state.raised}
    return [_of(trail, at, homes, logs, raised) for at in range(len(trail.events))]


def _of(
    trail: Trail, at: int, homes: dict[int, tuple[Literal["turn", "discarded", "open"], int | None]],
    logs: set[int], raised: dict[int, str],
) -> Attribution:  # fmt: skip
    event = trail.events[at]
    writes = [write for write in trail.written[at] if write.place.field != "session_start_time"]  # of any first event
    place = at, event.origin, event.seq, event.hook
    turns = [number for number in (_turn_of(trail, write) for write in writes) if number is not None]
    turns = turns or [part.closes for part in trail.parts[at] if part.closes is not None]
    if turns:
        return Attribution(*place, *homes[turns[-1]], "")
    if any(_of_session(trail, write.place) for write in writes):
        return Attribution(*place, "session", None, "")
    if event.hook.startswith(TRACES) or (event.hook == "set_traces_flow_manager"):
        return Attribution(*place, "trace", None, "")
    if event.hook == "log_record" and at in logs:
        return Attribution(*place, "log", None, "")
    if event.hook in _SIGNALS and trail.rules.typed_transcripts:
        return Attribution(*place, "signal", None, "")
    if event.hook in _SPANS and trail.state.traces.attached:
        return Attribution(*place, "trace", None, "")
    if _changed(trail, writes):
        return Attribution(*place, "state", None, "")
    return Attribution(*place, "nothing", None, _why(trail, at, raised))


def _homes(trail: Trail) -> dict[int, tuple[Literal["turn", "discarded", "open"], int | None]]:
    """Of each turn, as the number of an object, what became of it."""
    s = trail.state
    found: dict[int | None, tuple[Literal["turn", "discarded", "open"], int | None]] = {}
    found |= {trail.number_of(turn): ("turn", n) for n, turn in enumerate(s.turns, 1)}
    found |= {trail.number_of(discarded.turn): ("discarded", n) for n, discarded in enumerate(s.discarded)}
    if s.turn is not None:
        found[trail.number_of(s.turn)] = "open", None
    return {number: home for number, home in found.items() if number is not None}


def _turn_of(trail: Trail, write: Write) -> int | None:
    """The turn in whose records something was written; words and speech set aside are the next one's."""
    place: Place | None = write.place
    if write.place == (0, "turn") and write.value is not None:
        return trail.number_of(write.value)
    owners = trail.owners
    while place is not None:
        if place.object in owners:
            return owners[place.object]
        place = trail.found_in[place.object]
    return None


def _of_session(trail: Trail, place: Place | None) -> bool:
    if place is not None and place.object == 0 and place.field in _LASTING:
        return True
    return trail.under(place, "session")


def _changed(trail: Trail, writes: list[Write]) -> bool:
    for write in writes:
        before = trail.writer(write.place, write.moment)
        if before is None or before.place != write.place or before.value != write.value:
            return True
    return False


def _why(trail: Trail, at: int, raised: dict[int, str]) -> str:
    if at in raised:
        return f"the handler raised {raised[at]}"
    event = trail.events[at]
    if event.hook == "log_record":
        return "it is no line of a log"
    open_turn = trail.writer(Place(0, "turn"), trail.began[at])
    if (open_turn is None or open_turn.value is None) and event.hook not in ("set_framework", "framework_event"):
        return "no turn was open" if event.hook not in _SIGNALS else "these rules have no such signal"
    return _WHY_NOTHING.get(event.hook, "it says nothing, or nothing new")
