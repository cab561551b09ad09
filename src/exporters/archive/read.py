"""Reading a partition: its sessions' chains and events, with one row group in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any

import msgspec
import pyarrow
import pyarrow.parquet

from eventstore.event import Event, merge
from eventstore.stores.chain import Linked, Origin, genesis, link
from exporters.archive.layout import EVENTS, FORMAT, METADATA, BadArchive, Entry, Heading, Partition
from exporters.archive.place import Place
from exporters.archive.write import SCHEMA

_NAMES = ["session_id", "origin", "hook"]
"""Columns that are read as a dictionary, so that equal strings are one object."""
_FIELDS = SCHEMA.names
_decode_heading = msgspec.json.Decoder(Heading).decode
"""Made at import: two threads that decode the first `Heading` at the same time crash the process (msgspec 0.22)."""


class PartitionFile:
    """A file of events, opened. Safe to use from several threads."""

    def __init__(self, place: Place, partition: Partition) -> None:
        """Read the metadata. Raises `BadArchive` if it is no file that an archive build writes."""
        self.place, self.partition, self.path = place, partition, partition.path(EVENTS)
        self.name = f"{place.name}/{self.path}"
        self._lock = threading.Lock()
        source = place.source(self.path)
        with self._errors():
            found = pyarrow.parquet.ParquetFile(source)
            metadata = found.metadata
        _check_schema(self.name, found.schema_arrow)
        with self._errors():
            self._file = pyarrow.parquet.ParquetFile(source, metadata=metadata, read_dictionary=_NAMES)
        self.heading = _heading(self.name, metadata)
        rows = (metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
        self._starts = list(accumulate(rows, initial=0))
        first = accumulate((entry.events for entry in self.heading.sessions), initial=0)
        self._sessions = {e.session_id: (e, at) for e, at in zip(self.heading.sessions, first, strict=False)}
        self._cached: tuple[int, Any] | None = None

    def __repr__(self) -> str:
        return self.name

    def close(self) -> None:
        self._file.close(force=True)

    def entry(self, session_id: str) -> Entry | None:
        found = self._sessions.get(session_id)
        return None if found is None else found[0]

    def chains(self, session_id: str) -> Iterator[tuple[Origin, Iterator[Linked]]]:
        """See `Store.chains`. The links are recomputed; raises `BadArchive` where an origin ends in another one."""
        entry, first = self._sessions[session_id]
        for origin in entry.heads():
            yield origin, self._linked(origin, first)
            first += origin.events

    def _linked(self, origin: Origin, first: int) -> Iterator[Linked]:
        last = genesis(origin.session_id, origin.origin)
        for event in self._events(origin, first):
            last = link(last, event)
            yield Linked(event, last)
        if last != origin.link:
            where = f"{self.name}: session {origin.session_id!r}, origin {origin.origin!r}"
            raise BadArchive(f"{where}: its events are not those that were archived")

    def read(self, session_id: str) -> Iterator[Event]:
        """See `Store.read`."""
        entry, first = self._sessions[session_id]
        streams = []
        for origin in entry.heads():
            streams.append(self._in_order(origin, first))
            first += origin.events
        return streams[0] if len(streams) == 1 else merge(streams)

    def _in_order(self, origin: Origin, first: int) -> Iterator[Event]:
        """The origin's events by ``seq``; those that reached the log late are sorted in memory."""
        stored = self._events(origin, first)
        seqs = (seq for rows in self._rows(first, origin.events, ["seq"]) for seq in rows.column("seq").to_pylist())
        return stored if all(a < b for a, b in pairwise(seqs)) else iter(sorted(stored, key=lambda event: event.seq))

    def _events(self, origin: Origin, first: int) -> Iterator[Event]:
        """The origin's events in storage order; their names are those that the metadata says."""
        names = origin.session_id, origin.origin
        for rows in self._rows(first, origin.events):
            columns = dict(zip(_FIELDS, rows.columns, strict=True))
            for column, expected in zip(("session_id", "origin"), names, strict=True):
                if columns[column].unique().to_pylist() != [expected]:
                    raise BadArchive(f"{self.name}: session {names[0]!r}: its rows are not where the metadata says")
            values = [_values(columns[name]) for name in _FIELDS[2:]]
            for fields in zip(*values, strict=True):
                yield Event(*names, *fields)

    def _rows(self, first: int, count: int, columns: list[str] | None = None) -> Iterator[Any]:
        """The rows from ``first`` on, as a table for each row group that has some of them.

        Of rows in several groups, only the ``columns`` are read if they are given.
        """
        inside = [n for n, (start, end) in enumerate(pairwise(self._starts)) if start < first + count and first < end]
        for number in inside:
            start = self._starts[number]
            begin, stop = max(first, start), min(first + count, self._starts[number + 1])
            yield self._group(number, columns if len(inside) > 1 else None).slice(begin - start, stop - begin)

    def _group(self, number: int, columns: list[str] | None) -> Any:
        """A row group; the last one that was read completely is kept, as the next session often begins in it."""
        with self._lock, self._errors():
            if self._cached is not None and self._cached[0] == number:
                return self._cached[1]
            found = self._file.read_row_group(number, columns=columns, use_threads=False).combine_chunks()
            if columns is None:
                self._cached = number, found
            return found

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Translate the errors of pyarrow and of the file."""
        try:
            yield
        except (pyarrow.ArrowException, UnicodeDecodeError, MemoryError) as error:
            raise BadArchive(f"{self.name} cannot be read: {_line(error)}") from error
        except OSError as error:  # pyarrow raises it for damaged files too
            raise BadArchive(f"{self.name} cannot be read: {error.strerror or _line(error)}") from error


def _values(column: Any) -> list[Any]:
    if not pyarrow.types.is_dictionary(column.type):
        found: list[Any] = column.to_pylist()
        return found
    chunk = column.combine_chunks()
    names = chunk.dictionary.to_pylist()
    return [names[index] for index in chunk.indices.to_pylist()]


def _check_schema(name: str, schema: pyarrow.Schema) -> None:
    """Raise `BadArchive` unless the columns are those of `SCHEMA`."""
    found = {field.name: field for field in schema}
    if missing := [field.name for field in SCHEMA if field.name not in found]:
        raise BadArchive(f"{name} is no file of an archive: it lacks the column {missing[0]!r}")
    for field in SCHEMA:
        if found[field.name].type != field.type:
            kinds = f"{found[field.name].type}, not {field.type}"
            raise BadArchive(f"{name} is no file of an archive: column {field.name!r} is {kinds}")
        if found[field.name].nullable:
            raise BadArchive(f"{name} is no file of an archive: column {field.name!r} may lack values")
    if schema.names != SCHEMA.names:
        raise BadArchive(f"{name} is no file of an archive: its columns are {', '.join(schema.names)[:200]}")


def _heading(name: str, metadata: Any) -> Heading:
    """The file's own metadata. Raises `BadArchive` if it is missing, newer, or does not fit the rows."""
    found = (metadata.metadata or {}).get(METADATA)
    if found is None:
        raise BadArchive(f"{name} is no file of an archive: its metadata has no key {METADATA.decode()!r}")
    try:
        heading = _decode_heading(found)
        order = [(entry.started_ns, entry.session_id) for entry in heading.sessions]
        heads = [head for entry in heading.sessions for head in entry.heads()]
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadArchive(f"{name}: its metadata cannot be read: {_line(error)}") from error
    if heading.archive != FORMAT:
        raise BadArchive(f"{name} has format {heading.archive}, this turnlog reads {FORMAT}: upgrade turnlog")
    whole = all(head.events > 0 and len(head.link) == 32 for head in heads) and all(e.origins for e in heading.sessions)
    once = len({name for _started, name in order}) == len(order) and all(a < b for a, b in pairwise(order))
    if not whole or not once or heading.events != metadata.num_rows:
        raise BadArchive(f"{name}: its metadata does not fit its {metadata.num_rows:,} rows")
    return heading


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
