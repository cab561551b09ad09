"""Records that both readings of a log share."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

MAX_EVENTS = 128
"""OpenTelemetry's limit of events per span; the last ones are kept."""


class Participant(msgspec.Struct, gc=False):
    participant_id: Any = None
    kind: Any = None
    sip_user: Any = None
    join_time: Any = None
    """Seconds since the epoch."""
    meta: Any = None


class SessionDetails(msgspec.Struct, gc=False):
    """The call as a whole. Start and end are seconds since the epoch."""

    session_id: Any = None
    room_id: str | None = None
    system_instruction: Any = ""
    components: list[Any] = []
    pipeline_type: str | None = None
    pipeline_mode: str | None = None
    realtime_mode: str | None = None
    session_start_time: float = 0.0
    session_end_time: float | None = None
    participant_metrics: list[Participant] = []
    errors: list[dict[str, Any]] = []
    provider_per_component: dict[str, dict[str, Any]] = {}
    eou_config: dict[str, Any] | None = None
    interrupt_config: dict[str, Any] | None = None


class LogLine(NamedTuple):
    """A line of the agent's log."""

    level: str
    logger: str
    message: str
    attributes: dict[str, Any]
    created: float
    """Seconds since the epoch, from the logger or else from the recorder."""
    time: float
    """Time of recording, in seconds on the monotonic clock."""
    turn: int | None
    """Number, from 1, of the turn in which it was written, among the completed ones; an open turn has the next number.
    None between turns and in a discarded turn."""
    turn_id: str | None
    """Id of that turn, even if discarded; None between turns."""
    at: int


def is_number(value: Any) -> bool:
    """Whether an untrusted value is a finite number; booleans are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0
