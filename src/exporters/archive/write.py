"""Writing a partition: sessions in, one Parquet file out, with at most one row group in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import msgspec
import pyarrow
import pyarrow.parquet

from eventstore.errors import StoreError
from eventstore.event import Event
from eventstore.stores.chain import Linked, Origin, genesis, link
from exporters.archive.layout import FORMAT, METADATA, Entry, Heading, Partition, Times

GROUP_EVENTS = 20_000
GROUP_BYTES = 8 << 20
"""Size of the texts; a row group ends with the row that reaches either limit."""
_TYPES = {
    "session_id": pyarrow.string(), "origin": pyarrow.string(), "seq": pyarrow.int64(), "hook": pyarrow.string(),
    "version": pyarrow.int64(), "perf_ns": pyarrow.int64(), "wall_ns": pyarrow.int64(), "payload": pyarrow.string(),
}  # fmt: skip
SCHEMA = pyarrow.schema([pyarrow.field(name, type_, nullable=False) for name, type_ in _TYPES.items()])
"""The fields of `Event`. The links of the hash chains follow from them."""
REPETITIVE = ["session_id", "origin", "hook", "version"]
"""Columns that are encoded as a dictionary."""
_OPTIONS = {
    "compression": "zstd",
    "compression_level": 7,
    "use_dictionary": REPETITIVE,
    "column_encoding": dict.fromkeys(("seq", "perf_ns", "wall_ns"), "DELTA_BINARY_PACKED"),
    "write_statistics": [name for name in _TYPES if name != "payload"],
    "store_schema": False,
}

Chains = Iterable[tuple[Origin, Iterable[Linked]]]
"""What `Store.chains` returns."""


class BrokenSession(StoreError):
    """A session cannot be archived."""

    def __init__(self, session_id: str, why: str = "does not verify; see `turnlog verify`") -> None:
        super().__init__(f"session {session_id!r} {why}")
        self.session_id = session_id


def write_partition(
    file: IO[bytes],
    partition: Partition,
    buckets: int,
    sessions: Iterable[tuple[int, str, Chains]],
    advance: Callable[[int], object] = lambda events: None,
) -> Heading:
    """Write the sessions, which come with start and name, ordered by these; returns the file's metadata.

    The same sessions give the same bytes, under one version of pyarrow. ``advance`` is called with the number of
    events written since its last call. Raises `BrokenSession`.
    """
    entries: list[Entry] = []
    with pyarrow.parquet.ParquetWriter(file, SCHEMA, **_OPTIONS) as writer:
        group = RowGroups(writer, SCHEMA, advance)
        for started_ns, name, chains in sessions:
            entry = _write_session(group, name, chains)
            if entry.started_ns != started_ns:
                raise BrokenSession(name, "received earlier events during the build; build again")
            entries.append(entry)
        group.flush()
        heading = Heading(FORMAT, partition.day, partition.bucket, buckets, entries)
        writer.add_key_value_metadata({METADATA: msgspec.json.encode(heading)})
    return heading


def _write_session(group: RowGroups, name: str, chains: Chains) -> Entry:
    heads: list[Origin] = []
    times = Times()
    for origin, stored in chains:
        heads.append(origin)
        for event in _verified(origin, stored):
            times.add(event)
            group.add(msgspec.structs.astuple(event), len(event.payload))
    if not heads:
        raise BrokenSession(name)
    return Entry.of(name, times.started_ns, times.ended_ns, heads)


def _verified(origin: Origin, stored: Iterable[Linked]) -> Iterator[Event]:
    """The origin's events, if each follows the one before it and the last one is the head."""
    last, count = genesis(origin.session_id, origin.origin), 0
    for event, found in stored:
        last = link(last, event)
        if last != found:
            raise BrokenSession(origin.session_id)
        count += 1
        yield event
    if not count or (count, last) != (origin.events, origin.link):
        raise BrokenSession(origin.session_id)


class RowGroups:
    """Rows on their way into a file; memory holds one row group."""

    def __init__(
        self,
        writer: pyarrow.parquet.ParquetWriter,
        schema: pyarrow.Schema,
        advance: Callable[[int], object] = lambda rows: None,
    ) -> None:
        self._writer, self._schema, self._advance = writer, schema, advance
        self._rows: list[tuple[Any, ...]] = []
        self._bytes = 0

    def add(self, row: tuple[Any, ...], size: int) -> None:
        """Add a row; ``size`` is that of its texts in bytes, more or less."""
        self._rows.append(row)
        self._bytes += size
        if len(self._rows) == GROUP_EVENTS or self._bytes >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pyarrow.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
            self._writer.write_batch(pyarrow.record_batch(arrays, schema=self._schema))
            self._advance(len(self._rows))
            self._rows, self._bytes = [], 0
