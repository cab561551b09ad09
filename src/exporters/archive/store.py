"""An archive as a `Store` that can only be read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from eventstore.errors import StoreError, StoreReadOnly
from eventstore.event import Event
from eventstore.stores.base import Followed, Ledger, Session
from eventstore.stores.chain import Linked, Origin
from eventstore.stores.memory import MemoryStore
from exporters.archive.layout import Partition, bucket_of
from exporters.archive.place import Place
from exporters.archive.read import PartitionFile

_THREADS = 16
"""Number of files whose metadata is read at once: object stores answer slowly, but many at a time."""
_OPEN = 8
"""Number of files kept open."""


class ArchiveStore:
    """The sessions of an archive. It has no keys; ``ledger`` may be that of the log which the sessions come from."""

    encrypts = False
    journal: Path | None = None

    def __init__(self, url: str, ledger: Ledger | None = None) -> None:
        """Raises `StoreError` if there is no archive at the URL."""
        self.place = Place(url)
        self.ledger: Ledger = ledger if ledger is not None else MemoryStore().ledger
        self.partitions = self.place.partitions()
        if not self.partitions:
            where = self.place.name
            raise StoreError(f"no archive at {where}; make one with: turnlog archive build --to {where}")
        self._lock = threading.RLock()
        self._files: OrderedDict[Partition, PartitionFile] = OrderedDict()
        self._listed: dict[Partition, list[Session]] = {}
        self._found: dict[str, tuple[int, Partition]] = {}
        """By session: its number of events, and where it is."""

    def __repr__(self) -> str:
        return repr(self.place)

    def append(self, events: Iterable[Event]) -> Sequence[int]:
        """Raises `StoreReadOnly`."""
        raise StoreReadOnly(f"{self.place.name} is an archive, which only `turnlog archive build` writes")

    def read(self, session_id: str) -> Iterator[Event]:
        """See `Store.read`."""
        found = self._find(session_id)
        return iter(()) if found is None else found.read(session_id)

    def chains(self, session_id: str) -> Iterator[tuple[Origin, Iterator[Linked]]]:
        """See `Store.chains`."""
        found = self._find(session_id)
        return iter(()) if found is None else found.chains(session_id)

    def sessions(self) -> list[Session]:
        """See `Store.sessions`."""
        self._list(self.partitions)
        latest = self._found
        found = [s for at, some in self._listed.items() for s in some if latest[s.session_id][1] == at]
        return sorted(found, key=lambda s: (-s.started_ns, s.session_id))

    def follow(
        self, after: str | None = None, *, session_id: str | None = None, stop: threading.Event | None = None
    ) -> Iterator[Followed]:
        """Raises `StoreReadOnly`: nothing is appended to an archive."""
        raise StoreReadOnly(f"{self.place.name} is an archive, to which nothing is appended; follow the log")

    def close(self) -> None:
        with self._lock:
            self._files.clear()

    # internals -------------------------------------------------------------------------------------------------

    def _find(self, session_id: str) -> PartitionFile | None:
        """The file that has the session. Of the archive's files, only those of its bucket are searched."""
        if session_id not in self._found:
            bucket = bucket_of(session_id, self._file(self.partitions[0]).heading.buckets)
            self._list([partition for partition in self.partitions if partition.bucket == bucket])
        return self._file(self._found[session_id][1]) if session_id in self._found else None

    def _list(self, partitions: list[Partition]) -> None:
        """Read what the partitions have, in the order of the archive."""
        missing = [partition for partition in partitions if partition not in self._listed]
        with ThreadPoolExecutor(_THREADS) as pool:
            for partition, entries in zip(missing, pool.map(self._entries, missing), strict=True):
                self._listed[partition] = entries
                for session in entries:
                    # a build that was killed while it moved a session left it in two files: the longer one counts
                    here, there = (session.events, partition), self._found.get(session.session_id)
                    self._found[session.session_id] = here if there is None else max(here, there)

    def _entries(self, partition: Partition) -> list[Session]:
        with closing(PartitionFile(self.place, partition)) as file:
            entries = file.heading.sessions
        return [Session(e.session_id, e.events, len(e.origins), e.started_ns, e.ended_ns) for e in entries]

    def _file(self, partition: Partition) -> PartitionFile:
        """The partition's file, opened; the ones used last stay open."""
        with self._lock:
            if partition not in self._files:
                self._files[partition] = PartitionFile(self.place, partition)
                if len(self._files) > _OPEN:
                    self._files.popitem(last=False)  # a reader may still use it
            self._files.move_to_end(partition)
            return self._files[partition]
