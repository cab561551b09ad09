"""An archive as a `Store` that can only be read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

from eventstore.errors import StoreError, StoreReadOnly
from eventstore.event import Event
from eventstore.stores.base import Followed, Ledger, Rows, Session, Store
from eventstore.stores.chain import Linked, Origin
from eventstore.stores.memory import MemoryStore
from eventstore.stores.records import Head
from exporters.archive.layout import Entry, Partition, bucket_of
from exporters.archive.place import Place
from exporters.archive.read import PartitionFile
from exporters.archive.rows import ArchiveRows

_THREADS = 16
"""Number of files whose metadata is read at once: object stores answer slowly, but many at a time."""
_OPEN = 32
"""Number of files kept open: sessions are read by time, so from all buckets of a day in turn."""


class ArchiveStore:
    """The sessions of an archive. Their keys are in the ledger of the log that they come from."""

    encrypts = False
    decrypts = False
    journal: Path | None = None

    def __init__(self, url: str, log: Store | None = None) -> None:
        """``log`` is the one whose ledger has the keys; it is closed with the archive. Raises `StoreError`."""
        self.place, self._log = Place(url), MemoryStore() if log is None else log
        self.ledger: Ledger = self._log.ledger
        self.partitions = list(self.place.partitions())
        if not self.partitions:
            where = self.place.name
            raise StoreError(f"no archive at {where}; make one with: turnlog archive build --to {where}")
        self.reopen: Callable[[], Store] | None = partial(ArchiveStore, url)
        self.rows: Rows = ArchiveRows(self.place, self._partition_of, lambda at: len(self._listed.get(at, ())))
        self._lock = threading.RLock()
        self._files: OrderedDict[Partition, PartitionFile] = OrderedDict()
        self._listed: dict[Partition, list[Entry]] = {}
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

    def read_many(self, session_ids: Iterable[str]) -> Iterator[tuple[str, Iterator[Event]]]:
        """See `Store.read_many`."""
        return ((name, self.read(name)) for name in session_ids)

    def chains(self, session_id: str) -> Iterator[tuple[Origin, Iterator[Linked]]]:
        """See `Store.chains`."""
        found = self._find(session_id)
        return iter(()) if found is None else found.chains(session_id)

    def sessions(self) -> list[Session]:
        """See `Store.sessions`."""
        found = [Session(e.session_id, e.events, len(e.origins), e.started_ns, e.ended_ns) for e in self._entries()]
        return sorted(found, key=lambda s: (-s.started_ns, s.session_id))

    def heads(self) -> dict[str, Head]:
        """See `Store.heads`."""
        entries = list(self._entries())
        keyed = self._keyed([entry.session_id for entry in entries])
        return {e.session_id: Head(e.session_id, e.events, e.seal, e.session_id in keyed) for e in entries}

    def follow(
        self, after: str | None = None, *, session_id: str | None = None, stop: threading.Event | None = None
    ) -> Iterator[Followed]:
        """Raises `StoreReadOnly`: nothing is appended to an archive."""
        raise StoreReadOnly(f"{self.place.name} is an archive, to which nothing is appended; follow the log")

    def close(self) -> None:
        assert isinstance(self.rows, ArchiveRows)
        self.rows.flush()
        with self._lock:
            self._files.clear()
        self._log.close()

    # internals -------------------------------------------------------------------------------------------------

    def _find(self, session_id: str) -> PartitionFile | None:
        """The file that has the session."""
        partition = self._partition_of(session_id)
        return None if partition is None else self._file(partition)

    def _partition_of(self, session_id: str) -> Partition | None:
        """Where the session is. Of the archive's files, only those of its bucket are searched."""
        if session_id not in self._found:
            bucket = bucket_of(session_id, self._file(self.partitions[0]).heading.buckets)
            self._list([partition for partition in self.partitions if partition.bucket == bucket])
        return self._found[session_id][1] if session_id in self._found else None

    def _list(self, partitions: list[Partition]) -> None:
        """Read what the partitions have, in the order of the archive."""
        missing = [partition for partition in partitions if partition not in self._listed]
        with ThreadPoolExecutor(_THREADS) as pool:
            for partition, entries in zip(missing, pool.map(self._read_entries, missing), strict=True):
                self._listed[partition] = entries
                for entry in entries:
                    # a build that was killed while it moved a session left it in two files: the longer one counts
                    here, there = (entry.events, partition), self._found.get(entry.session_id)
                    self._found[entry.session_id] = here if there is None else max(here, there)

    def _read_entries(self, partition: Partition) -> list[Entry]:
        with closing(PartitionFile(self.place, partition)) as file:
            return file.heading.sessions

    def _entries(self) -> Iterator[Entry]:
        """What the archive says of each of its sessions."""
        self._list(self.partitions)
        latest = self._found
        return (each for at, some in self._listed.items() for each in some if latest[each.session_id][1] == at)

    def _keyed(self, names: Sequence[str]) -> set[str]:
        """The sessions whose content the ledger's keys decrypt."""
        if not self.ledger.has_keys():
            return set()
        keys = map(self.ledger.key, names)
        return {key.session_id for key in keys if key is not None and key.wrapped is not None}

    def _file(self, partition: Partition) -> PartitionFile:
        """The partition's file, opened; the ones used last stay open."""
        with self._lock:
            if partition not in self._files:
                self._files[partition] = PartitionFile(self.place, partition)
                if len(self._files) > _OPEN:
                    self._files.popitem(last=False)  # a reader may still use it
            self._files.move_to_end(partition)
            return self._files[partition]
