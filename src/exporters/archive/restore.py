"""Sessions out of an archive, checked as strictly as those of any file, for the log they are imported into."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing

from eventstore.admission import Inadmissible
from eventstore.event import Event
from eventstore.integrity.incoming import Incoming
from eventstore.stores.chain import seal
from exporters.archive.layout import EVENTS, BadArchive, Entry, Partition
from exporters.archive.limits import memory_limit
from exporters.archive.place import Place
from exporters.archive.read import PartitionFile


def check_partition(place: Place, partition: Partition, seals: Collection[str] = ()) -> None:
    """Read a partition to its end, with bounded memory. Raises `BadArchive`."""
    try:
        with memory_limit():
            for _item in stream_partition(place, partition, seals):
                pass
    except MemoryError:
        raise BadArchive(f"{place.name}/{partition.path(EVENTS)} takes too much memory to be an archive's") from None


def stream_partition(place: Place, partition: Partition, seals: Collection[str] = ()) -> Iterator[str | Event]:
    """Yield a partition's events in storage order; the name of each session comes before its first event.

    Raises `BadArchive` if a session is not, byte for byte, what was archived, or has events that no recorder writes
    (`eventstore.admission`). ``seals`` are those of the log's own tombstones: sessions removed from this log are
    readmitted unchecked.
    """
    with closing(PartitionFile(place, partition)) as file:
        for entry in file.heading.sessions:
            yield entry.session_id
            yield from _events(file, entry, admitted=entry.seal in seals)


def _events(file: PartitionFile, entry: Entry, *, admitted: bool) -> Iterator[Event]:
    incoming = Incoming(entry.session_id, admitted=admitted)
    for _origin, stored in file.chains(entry.session_id):
        for event, _link in stored:
            try:
                incoming.add(event)
            except Inadmissible as error:
                raise BadArchive(f"{file.name}: session {entry.session_id[:255]!r}: {error}") from error
            yield event
    if seal(incoming.origins()) != entry.seal:
        raise BadArchive(f"{file.name}: session {entry.session_id!r} is not what was archived: the seal differs")
