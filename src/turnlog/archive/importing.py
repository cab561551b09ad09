"""Files of recordings or archives as batches for the log: however long a session is, memory holds one batch of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from eventstore.event import Event
from turnlog import recordings
from turnlog.archive import files as archive
from turnlog.recordings import Opener

BATCH_EVENTS = 2_000
BATCH_BYTES = 4 << 20
"""Of payloads; a batch ends with the event that reaches either."""


class Batch(NamedTuple):
    sessions: int
    """How many begin in it."""
    events: list[Event]


def batches(path: Path, open_file: Opener, seals: Collection[str] = ()) -> Iterator[Batch]:
    """The file's events, as they stand in it, each checked; the file is good only if all batches come.

    ``seals``: see `archive.stream`. Raises `BadRecording`.
    """
    found = (
        archive.stream_archive(path, open_file, seals)
        if archive.is_archive(path)
        else recordings.stream_recordings(path, open_file)
    )
    batch, size = Batch(0, []), 0
    for one in found:
        if isinstance(one, str):
            batch = batch._replace(sessions=batch.sessions + 1)
            continue
        batch.events.append(one)
        size += len(one.payload)
        if len(batch.events) >= BATCH_EVENTS or size >= BATCH_BYTES:
            yield batch
            batch, size = Batch(0, []), 0
    if batch.sessions or batch.events:
        yield batch
