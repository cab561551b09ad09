"""The state of the fold from events to activities."""

from __future__ import annotations

from typing import Any

import msgspec

from eventstore.codec import clocks
from eventstore.event import Event
from projections.model import SessionDetails
from projections.timeline.activity import Activity, Kind


class Step(msgspec.Struct, frozen=True, gc=False):
    """Something that the assembly of turns has to know of."""

    time: int
    at: int
    """Index of its event."""
    what: str
    activity: Activity | None = None
    text: str = ""


class Timeline(msgspec.Struct):
    """What ran when in one session, and, below, where the fold stands."""

    session_id: str = ""
    session: SessionDetails = msgspec.field(default_factory=SessionDetails)
    framework: str = ""
    framework_version: str = ""
    agent: str = ""
    """The agent that speaks; other frameworks' hand-offs change it."""
    began: int = 0
    """The first event's time: nanoseconds on the clock that all activities are on."""
    last: int = 0
    """The latest time of any event."""
    wall_shift: int = 0
    """Nanoseconds from that clock to the epoch."""
    end_reason: str = ""
    ended: bool = False
    """The session's end was reported."""
    activities: list[Activity] = []
    steps: list[Step] = []
    """As they were reported; `projections.turns.assembly` puts them into the order of time."""
    sealed: int = 0
    """Events whose content cannot be read: its key is not at hand, or was destroyed."""
    ignored: list[tuple[int, str]] = []
    """Events that say nothing that can be used, each with the reason."""
    notes: list[Activity] = []
    """What the framework's trace says of the session itself: no turn's, and shown in the span tree alone."""
    joined: bool = False
    """The framework's traces report the meeting, and so its end."""
    meeting: dict[str, Any] = {}
    """What the framework's trace says of the agent that joined."""
    left: bool = False
    """The agent left the room, so the trace is complete."""

    # where the fold stands -------------------------------------------------------------------------------------
    at: int = -1
    now: int = 0
    event: Event | None = None
    origin: str | None = None
    last_seq: int = -1
    seqs: dict[str, int] = {}
    offset: int = 0
    offsets: dict[str, int] = {}
    realtime: bool = False
    """A realtime model serves the session."""
    hears_interims: bool = False
    """STT reports interim transcripts in this session."""
    silence_ns: int = 0
    """The voice detector's hangover: how long it waits in silence before it reports an end."""
    silence_at: int = -1
    vad_config: dict[str, Any] = {}
    preemptive: bool = False
    local_vad: bool = False
    voice: Activity | None = None
    heard: list[Activity] = []
    """The last voices, the latest last."""
    stt: Activity | None = None
    stt_voice: int = -1
    """The voice that this run hears, by its ``at``."""
    worded: int | None = None
    """The voice of the last final words, by its ``at``; -1 if none goes with them."""
    eou: Activity | None = None
    eou_wait: Activity | None = None
    llm: Activity | None = None
    """The latest run, ended or not."""
    llm_before: Activity | None = None
    llm_input: tuple[str, int] | None = None
    tts: Activity | None = None
    said: bool = False
    """The next synthesis is of words that were put into the agent's mouth."""
    speech: Activity | None = None
    """The agent is heard."""
    awaited: Activity | None = None
    """A speech that was cut off, whose end may yet be reported."""
    resynthesised: bool = False
    """More was synthesised since the agent began to speak."""
    doubt: Activity | None = None
    knowledge_base: Activity | None = None
    response: Activity | None = None
    """The realtime model's latest response."""
    hold: list[Activity] = []
    sounds: dict[str, Activity] = {}
    runs: dict[tuple[str, str], Activity] = {}
    """Runs by component and the framework's id."""
    calls: dict[str, Activity] = {}
    """Tool calls by id."""
    unreported: list[Activity] = []
    """Tool calls that ``tool_started`` began and no report of the framework's names yet."""
    messages: dict[str, list[Activity]] = {}
    """Messages to other agents, by origin, in their order."""
    usage_of: dict[str, str] = {}
    """By component: the run that the next usage report is of."""
    usage_known: set[tuple[str, str]] = set()

    def begin(self, kind: Kind, now: int, **data: Any) -> Activity:
        """A new activity that starts now."""
        found = Activity(kind, self.at, now, data=data, said=["start", self.at])
        provider = self.session.provider_per_component.get(kind)
        if provider is not None:
            data["provider"] = provider
        self.activities.append(found)
        return found

    def begin_unreported(self, kind: Kind) -> Activity:
        """A new activity that has begun by now: when, no event says."""
        found = self.begin(kind, self.now)
        found.start = None
        return found

    def step(self, what: str, activity: Activity | None = None, time: int | None = None, text: str = "") -> None:
        self.steps.append(Step(self.now if time is None else time, self.at, what, activity, text))

    @property
    def wall_ns(self) -> int:
        """The wall clock at which the current event counts."""
        assert self.event is not None
        return clocks(self.event)[1]

    def ignore(self, why: str) -> None:
        """The current event is no part of any activity."""
        self.ignored.append((self.at, why))
