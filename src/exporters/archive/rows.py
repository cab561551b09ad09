"""The read models of an archive, beside its events: one file of session rows a partition and rule set."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing

import pyarrow
import pyarrow.parquet

from eventstore.errors import StoreError, StoreReadOnly
from eventstore.stores.records import ALL_PARTS, Part, RowKey, StoredRow
from exporters.archive.layout import EVENTS, Partition
from exporters.archive.place import Place
from exporters.archive.read import PartitionFile

SESSIONS = "sessions"
"""The folder of the rows."""
_TEXT, _INT, _FLOAT, _BYTES = pyarrow.string(), pyarrow.int64(), pyarrow.float64(), pyarrow.binary()
_TYPES = {
    "session_id": _TEXT, "rules": _TEXT, "opened": pyarrow.bool_(), "engine": _TEXT, "seal": _TEXT,
    "events": _INT, "turns": _INT, "voices": _INT, "response_p95_ms": _FLOAT, "slowest_ms": _FLOAT,
    "errors": _INT, "interruptions": _INT, "no_response": _INT, "labels": _BYTES, "speech": _BYTES, "numbers": _BYTES,
}  # fmt: skip
SCHEMA = pyarrow.schema(list(_TYPES.items()))
"""The fields of `StoredRow`."""
_KEPT = 32
"""Number of files whose rows stay in memory: sessions are read by time, so from all buckets of a day in turn."""

_Found = dict[tuple[str, bool], StoredRow]
_log = logging.getLogger("turnlog")


class ArchiveRows:
    """See `eventstore.stores.base.Rows`. Rows are written when those of a partition are complete, or by `flush`."""

    def __init__(
        self, place: Place, partition_of: Callable[[str], Partition | None], count: Callable[[Partition], int]
    ) -> None:
        """``partition_of`` returns where a session is, ``count`` the number of a partition's sessions."""
        self._place, self._partition_of, self._count = place, partition_of, count
        self._lock = threading.RLock()
        self._read_files: OrderedDict[tuple[str, Partition, frozenset[Part]], _Found] = OrderedDict()
        self._waiting: dict[tuple[str, Partition], _Found] = {}

    def read(self, keys: Sequence[RowKey], parts: Collection[Part] = ()) -> dict[str, StoredRow]:
        """See `Rows.read`."""
        found = ((key, self._rows(key, frozenset(parts)).get((key.session_id, key.opened))) for key in keys)
        return {key.session_id: row for key, row in found if row is not None and row.key == key}

    def fresh(self, keys: Sequence[RowKey]) -> set[str]:
        """See `Rows.fresh`."""
        return set(self.read(keys))

    def put(self, rows: Sequence[StoredRow]) -> None:
        """See `Rows.put`. Raises `StoreReadOnly`."""
        if not self._place.is_writable():
            raise StoreReadOnly(f"{self._place.name} is read-only")
        with self._lock:
            for row in rows:
                partition = self._partition_of(row.session_id)
                if partition is not None:
                    waiting = self._waiting.setdefault((row.rules, partition), {})
                    waiting[row.session_id, row.opened] = row
            self._flush({at for at, waiting in self._waiting.items() if len(waiting) >= self._count(at[1])})

    def stored_keys(self) -> list[RowKey]:
        """See `Rows.stored_keys`."""
        kinds = {path.partition("/day=")[0] for path in self._place.files(SESSIONS)}
        found = (self._load(kind, at) for kind in sorted(kinds) for at in self._place.partitions(kind))
        return sorted(row.key for rows in found for row in rows.values())

    def delete(self, sessions: Collection[str]) -> None:
        """See `Rows.delete`. The rows of the other sessions of their partitions go too, and are made again."""
        partitions = {self._partition_of(name) for name in sessions}
        with self._lock:
            self._read_files.clear()
            for path in self._place.files(SESSIONS):
                if Partition.at(path) in partitions:
                    self._place.remove(path)

    def flush(self) -> None:
        """Write the rows that wait. If that is not possible they are dropped, with a warning."""
        with self._lock:
            try:
                self._flush(set(self._waiting))
            except StoreError as error:
                self._waiting.clear()
                _log.warning("turnlog: replays are not kept for the next time: %s", error)

    # internals -------------------------------------------------------------------------------------------------

    def _flush(self, places: set[tuple[str, Partition]]) -> None:
        for rules, partition in places:
            self._write(f"{SESSIONS}/rules={rules}", partition, self._waiting.pop((rules, partition)))
            for each in [each for each in self._read_files if each[:2] == (rules, partition)]:
                del self._read_files[each]

    def _rows(self, key: RowKey, parts: frozenset[Part]) -> _Found:
        """The rows of the file that has this key's row, if there is one."""
        partition = self._partition_of(key.session_id)
        if partition is None:
            return {}
        with self._lock:
            place = key.rules, partition, parts
            if place not in self._read_files:
                self._read_files[place] = self._load(f"{SESSIONS}/rules={key.rules}", partition, parts)
                if len(self._read_files) > _KEPT:
                    self._read_files.popitem(last=False)
            self._read_files.move_to_end(place)
            return self._read_files[place]

    def _load(self, kind: str, partition: Partition, parts: Iterable[Part] = ()) -> _Found:
        """The rows of a file; none if it cannot be read, so that it is made again."""
        if not self._place.exists(partition.path(kind)):
            return {}
        wanted = [name for name in SCHEMA.names if name not in ALL_PARTS or name in parts]
        try:
            with pyarrow.parquet.ParquetFile(self._place.source(partition.path(kind))) as file:
                table = file.read(wanted, use_threads=False)
            columns = {name: table.column(name).to_pylist() for name in wanted}
        except (pyarrow.ArrowException, KeyError, OSError, UnicodeDecodeError):
            return {}
        empty = [b""] * table.num_rows
        rows = zip(*(columns.get(name, empty) for name in StoredRow._fields), strict=True)
        return {(row.session_id, row.opened): row for row in map(StoredRow._make, rows)}

    def _write(self, kind: str, partition: Partition, rows: _Found) -> None:
        """Add the rows to those of the file; of both, those that are of sessions as the archive has them now."""
        if not self._place.exists(partition.path(EVENTS)):
            return
        with closing(PartitionFile(self._place, partition)) as file:
            seals = {entry.session_id: entry.seal for entry in file.heading.sessions}
        both = self._load(kind, partition, ALL_PARTS) | rows
        current = [both[name] for name in sorted(both) if seals.get(name[0]) == both[name].seal]
        table = pyarrow.Table.from_pylist([row._asdict() for row in current], schema=SCHEMA)
        with self._place.write(partition.path(kind)) as out:
            pyarrow.parquet.write_table(table, out, compression="zstd")
