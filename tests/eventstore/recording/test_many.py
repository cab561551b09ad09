"""Many recorders, in many processes, into one log: nothing is lost, and no recorder sees `locked`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from eventstore import Store

pytestmark = pytest.mark.slow

PROCESSES, SESSIONS, CALLS = 8, 64, 25
# Every session of a process is recorded by every process, so each session has as many origins as there are processes.
AGENT = """
import json, sys, time
from turnlog import Recorder, open_store
url, journal, sessions, calls = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = open_store(url)
recorders = [Recorder(store, f"s{n}", journal=journal) for n in range(sessions)]
spent = []
for call in range(calls):
    for recorder in recorders:
        start = time.perf_counter_ns()
        recorder.add_tts_characters(call)
        spent.append(time.perf_counter_ns() - start)
stored = [recorder.close(60) for recorder in recorders]
health = recorders[0].health
spent.sort()
print(json.dumps({
    "stored": all(stored), "dropped": health.dropped, "failed": sum(r.health.failed for r in recorders),
    "p50_us": spent[len(spent) // 2] / 1000, "p99_us": spent[len(spent) * 99 // 100] / 1000,
}))
store.close()
"""


def test_64_sessions_in_each_of_8_processes_at_once(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, record_property: Any
) -> None:
    for backend in ("sqlite", "postgres"):
        store: Store = request.getfixturevalue(backend)
        folder = tmp_path_factory.mktemp(backend)
        url = str(request.getfixturevalue("tmp_path") / "calls.db")
        if backend == "postgres":
            url = request.getfixturevalue("postgres_url")
        agents = [
            subprocess.Popen(
                [sys.executable, "-c", AGENT, url, folder, str(SESSIONS), str(CALLS)], stdout=subprocess.PIPE
            )
            for _ in range(PROCESSES)
        ]
        reports = [json.loads(agent.communicate()[0]) for agent in agents]
        assert [agent.returncode for agent in agents] == [0] * PROCESSES
        assert all(report["stored"] for report in reports)
        assert {(report["dropped"], report["failed"]) for report in reports} == {(0, 0)}
        sessions = store.sessions()
        assert len(sessions) == SESSIONS
        assert {(s.events, s.origins) for s in sessions} == {(PROCESSES * CALLS, PROCESSES)}
        seqs: dict[str, list[int]] = {}
        for event in store.read("s7"):
            seqs.setdefault(event.origin, []).append(event.seq)
        assert all(found == list(range(CALLS)) for found in seqs.values())
        worst = max(report["p99_us"] for report in reports)
        record_property(f"{backend}_hook_p99_us", worst)
        print(f"{backend}: hook call p99 {worst:.0f} µs, with {PROCESSES} processes on this machine")
        assert list(folder.iterdir()) == []
