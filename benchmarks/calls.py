"""The calls that are measured with: real ones, and as many of them as are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random

from eventstore import Event, open_store
from turnlog.recordings import Recording, events_of, read_recordings

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
RECORDED = FIXTURES / "recordings.jsonl.gz"
GENERATED = FIXTURES / "conformance.jsonl.gz"
BATCH = 1000


def recordings(path: Path) -> list[Recording]:
    return [recording for _place, recording in read_recordings(path)]


def events(count: int) -> list[Event]:
    """The recorded calls again and again, each time under a session id and an origin such as a recorder makes."""
    return list(islice(_events(), count))


def fill(url: str, count: int) -> None:
    """Append so many events."""
    store, source = open_store(url, migrate=True), _events()
    for at in range(0, count, BATCH):
        store.append(list(islice(source, min(BATCH, count - at))))
    store.close()


def _events() -> Iterator[Event]:
    random = Random("the same in every run")
    while True:
        for call in _recorded():
            session, origin = f"{random.getrandbits(128):032x}", f"{random.getrandbits(48):012x}"
            for e in call:
                yield Event(session, origin, e.seq, e.hook, e.version, e.perf_ns, e.wall_ns, e.payload)


@cache
def _recorded() -> list[list[Event]]:
    return [events_of("", recording) for recording in recordings(RECORDED)]
