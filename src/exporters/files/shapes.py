"""Timeline shapes: slices, instants and arrows, and their layout in lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(eq=False, slots=True)
class Shape:
    """A slice, or an instant if ``end`` is None. Times are nanoseconds from the session's first event."""

    track: str
    category: str
    name: str
    start: int
    end: int | None
    args: dict[str, Any]
    lane: int = 0
    """Index among the track's lanes, from 0; see `lay_out`."""


class Arrow(NamedTuple):
    """An arrow between slices. Times are those of a `Shape`; a viewer attaches an end to the slice open at its time."""

    number: int
    tail: Shape
    leaves: int
    head: Shape
    arrives: int


def lay_out(shapes: list[Shape]) -> None:
    """Assign each slice to a free lane of its track. ``shapes`` are sorted by start.

    Viewers drop slices that overlap on one lane without nesting. Instants do not overlap.
    """
    tracks: dict[str, list[int]] = {}
    for shape in shapes:
        if shape.end is not None:
            ends = tracks.setdefault(shape.track, [])
            shape.lane = next((lane for lane, end in enumerate(ends) if end <= shape.start), len(ends))
            ends[shape.lane : shape.lane + 1] = [shape.end]
