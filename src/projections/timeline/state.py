"""The state of the fold from events to activities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from eventstore.codec import clocks
from eventstore.event import Event
from projections.model import SessionDetails
from projections.timeline.activity import Activity, Kind


class Step(msgspec.Struct, frozen=True, gc=False):
    """An input of the assembly of turns: something that happened, in most cases to an activity."""

    time: int
    at: int
    """Index of its event."""
    kind: str
    activity: Activity | None = None
    text: str = ""


@dataclass(slots=True)
class Timeline:
    """The activities of one session, followed by the working state of the fold.

    A dataclass, as each event sets several fields, which takes eight times as long in a struct.
    """

    session_id: str = ""
    session: SessionDetails = field(default_factory=SessionDetails)
    framework: str = ""
    framework_version: str = ""
    agent: str = ""
    """Name of the active agent; hand-offs change it."""
    began: int = 0
    """Time of the first event, in nanoseconds on the session's clock, as all activities."""
    last: int = 0
    """Latest time of any event."""
    wall_shift: int = 0
    """Nanoseconds to add for the time since the epoch."""
    end_reason: str = ""
    ended: bool = False
    """The session's end was reported."""
    activities: list[Activity] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    """In event order; `projections.turns.assembly` sorts them by time."""
    sealed: int = 0
    """Number of events whose content cannot be read, as its key is missing or was destroyed."""
    ignored: list[tuple[int, str]] = field(default_factory=list)
    """Events without effect: index and reason."""
    notes: list[Activity] = field(default_factory=list)
    """Session-level entries of the framework's trace; they belong to no turn and appear in the span tree only."""
    joined: bool = False
    """The framework's trace reports that the agent joined the meeting, so it will also report the end."""
    meeting: dict[str, Any] = field(default_factory=dict)
    """Trace attributes of the agent that joined."""
    left: bool = False
    """The agent left the meeting, so the trace is complete."""

    # working state of the fold ---------------------------------------------------------------------------------
    at: int = -1
    now: int = 0
    event: Event | None = None
    origin: str | None = None
    last_seq: int = -1
    seqs: dict[str, int] = field(default_factory=dict)
    offset: int = 0
    offsets: dict[str, int] = field(default_factory=dict)
    realtime: bool = False
    """The session uses a realtime model."""
    reports_interims: bool = False
    """STT reports interim transcripts in this session."""
    silence_ns: int = 0
    """The VAD hangover: how long VAD waits in silence before it reports an end."""
    silence_at: int = -1
    vad_config: dict[str, Any] = field(default_factory=dict)
    preemptive: bool = False
    local_vad: bool = False
    voice: Activity | None = None
    recent_voices: list[Activity] = field(default_factory=list)
    """The last voices, oldest first."""
    stt: Activity | None = None
    stt_voice: int = -1
    """The voice that the STT run transcribes, by its ``at``."""
    transcribed_voice: int | None = None
    """The voice of the last final transcript, by its ``at``; -1 if it has none."""
    eou: Activity | None = None
    eou_wait: Activity | None = None
    llm: Activity | None = None
    """The latest run, ended or not."""
    llm_before: Activity | None = None
    llm_input: tuple[str, int] | None = None
    tts: Activity | None = None
    say_pending: bool = False
    """The next synthesis is scripted speech."""
    speech: Activity | None = None
    """The agent's current speech."""
    cut_speech: Activity | None = None
    """An interrupted speech whose end may still be reported."""
    resynthesised: bool = False
    """A synthesis or LLM run started since the agent began to speak."""
    doubt: Activity | None = None
    knowledge_base: Activity | None = None
    response: Activity | None = None
    """The realtime model's latest response."""
    hold: list[Activity] = field(default_factory=list)
    sounds: dict[str, Activity] = field(default_factory=dict)
    runs: dict[tuple[str, str], Activity] = field(default_factory=dict)
    """Runs by component and framework id."""
    calls: dict[str, Activity] = field(default_factory=dict)
    """Tool calls by id."""
    unreported: list[Activity] = field(default_factory=list)
    """Tool calls from ``tool_started`` that no ``add_function_tool_call`` has reported yet."""
    messages: dict[str, list[Activity]] = field(default_factory=dict)
    """Messages to other agents, by origin, in order."""
    usage_of: dict[str, str] = field(default_factory=dict)
    """By component: id of the run that the next usage report belongs to."""
    usage_known: set[tuple[str, str]] = field(default_factory=set)

    def begin(self, kind: Kind, now: int, **data: Any) -> Activity:
        """Add an activity that starts now."""
        found = Activity(kind, self.at, now, data=data, provenance=["start", self.at])
        provider = self.session.provider_per_component.get(kind)
        if provider is not None:
            data["provider"] = provider
        self.activities.append(found)
        return found

    def begin_unreported(self, kind: Kind) -> Activity:
        """Add an activity that has started at an unknown time before now."""
        found = self.begin(kind, self.now)
        found.start = None
        return found

    def step(self, kind: str, activity: Activity | None = None, time: int | None = None, text: str = "") -> None:
        self.steps.append(Step(self.now if time is None else time, self.at, kind, activity, text))

    @property
    def wall_ns(self) -> int:
        """Wall time of the current event, in nanoseconds since the epoch."""
        assert self.event is not None
        return clocks(self.event)[1]

    def ignore(self, why: str) -> None:
        """Record that the current event has no effect."""
        self.ignored.append((self.at, why))
