"""Sessions out of an archive, checked as strictly as those of any file, for the log they are imported into."""

from __future__ import annotations

import resource
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import get_context
from typing import Self

from eventstore.admission import Inadmissible
from eventstore.event import Event
from eventstore.integrity.incoming import Incoming
from eventstore.stores.chain import seal
from exporters.archive.layout import EVENTS, BadArchive, Entry, Partition
from exporters.archive.place import Place
from exporters.archive.read import PartitionFile

MEMORY = 4 << 30
"""Address space of the process that decodes files from elsewhere; its threads alone reserve more than one gigabyte."""


class Checker:
    """A process of its own in which files from elsewhere are decoded, with a bound on memory.

    A few kilobytes of Parquet can claim terabytes, and a decoder that gets no memory may crash.
    """

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _limit_memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def check(self, place: Place, partition: Partition, seals: Collection[str] = ()) -> None:
        """Read a partition to its end. Raises `BadArchive`."""
        try:
            self._pool.submit(check_partition, place, partition, seals).result()
        except (BrokenProcessPool, MemoryError) as error:
            name = f"{place.name}/{partition.path(EVENTS)}"
            raise BadArchive(f"{name} cannot be decoded in {MEMORY >> 30} GiB of memory; no build wrote it") from error


def _limit_memory() -> None:
    limits = [MEMORY, *(limit for limit in resource.getrlimit(resource.RLIMIT_AS) if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), min(limits)))


def check_partition(place: Place, partition: Partition, seals: Collection[str] = ()) -> None:
    """Read a partition to its end. Raises `BadArchive`."""
    for _item in stream_partition(place, partition, seals):
        pass


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
