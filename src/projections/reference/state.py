"""The state of the fold, as plain data.

It can be copied (`copy.deepcopy`), compared, and written as JSON and read back (`msgspec.json`), and the fold can
continue from the result. For this, spans are referred to by number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from projections.model import LogLine, Participant, SessionDetails
from projections.reference.metrics import Eou, Stt, TimelineEvent, Turn, Vad
from projections.reference.rules import VIDEOSDK_1_0, Rules


class Emit(NamedTuple):
    """A signal on the reference's event bus."""

    name: str
    data: dict[str, Any]
    at: int
    """Index of the event that caused it, in the session's canonical order."""


class PlaygroundMessage(NamedTuple):
    """Metrics for the playground: one or a few values, or a whole completed turn."""

    metrics: dict[str, Any]
    full_turn_data: bool
    at: int


class Discarded(NamedTuple):
    """A turn that was not sent; the reference drops it."""

    turn: Turn
    reason: str
    at: int


class ForgottenTurn(NamedTuple):
    """Counts before the last reset of the collector (switch ``finalize_resets``); the fold keeps the turns."""

    turns: int = 0
    """Completed turns."""
    total_turns: int = 0
    total_interruptions: int = 0


_NOTHING_FORGOTTEN = ForgottenTurn()


class Interrupted(NamedTuple):
    """A turn that the user interrupted."""

    turn: int
    """Number of the turn among the completed ones, from 1."""
    time: float
    """Time of the interruption, the last if there were several, in seconds on the monotonic clock."""
    carried_over: list[str]
    """Those of ``stt``, ``eou`` and ``vad`` whose last entry became the next turn's first."""
    at: int
    """Index of the event that completed the turn."""


class Carried(msgspec.Struct):
    """Entries carried over to the next turn; see `projections.reference.carry_over`."""

    timeline: TimelineEvent | None = None
    stt: list[Stt] = []
    eou: list[Eou] = []
    vad: list[Vad] = []


class Raised(NamedTuple):
    """A hook in which the reference raises into its caller; its effects up to then are kept."""

    at: int
    error: str


class SpanFailure(NamedTuple):
    """A span that is missing or never ended, as the reference raised while creating it."""

    at: int
    component: str
    error: str


class Span(msgspec.Struct, gc=False):
    """A span of the trace. Times are nanoseconds since the epoch."""

    id: int
    """Number in order of start."""
    parent: int | None
    name: str
    start_ns: int
    attributes: dict[str, Any]
    """Values are text."""
    start_time: Any
    """The monotonic start, in seconds, from which `end_ns` counts."""
    end_ns: int | None = None
    status: str = "UNSET"
    status_message: str | None = None
    events: list[dict[str, Any]] = []
    at: int = -1
    """Index of the event during which it ended."""


@dataclass(slots=True)
class Traces:
    """The reference's ``TracesFlowManager``. Fields refer to spans by id."""

    attached: bool = False
    """Whether the manager is attached to the collector; its own hooks work either way."""
    root: int | None = None
    session_span: int | None = None
    main_turn: int | None = None
    config_span: int | None = None
    closed_span: int | None = None
    a2a_span: int | None = None
    a2a_turns: int = 0
    turns: int = 0
    participants: list[Participant] = field(default_factory=list)
    a2a_by_origin: dict[str, list[int | None]] = field(default_factory=dict)
    started: int = 0
    open: dict[int, Span] = field(default_factory=dict)
    """Spans that have not ended; some never do."""


@dataclass(slots=True)
class State:
    """The state. A dataclass, as assignments, of which each event makes several, take ten times as long in a struct."""

    rules: Rules = VIDEOSDK_1_0
    spans_wanted: bool = True
    signals_wanted: bool = True

    # the current event
    at: int = -1
    origin: str | None = None
    """None before the first event."""
    last_seq: int = -1
    seqs: dict[str, int] = field(default_factory=dict)
    """The last ``seq`` of each earlier origin."""
    session_name: str = ""
    wall_ns: int = 0

    # the reference's MetricsCollector
    session: SessionDetails = field(default_factory=SessionDetails)
    turn: Turn | None = None
    turn_has_session: bool = False
    """The open turn already refers to the session, as the reference raised while completing it."""
    total_turns: int = 0
    total_interruptions: int = 0
    forgotten: ForgottenTurn = _NOTHING_FORGOTTEN
    playground_attached: bool = False
    preemptive_generation: Any = False
    stt_start: float | None = None
    llm_start: float | None = None
    tts_start: float | None = None
    tts_first_byte: float | None = None
    eou_start: float | None = None
    agent_speaking: bool = False
    user_speaking: bool = False
    interrupted_at: float = 0.0
    local_vad: Any = False
    holds: int = 0
    user_input_start: float | None = None
    user_speech_end: Any = None
    """End of the user's last speech, in or outside of a turn."""
    pending_user_start: float | None = None
    """Start of user speech in a discarded turn, for the next one."""
    carried: Carried = field(default_factory=Carried)
    traces: Traces = field(default_factory=Traces)

    # output
    turns: list[Turn] = field(default_factory=list)
    discarded: list[Discarded] = field(default_factory=list)
    interruptions: list[Interrupted] = field(default_factory=list)
    payloads: list[dict[str, Any]] = field(default_factory=list)
    payloads_at: list[int] = field(default_factory=list)
    emits: list[Emit] = field(default_factory=list)
    playground: list[PlaygroundMessage] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    """Ended spans, by end."""
    span_failures: list[SpanFailure] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)
    raised: list[Raised] = field(default_factory=list)
