"""The agent's log lines, with their turns."""

from __future__ import annotations

from typing import Any, TypeGuard

from eventstore.hooks.arguments import Args
from projections.model import LogLine
from projections.reference.metrics import Turn
from projections.reference.registry import with_args
from projections.reference.state import State


@with_args
def log_record(s: State, now: float, args: Args) -> None:
    created, attributes = args.get("created"), args.get("attributes")
    s.logs.append(
        LogLine(
            level=str(args["level"]),
            logger=str(args["logger"]),
            message=str(args["message"]),
            attributes=attributes if isinstance(attributes, dict) else {},
            created=created if _is_time(created) else s.wall_ns / 1e9,
            time=now,
            turn=None if s.turn is None else len(s.turns) + 1,
            turn_id=None if s.turn is None else s.turn.turn_id,
            at=s.at,
        )
    )


def _is_time(value: Any) -> TypeGuard[float]:
    """Whether an untrusted value is a plausible time in seconds since the epoch (before the year 2286)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e10


def clear_turn_number(s: State, discarded: Turn) -> None:
    """Remove the turn number from the lines of a discarded turn, which are the last; the next turn gets the number."""
    for n in range(len(s.logs) - 1, -1, -1):
        if s.logs[n].turn_id != discarded.turn_id:
            break
        s.logs[n] = s.logs[n]._replace(turn=None)
