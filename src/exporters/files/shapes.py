"""What a timeline draws: slices, instants, arrows, and the lanes they are drawn in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(eq=False, slots=True)
class Shape:
    """A slice or, without ``end``, an instant. Times are nanoseconds from the session's first event."""

    track: str
    category: str
    name: str
    start: int
    end: int | None
    args: dict[str, Any]
    lane: int = 0
    """Which of the tracks of that name, from 0; see `lay_out`."""


class Arrow(NamedTuple):
    """From slice to slice. Times are those of a `Shape`; a viewer looks for the slice that is open then."""

    number: int
    tail: Shape
    leaves: int
    head: Shape
    arrives: int


def lay_out(shapes: list[Shape]) -> None:
    """Give each slice a lane of its track where nothing else is going on; ``shapes`` are by start.

    Viewers drop slices that overlap on one lane without nesting. An instant overlaps nothing.
    """
    tracks: dict[str, list[int]] = {}
    for shape in shapes:
        if shape.end is not None:
            ends = tracks.setdefault(shape.track, [])
            shape.lane = next((lane for lane, end in enumerate(ends) if end <= shape.start), len(ends))
            ends[shape.lane : shape.lane + 1] = [shape.end]
