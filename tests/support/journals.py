"""Journal files, as processes leave them behind."""

from __future__ import annotations

from pathlib import Path

from eventstore import Event
from eventstore.recording import frames
from eventstore.recording.journal import Segment


def body(event: Event) -> bytes:
    stamp = frames.STAMP.pack(event.seq, event.perf_ns, event.wall_ns)
    return frames.head(event.session_id, event.origin, event.hook) + stamp + event.payload.encode()


def frame(seq: int, payload: str = '{"text":"hello"}') -> bytes:
    return frames.frame(body(Event("s", "o", seq, "set_llm_input", 1, seq, seq, payload)))


def leave_behind(folder: Path, data: bytes) -> Path:
    """A journal file of a process that is gone, holding ``data``."""
    segment = Segment(folder, 1 << 16)
    segment.write(data)
    segment.close(remove=False)
    return segment.path
