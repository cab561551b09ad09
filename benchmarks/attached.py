"""Cost of delivery in the agent's process: the same hook calls, with and without exporters attached.

Calls come in bursts, with pauses like those of an agent's event loop, in which other threads run.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from typing import Any

from eventstore import Recorder, Store, open_store
from exporters.analytics.destination import Analytics, routing
from exporters.delivery.live import attach
from rows import Row, comparison_row

BURST = 20
PAUSE_SECONDS = 0.002
BURSTS = 1000
ROUNDS = 12


@contextmanager
def _silent() -> Iterator[int]:
    """A port that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


def _dead_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def measure(database: Any, ready: Callable[[Recorder], list[tuple[Any, tuple[Any, ...]]]]) -> Iterator[Row]:
    """Hook calls with exporters attached to a closed port, and to one that never responds."""
    with _silent() as silent:
        ports = {"none": None, "dead": _dead_port(), "silent": silent}
        best = dict.fromkeys(ports, (float("inf"), float("inf")))
        for _ in range(ROUNDS):
            for name, port in ports.items():
                with database.fresh() as url:
                    store = open_store(url)
                    found = _paced(store, port, ready)
                    store.close()
                best[name] = min(best[name][0], found[0]), min(best[name][1], found[1])
    for name, what in (("dead", "to a dead port"), ("silent", "to one that never answers")):
        yield comparison_row(
            f"hook call, delivering {what}", best[name][0], "the same without", best["none"][0], "µs", at_most=1.1
        )
        yield comparison_row(
            f"waking up late (p99), delivering {what}", best[name][1], "the same without", best["none"][1], "µs"
        )


def _paced(
    store: Store, port: int | None, ready: Callable[[Recorder], list[tuple[Any, tuple[Any, ...]]]]
) -> tuple[float, float]:
    """Mean microseconds per hook call, and the 99th percentile of how late a pause ends."""
    with ExitStack() as stack:
        recorder = stack.enter_context(Recorder(store))
        attached = None
        if port is not None:
            to = Analytics(routing(export_url=f"http://127.0.0.1:{port}/"), timeout_seconds=0.2)
            attached = attach(store, to)
        calls = cycle(ready(recorder))
        bursts = [list(islice(calls, BURST)) for _ in range(BURSTS)]
        spent, late = 0, []
        for burst in bursts:
            wanted = time.perf_counter_ns() + int(PAUSE_SECONDS * 1e9)
            time.sleep(PAUSE_SECONDS)
            start = time.perf_counter_ns()
            for method, args in burst:
                method(*args)
            spent += time.perf_counter_ns() - start
            late.append(start - wanted)
        if attached is not None:
            attached.close(0.0)
            for thread in attached._threads:
                thread.join()
    return spent / BURSTS / BURST / 1e3, sorted(late)[int(BURSTS * 0.99)] / 1e3
