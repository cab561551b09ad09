"""The layout of an archive: partitions, and what a file's metadata says of its sessions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import blake2b
from typing import NamedTuple, Self

import msgspec

from eventstore.errors import StoreError
from eventstore.event import Event
from eventstore.stores.chain import Origin, seal

EVENTS = "events"
"""The folder of the events; what is derived from them is in others beside it."""
FORMAT = 1
BUCKETS = 8
"""Number of buckets a day in a new archive."""
METADATA = b"turnlog"
"""Key of the `Heading` in a file's metadata, where it is JSON."""
_PARTITION = re.compile(r"day=(\d{4}-\d\d-\d\d)/bucket=(\d+)/")


class BadArchive(StoreError):
    """A file of an archive is damaged or was not written by an archive build."""


class Partition(NamedTuple):
    """The sessions that started on one day and whose names fall into one bucket."""

    day: str
    """UTC, as ``2026-03-01``."""
    bucket: int

    def path(self, kind: str) -> str:
        """The path of a file of it, relative to the archive; ``kind`` is its folder and its name."""
        return f"{kind}/day={self.day}/bucket={self.bucket:02}/{kind.partition('/')[0]}.parquet"

    @classmethod
    def of(cls, session_id: str, started_ns: int, buckets: int) -> Self:
        """The partition that a session belongs to."""
        day = datetime.fromtimestamp(started_ns // 1_000_000_000, UTC).date()
        return cls(day.isoformat(), bucket_of(session_id, buckets))

    @classmethod
    def at(cls, path: str) -> Self | None:
        """The partition that a path names; None if it names none."""
        found = _PARTITION.search(path)
        return None if found is None else cls(found[1], int(found[2]))


def bucket_of(session_id: str, buckets: int) -> int:
    return int.from_bytes(blake2b(session_id.encode(), digest_size=8).digest()) % buckets


class Head(msgspec.Struct, frozen=True, array_like=True):
    """The end of an origin's chain."""

    origin: str
    events: int
    link: str
    """In hexadecimal."""


class Entry(msgspec.Struct, frozen=True):
    """What a file's metadata says of a session."""

    session_id: str
    started_ns: int
    ended_ns: int
    seal: str
    """`eventstore.stores.chain.seal` of its heads."""
    origins: list[Head]
    """By name, the order of their events in the file."""

    @property
    def events(self) -> int:
        return sum(head.events for head in self.origins)

    def heads(self) -> list[Origin]:
        return [Origin(self.session_id, head.origin, head.events, bytes.fromhex(head.link)) for head in self.origins]

    @classmethod
    def of(cls, session_id: str, started_ns: int, ended_ns: int, heads: Iterable[Origin]) -> Self:
        heads = list(heads)
        origins = [Head(head.origin, head.events, head.link.hex()) for head in heads]
        return cls(session_id, started_ns, ended_ns, seal(heads), origins)


class Times:
    """When a session started and ended: the wall clocks of each origin's first and last event by ``seq``."""

    def __init__(self) -> None:
        self._ends: dict[str, tuple[Event, Event]] = {}

    def add(self, event: Event) -> None:
        first, last = self._ends.get(event.origin) or (event, event)
        if event.seq < first.seq:
            self._ends[event.origin] = event, last
        elif event.seq >= last.seq:
            self._ends[event.origin] = first, event

    @property
    def started_ns(self) -> int:
        return min(first.wall_ns for first, _last in self._ends.values())

    @property
    def ended_ns(self) -> int:
        return max(last.wall_ns for _first, last in self._ends.values())


class Heading(msgspec.Struct, frozen=True):
    """The metadata of a file."""

    archive: int
    """Version of the format, `FORMAT`."""
    day: str
    bucket: int
    buckets: int
    """Number of buckets of the archive, the same in all files."""
    sessions: list[Entry]
    """By start and name, the order of their events in the file."""

    @property
    def partition(self) -> Partition:
        return Partition(self.day, self.bucket)

    @property
    def events(self) -> int:
        return sum(entry.events for entry in self.sessions)
