"""Verification of an archive: every chain, every seal, every session once and where it belongs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import groupby
from typing import NamedTuple

from eventstore.integrity.gaps import Seqs
from eventstore.stores.chain import seal
from exporters.archive.layout import EVENTS, BadArchive, Entry, Partition, Times
from exporters.archive.place import Place
from exporters.archive.read import PartitionFile

_STEP = 1000


class Fault(NamedTuple):
    """Something in an archive that a build does not write."""

    file: str
    session_id: str | None
    """None if it concerns the whole file."""
    message: str


def verify(
    place: Place, partitions: Iterable[Partition], advance: Callable[[int], object] = lambda events: None
) -> Iterator[Fault]:
    """Yield the faults of the partitions.

    ``advance`` is called with the number of events verified since its last call.
    """
    by_bucket = sorted(partitions, key=lambda partition: (partition.bucket, partition.day))
    for _bucket, some in groupby(by_bucket, key=lambda partition: partition.bucket):
        seen: dict[str, str] = {}
        """The file of each session: of one bucket, as no other can have it."""
        for partition in some:
            try:
                with closing(PartitionFile(place, partition)) as file:
                    yield from _check(file, seen, advance)
            except BadArchive as error:
                yield Fault(f"{place.name}/{partition.path(EVENTS)}", None, str(error))


def _check(file: PartitionFile, seen: dict[str, str], advance: Callable[[int], object]) -> Iterator[Fault]:
    heading = file.heading
    if heading.partition != file.partition:
        yield Fault(file.name, None, f"{file.name} says that it is of day {heading.day}, bucket {heading.bucket}")
    for entry in heading.sessions:
        for problem in _problems(file, entry, seen, advance):
            yield Fault(file.name, entry.session_id, f"{file.name}: session {entry.session_id!r}: {problem}")


def _problems(
    file: PartitionFile, entry: Entry, seen: dict[str, str], advance: Callable[[int], object]
) -> Iterator[str]:
    if (first := seen.setdefault(entry.session_id, file.name)) != file.name:
        yield f"it is in {first} too"
    if (belongs := Partition.of(entry.session_id, entry.started_ns, file.heading.buckets)) != file.partition:
        yield f"it belongs to day {belongs.day}, bucket {belongs.bucket}"
    if seal(entry.heads()) != entry.seal:
        yield "its seal is not that of its chains"
    times = Times()
    try:
        for origin, stored in file.chains(entry.session_id):
            seqs = Seqs()
            for count, (event, _link) in enumerate(stored, 1):
                times.add(event)
                if event.seq < 0 or not seqs.add(event.seq):
                    yield f"event {event.seq} of origin {origin.origin!r} was not written by a recorder"
                if count % _STEP == 0:
                    advance(_STEP)
            advance(origin.events % _STEP)
    except BadArchive as error:
        yield str(error).removeprefix(f"{file.name}: session {entry.session_id!r}").lstrip(":, ")
    else:
        if (times.started_ns, times.ended_ns) != (entry.started_ns, entry.ended_ns):
            yield "its times are not those of its events"
