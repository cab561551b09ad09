"""turnlog's side of the replay benchmark, in its own process like the reference's; prints a JSON object.

``python turnlog_side.py full|lean DATABASE SESSIONS RULES``, or ``python turnlog_side.py session DATABASE NAME``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial

from eventstore import Event, open_store
from projections.caller import RULES as TURNLOG
from projections.caller import read
from projections.reference.fold import begin, fold
from projections.reference.replay import replay
from projections.reference.rules import Rules, find_rules
from reference_side import peak_mb


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


def measure(make: Callable[[Iterable[Event]], object], database: str, count: int) -> dict[str, float]:
    """Events per second over the first ``count`` sessions by name, and peak memory."""
    store = open_store(database)
    sessions = sorted(store.sessions(), key=lambda session: session.session_id)[:count]
    start = time.perf_counter()
    for session in sessions:
        make(store.read(session.session_id))
    spent = time.perf_counter() - start
    store.close()
    return {"per_s": sum(session.events for session in sessions) / spent, "peak_mb": peak_mb()}


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
        count, rules = rest
        found = measure(making(what, rules), database, int(count))
    print(json.dumps(found))
