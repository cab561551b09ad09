"""turnlog's side of the replay, in a process of its own, as the reference's is; prints one JSON object.

``python turnlog_side.py full|lean DATABASE SESSIONS RULES``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable

from eventstore import Event, open_store
from projections.reference.fold import begin, fold
from projections.reference.replay import replay
from projections.reference.rules import Rules, find
from reference_side import peak_mb


def lean(events: Iterable[Event], rules: Rules) -> object:
    return fold(begin(rules, spans=False, signals=False), events)


def measure(
    make: Callable[[Iterable[Event], Rules], object], database: str, count: int, rules: Rules
) -> dict[str, float]:
    """Events a second over the first ``count`` sessions by name, and what memory it took."""
    store = open_store(database)
    sessions = sorted(store.sessions(), key=lambda session: session.session_id)[:count]
    start = time.perf_counter()
    for session in sessions:
        make(store.read(session.session_id), rules)
    spent = time.perf_counter() - start
    store.close()
    return {"per_s": sum(session.events for session in sessions) / spent, "peak_mb": peak_mb()}


if __name__ == "__main__":
    what, database, count, rules = sys.argv[1:]
    print(json.dumps(measure({"full": replay, "lean": lean}[what], database, int(count), find(rules))))
