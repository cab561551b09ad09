"""Reading recordings and archives in batches, so that memory holds one batch of even the longest session."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from eventstore.event import Event
from turnlog import recordings
from turnlog.archive import files as archive
from turnlog.recordings import Opener

BATCH_EVENTS = 2_000
BATCH_BYTES = 4 << 20
"""Size of the payloads; a batch ends with the event that reaches either limit."""


class Batch(NamedTuple):
    sessions: int
    """Number of sessions that begin in it."""
    events: list[Event]


def batches(path: Path, open_file: Opener, seals: Collection[str] = ()) -> Iterator[Batch]:
    """Yield the file's events in file order, each checked; the file is valid only if the iteration completes.

    ``seals``: see `stream_archive`. Raises `BadRecording`.
    """
    if archive.is_archive(path):
        return in_batches(archive.stream_archive(path, open_file, seals))
    return in_batches(recordings.stream_recordings(path, open_file))


def in_batches(items: Iterable[str | Event]) -> Iterator[Batch]:
    """Batches of events; before the first event of each session comes its name."""
    batch, size = Batch(0, []), 0
    for item in items:
        if isinstance(item, str):
            batch = batch._replace(sessions=batch.sessions + 1)
            continue
        batch.events.append(item)
        size += len(item.payload)
        if len(batch.events) >= BATCH_EVENTS or size >= BATCH_BYTES:
            yield batch
            batch, size = Batch(0, []), 0
    if batch.sessions or batch.events:
        yield batch
