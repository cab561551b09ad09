"""The calls used for measurements: recorded ones, repeated as often as needed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import count as count_up
from itertools import islice
from pathlib import Path
from random import Random

import msgspec

from eventstore import Event, open_store
from turnlog.recordings import Recording, events_of, read_recordings

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
RECORDED = FIXTURES / "recordings.jsonl.gz"
GENERATED = FIXTURES / "conformance.jsonl.gz"
BATCH = 1000


def recordings(path: Path) -> list[Recording]:
    return [recording for _place, recording in read_recordings(path)]


def events(count: int) -> list[Event]:
    """Repeat the recorded calls endlessly, each time under a new session id and origin in the recorder's format."""
    return list(islice(_events(), count))


def fill(url: str, count: int, *, apart_ns: int = 0) -> None:
    """Append ``count`` events; each round of the recorded calls is ``apart_ns`` after the one before it."""
    store, source = open_store(url, migrate=True), _events(apart_ns)
    for at in range(0, count, BATCH):
        store.append(list(islice(source, min(BATCH, count - at))))
    store.close()


def fill_session(url: str, name: str, count: int) -> None:
    """Append one session of ``count`` events: the recorded calls, one after the other."""
    store, source = open_store(url, migrate=True), islice(_joined(name), count)
    while batch := list(islice(source, BATCH)):
        store.append(batch)
    store.close()


HOUR_OF, HOUR_SETUP = "soak_seed4", 22
"""The recorded call of 30 turns that an hour-long one is made of, with the number of events before its first turn."""


def thirty_turns() -> list[Event]:
    """The events of a recorded call of 30 turns."""
    return next(events_of(*each) for each in read_recordings(RECORDED) if each[1].name == HOUR_OF)


def hour(name: str, count: int = 40_000, seconds: int = 3600) -> list[Event]:
    """A call of that many events and seconds: a recorded one again and again, without its setup, and sped up."""
    call = thirty_turns()
    body = [event for event in call[HOUR_SETUP:] if event.hook != "finalize_session"]
    rounds = -(-count // len(body))
    begun, length = call[HOUR_SETUP].perf_ns, call[-1].perf_ns - call[HOUR_SETUP].perf_ns
    speed = seconds * 1e9 / (rounds * length)
    repeated = [(event, n) for n in range(rounds) for event in body][: count - HOUR_SETUP - 1]
    found = call[:HOUR_SETUP]
    for event, n in [*repeated, (call[-1], rounds - 1)]:
        at = round((event.perf_ns - begun + n * length) * speed)
        found.append(msgspec.structs.replace(event, perf_ns=begun + at, wall_ns=call[HOUR_SETUP].wall_ns + at))
    return [msgspec.structs.replace(event, session_id=name, seq=seq) for seq, event in enumerate(found)]


_ENDS = ("finalize_session", "session_ended", "traces.agent_meeting_end")
_PAUSE_NS = 3_000_000_000


def _joined(name: str) -> Iterator[Event]:
    seq, begun_ns, epoch_ns = 0, 0, _recorded()[0][0].wall_ns
    while True:
        for call in _recorded():
            first = call[0].perf_ns
            for e in call:
                if e.hook not in _ENDS:
                    at_ns = begun_ns + e.perf_ns - first
                    yield Event(name, "long", seq, e.hook, e.version, at_ns, at_ns + epoch_ns, e.payload)
                    seq += 1
            begun_ns += max(e.perf_ns for e in call) - first + _PAUSE_NS


def _events(apart_ns: int = 0) -> Iterator[Event]:
    random = Random("the same in every run")
    for later_ns in count_up(0, apart_ns):
        for call in _recorded():
            session, origin = f"{random.getrandbits(128):032x}", f"{random.getrandbits(48):012x}"
            for e in call:
                at_ns = e.wall_ns + later_ns
                yield Event(session, origin, e.seq, e.hook, e.version, e.perf_ns + later_ns, at_ns, e.payload)


@cache
def _recorded() -> list[list[Event]]:
    return [events_of("", recording) for recording in recordings(RECORDED)]
