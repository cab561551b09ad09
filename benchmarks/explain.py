"""Cost of explaining a value of a very long session, and of reading it: ``python benchmarks/explain.py [EVENTS]``.

Times are CPU seconds, as the machine may be busy. The session consists of the recorded calls in sequence on one clock,
without those with a realtime model.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path

import msgspec
import psutil

from calls import RECORDED, recordings
from eventstore import Event, open_store
from projections.caller import read
from projections.explain import explain, what_if
from turnlog.recordings import events_of

PAUSE_NS = 3_000_000_000
BATCH = 10_000
ENDS = ("finalize_session", "session_ended", "set_session_id")


def long_session(count: int) -> Iterator[Event]:
    """One session of ``count`` events."""
    calls = [events_of("", recording) for recording in recordings(RECORDED)]
    calls = [call for call in calls if not read(call).timeline.realtime]
    began, seq = 10**12, 0
    for call in chain.from_iterable(repeat(calls)):
        shift = began - call[0].perf_ns
        for event in call:
            if event.hook not in ENDS:
                began = event.perf_ns + shift
                yield msgspec.structs.replace(
                    event, session_id="long", origin="o", seq=seq, perf_ns=began, wall_ns=began + 10**18
                )
                seq += 1
                if seq == count:
                    return
        began += PAUSE_NS


def timed(name: str, do: Callable[[], object]) -> None:
    began = time.process_time()
    found = do()
    memory = psutil.Process().memory_info().rss / 1e6
    print(f"{name:<34} {time.process_time() - began:8.2f} s  {memory:6,.0f} MB  {found}")


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, source = open_store(Path(folder) / "long.db"), long_session(count)
        while batch := list(islice(source, BATCH)):
            store.append(batch)
        timed("read and fold, turns", lambda: len(read(store.read("long")).exchanges))
        events = list(store.read("long"))
        exchanges = read(events).exchanges
        turns = [n for n, x in enumerate(exchanges) if x.voices and x.heard]
        cut = next(n for n, x in enumerate(exchanges) if x.cut is not None and x.heard)
        last = f"turns[{turns[-2]}]"
        paths = [f"turns[{turns[0]}].e2e_latency", f"{last}.e2e_latency", f"{last}.response.parts[0].ms"]
        for path in (*paths, f"turns[{cut}].barge_ins[0].yield_ms", "session.events"):
            timed(path, lambda path=path: explain(list(store.read("long")), path).value)
        path = f"{last}.e2e_latency"
        timed(f"{path} --what-if", lambda: len(what_if(events, path).outcomes))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
