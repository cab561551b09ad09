"""The processes of ``watching.py``: an agent that records, and a process that only burns processor time."""

from __future__ import annotations

import json
import sys
import time
from itertools import cycle, islice

from calls import HOUR_OF, RECORDED, recordings
from eventstore import Recorder, open_store
from reference_side import arguments, positional, skipped

LIVE, LIVE_CALLS = "live", 10
"""The call that is watched, and by how many hook calls it grows with each other call."""


def record(db: str, agent: str, seconds: float) -> None:
    """Record calls for some seconds, each one stored before the next begins; print the figures as JSON."""
    store = open_store(db)
    (recording,) = (each for each in recordings(RECORDED) if each.name == HOUR_OF)
    calls = [(call.hook, arguments(call.hook, call.args)) for call in recording.calls if not skipped(call.model_dump())]
    live = Recorder(store, LIVE) if agent == "agent-0" else None
    growing = cycle(calls[:-1])  # it never ends

    def grow() -> None:
        for hook, args in islice(growing, 0 if live is None else LIVE_CALLS):
            getattr(live, hook)(**args)

    grow()
    if live is not None:
        live.flush()
    print("ready", flush=True)
    sys.stdin.readline()
    began, took, stored = time.perf_counter(), [], 0
    with Recorder(store, agent) as recorder:
        methods = [(getattr(recorder, hook), args) for hook, args in calls]
        ready = [(method, positional(method, args)) for method, args in methods]
        while time.perf_counter() - began < seconds:
            for method, args in ready:
                before = time.perf_counter_ns()
                method(*args)
                took.append(time.perf_counter_ns() - before)
            recorder.flush()
            grow()
            stored += len(ready)
    elapsed = time.perf_counter() - began
    took.sort()
    figures = {"p50": took[len(took) // 2] / 1e3, "p99": took[int(len(took) * 0.99)] / 1e3, "events": stored / elapsed}
    print(json.dumps(figures), flush=True)


def burn(share: float) -> None:
    """Use this share of a core, until killed."""
    began, before = time.perf_counter(), time.process_time()
    print("ready", flush=True)
    while True:
        while time.process_time() - before < share * (time.perf_counter() - began):
            pass
        time.sleep(0.005)


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    burn(float(given[0])) if what == "burn" else record(given[0], given[1], float(given[2]))
