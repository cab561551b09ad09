"""A task of a rebuild: one partition of an archive in, one file for each output out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from hashlib import sha256
from typing import NamedTuple

import msgspec
import pyarrow.parquet

from eventstore.errors import TurnlogError
from exporters.archive.layout import METADATA, Heading, Partition
from exporters.archive.place import Place
from exporters.archive.read import PartitionFile
from exporters.archive.write import RowGroups
from projections.boundary import replaying
from projections.readings import reading
from turnlog.garbage import collect_rarely
from turnlog.read_models.engine import engine
from turnlog.rebuild.outputs import OUTPUTS, Row


class OtherEngine(TurnlogError):
    """A worker has a different version of turnlog."""


class Task(NamedTuple):
    """A partition to rebuild."""

    archive: str
    out: str
    partition: Partition
    rules: str
    what: tuple[str, ...]
    engine: str
    """`turnlog.read_models.engine.engine` of the process that makes the tasks."""


class Stamp(msgspec.Struct, frozen=True):
    """What a file was made of, in its metadata; a file with the same stamp need not be made again."""

    rules: str
    engine: str
    input: str
    """Digest of the seals of the partition's sessions."""


class Made(msgspec.Struct, frozen=True):
    """The metadata of a file that a rebuild wrote."""

    stamp: Stamp
    sessions: int
    failed: dict[str, str]
    """Sessions that could not be replayed, with the reason; the file has no row of them."""


_decode_made = msgspec.json.Decoder(Made).decode


class Result(NamedTuple):
    """What became of a task."""

    partition: Partition
    sessions: int
    written: int
    """Number of files."""
    failed: dict[str, str]


def path_of(partition: Partition, what: str, rules: str) -> str:
    """The path of an output's file in the output folder."""
    return partition.path(f"{what}/rules={rules}")


def run(task: Task) -> Result:
    """Write the files of the task that are missing or stale. Repeating it is harmless.

    Raises `OtherEngine`, `StoreError`.
    """
    if engine() != task.engine:
        raise OtherEngine(f"this process has turnlog {engine()}, the rebuild needs {task.engine}; install the same one")
    out = Place(task.out)
    with closing(PartitionFile(Place(task.archive), task.partition)) as source:
        stamp = Stamp(task.rules, task.engine, _digest(source.heading))
        paths = {what: path_of(task.partition, what, task.rules) for what in task.what}
        found = {what: _made(out, path) for what, path in paths.items()}
        fresh = [made for made in found.values() if made is not None and made.stamp == stamp]
        stale = [what for what, made in found.items() if made is None or made.stamp != stamp]
        failed = {name: reason for made in fresh for name, reason in made.failed.items()}
        if stale:
            failed |= _write(out, source, stamp, {what: paths[what] for what in stale})
        return Result(task.partition, len(source.heading.sessions), len(stale), failed)


def run_in_worker(task: Task) -> Result:
    """`run`, in a process of a cluster."""
    collect_rarely()
    return run(task)


def _write(out: Place, source: PartitionFile, stamp: Stamp, paths: dict[str, str]) -> dict[str, str]:
    """Write one file for each output; returns the sessions that could not be replayed."""
    failed: dict[str, str] = {}
    with ExitStack() as opened:
        groups: dict[str, RowGroups] = {}
        writers = []
        for what, path in paths.items():
            file = opened.enter_context(out.write(path))
            schema = OUTPUTS[what].schema
            writer = opened.enter_context(pyarrow.parquet.ParquetWriter(file, schema, compression="zstd"))
            writers.append(writer)
            groups[what] = RowGroups(writer, schema)
        for entry in source.heading.sessions:
            try:
                made = _session(source, entry.session_id, stamp.rules, list(paths))
            except TurnlogError as error:
                failed[entry.session_id] = str(error)
                continue
            for what, rows in made.items():
                for row in rows:
                    groups[what].add(row, sum(len(value) for value in row if isinstance(value, str)))
        metadata = {METADATA: msgspec.json.encode(Made(stamp, len(source.heading.sessions), failed))}
        for group, writer in zip(groups.values(), writers, strict=True):
            group.flush()
            writer.add_key_value_metadata(metadata)
    return failed


def _session(source: PartitionFile, name: str, rules: str, what: Sequence[str]) -> dict[str, list[Row]]:
    """The session's rows for each output: all, or the error."""
    events = list(source.read(name))
    with replaying(name):
        call = reading(events, rules)
        return {each: list(OUTPUTS[each].rows(call, events)) for each in what}


def _made(out: Place, path: str) -> Made | None:
    """The metadata of a file; None if there is none, or if no rebuild wrote it."""
    if not out.exists(path):
        return None
    try:
        metadata = pyarrow.parquet.read_metadata(out.source(path)).metadata or {}
        return _decode_made(metadata.get(METADATA, b""))
    except (pyarrow.ArrowException, OSError, msgspec.DecodeError):
        return None


def _digest(heading: Heading) -> str:
    return sha256("\n".join(entry.seal for entry in heading.sessions).encode()).hexdigest()


def tasks(archive: Place, out: Place, rules: str, what: Sequence[str]) -> Iterator[Task]:
    """A task for each partition of the archive, the largest file first, so that none is left over at the end."""
    sizes = archive.partitions()
    for partition in sorted(sizes, key=lambda each: (-sizes[each], each)):
        yield Task(archive.url, out.url, partition, rules, tuple(what), engine())
