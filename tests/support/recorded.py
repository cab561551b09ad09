"""The recorded calls, and their events in another order."""

from __future__ import annotations

import msgspec
import pytest

from eventstore import Event
from support.program import FIXTURES
from turnlog.recordings import events_of, read_recordings

RECORDED = {found[0].session_id: found for found in (
    events_of(*recording) for recording in read_recordings(FIXTURES / "recordings.jsonl.gz")
)}  # fmt: skip


recorded = pytest.mark.parametrize("made", RECORDED.values(), ids=RECORDED)


def renumbered(made: list[Event]) -> list[Event]:
    return [msgspec.structs.replace(event, seq=n) for n, event in enumerate(made)]
