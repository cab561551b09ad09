"""turnlog's side of the replay benchmark, in its own process like the reference's; prints a JSON object.

``python turnlog_side.py full|lean DATABASE SESSIONS RULES [PROCESSES]``, or ``… session DATABASE NAME``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from eventstore import Event, open_store
from projections.caller import RULES as TURNLOG
from projections.caller import read
from projections.reference.fold import begin, fold
from projections.reference.replay import replay
from projections.reference.rules import Rules, find_rules
from reference_side import peak_mb
from turnlog.garbage import collect_rarely

TASK = 250
"""Number of sessions that a process replays at a time."""


def framework_lean(events: Iterable[Event], rules: Rules) -> object:
    return fold(begin(rules, spans=False, signals=False), events)


def lean(events: Iterable[Event]) -> object:
    r = read(events)
    return r.turns, r.payloads


def full(events: Iterable[Event]) -> object:
    r = read(events)
    return r.turns, r.payloads, r.spans, r.barge_ins


def making(what: str, rules: str) -> Callable[[Iterable[Event]], object]:
    """The function that computes all outputs, or only turns and payloads, under that rule set."""
    if rules == TURNLOG:
        return {"full": full, "lean": lean}[what]
    return partial({"full": replay, "lean": framework_lean}[what], rules=find_rules(rules))


def measure(what: str, database: str, count: int, rules: str, processes: int = 1) -> dict[str, float]:
    """Events per second over the first ``count`` sessions by name, and peak memory of this process."""
    store = open_store(database)
    sessions = sorted(store.sessions(), key=lambda session: session.session_id)[:count]
    store.close()
    names = [session.session_id for session in sessions]
    start = time.perf_counter()
    if processes == 1:
        replay_all(what, database, rules, names)
    else:  # as `turnlog stats` does: started anew, and what they replay is reduced where it is made
        tasks = [names[at : at + TASK] for at in range(0, len(names), TASK)]
        with ProcessPoolExecutor(processes, get_context("forkserver")) as pool:
            list(pool.map(partial(replay_all, what, database, rules), tasks))
    spent = time.perf_counter() - start
    return {"per_s": sum(session.events for session in sessions) / spent, "peak_mb": peak_mb()}


def replay_all(what: str, database: str, rules: str, names: list[str]) -> None:
    collect_rarely()  # as the command line and its processes do
    make, store = making(what, rules), open_store(database)
    for _name, events in store.read_many(names):
        make(events)
    store.close()


def session(database: str, name: str) -> dict[str, float]:
    """Seconds for all outputs of one session, with its events already read."""
    store = open_store(database)
    events = list(store.read(name))
    store.close()
    start = time.perf_counter()
    full(events)
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    what, database, *rest = sys.argv[1:]
    if what == "session":
        found = session(database, *rest)
    else:
        count, rules, *processes = rest
        found = measure(what, database, int(count), rules, *map(int, processes))
    print(json.dumps(found))
