"""The reference's side of the benchmark; run by the interpreter that has the reference, prints one JSON object.

``python reference_side.py hooks RECORDINGS`` or ``python reference_side.py replay DATABASE``.
"""

from __future__ import annotations

import gzip
import importlib
import inspect
import json
import sqlite3
import sys
import time
import types
from pathlib import Path

import orjson

perf_counter = time.perf_counter  # the driver replaces the clocks
DRIVER = Path(__file__).resolve().parents[1] / "tests" / "differential"


def load_metrics():
    """Only the reference's metrics package, without its framework."""
    site = next(Path(p) for p in sys.path if (Path(p) / "videosdk" / "agents" / "metrics").is_dir())
    for name, path in (("videosdk", site / "videosdk"), ("videosdk.agents", site / "videosdk" / "agents")):
        module = types.ModuleType(name)
        module.__path__ = [str(path)]
        sys.modules[name] = module
    return importlib.import_module("videosdk.agents.metrics")


class Config:
    def __init__(self, values):
        self.__dict__.update(values)


def arguments(hook, args):
    args = dict(args)
    if "config" in args:
        return {hook[4:]: Config(args["config"]) if args["config"] is not None else None}
    return args


def positional(method, kwargs):
    """The arguments as agents pass them: in place, not by keyword, which costs half a microsecond on either side."""
    names = [name for name in inspect.signature(method).parameters if name in kwargs]
    return tuple(kwargs[name] for name in names)


def skipped(call):
    return call["target"] != "collector" or call["hook"] in (
        "set_traces_flow_manager", "set_playground_manager", "add_participant_metrics", "schedule_turn_complete",
    )  # fmt: skip


def nothing(*_args):
    pass


def loop_seconds(calls):
    """What the loop over the calls costs by itself, with a function that does nothing; taken off on either side."""
    empty = [(nothing, args) for _method, args in calls]
    start = perf_counter()
    for method, args in empty:
        method(*args)
    return perf_counter() - start


def hooks(path):
    """Microseconds a hook call on the recorded calls, logging off, nothing attached: the reference at its cheapest."""
    import logging

    logging.disable(logging.CRITICAL)
    metrics = load_metrics()
    recordings = [json.loads(line) for line in gzip.decompress(Path(path).read_bytes()).splitlines()]
    sessions = [r["calls"] for r in recordings if "-" not in r["name"] or r["name"].endswith("cascade")]
    best = float("inf")
    for _ in range(10):
        spent = calls = 0
        for session in sessions:
            collector = metrics.MetricsCollector()
            collector.analytics_client = types.SimpleNamespace(
                set_session_id=lambda *_: None, send_interaction_analytics_safe=lambda *_: None
            )
            ready = []
            for call in session:
                if not skipped(call):
                    hook = call["hook"] if call["hook"] != "finalize_realtime_turn" else "_finalize_realtime_turn"
                    method = getattr(collector, hook)
                    ready.append((method, positional(method, arguments(call["hook"], call["args"]))))
            start = perf_counter()
            for method, args in ready:
                method(*args)
            spent += perf_counter() - start - loop_seconds(ready)
            calls += len(ready)
        best = min(best, spent / calls * 1e6)
    return {"hook_us": best}


def replay(database):
    """Events a second from the database, with everything (spans in memory) and with turns and payloads alone."""
    sys.path.insert(0, str(DRIVER))
    reference = importlib.import_module("reference")
    found = {}
    for name, attached in (("full", True), ("lean", False)):
        best = float("inf")
        for _ in range(3):
            start = perf_counter()
            events = sum(feed(reference, database, session, attached) for session in sessions_of(database))
            best = min(best, (perf_counter() - start) / events)
        found[name + "_per_s"] = 1 / best
    return found


def sessions_of(database):
    with sqlite3.connect(database) as connection:
        return [row[0] for row in connection.execute("SELECT DISTINCT session_id FROM events ORDER BY 1")]


def feed(reference, database, session, attached):
    clock, metrics = reference._clock, reference.metrics
    collector = metrics.MetricsCollector()
    spans, out, emits, plays = reference._Spans(), [], [], []
    telemetry = reference._telemetry(spans)
    reference.integration.get_telemetry = lambda: telemetry
    collector.analytics_client = reference._Analytics(out)
    emit = (lambda name, data: emits.append((name, data))) if attached else (lambda *_: None)
    reference.mc_mod.global_event_emitter = types.SimpleNamespace(emit=emit)
    flow = metrics.TracesFlowManager("room")
    if not attached:
        collector.analytics_client.send_interaction_analytics_safe = out.append
        collector.traces_flow_manager = types.SimpleNamespace(participant_metrics=[])
        collector.traces_flow_manager.create_unified_turn_trace = lambda *_: None
        collector.traces_flow_manager.create_background_audio_start_span = lambda **_: None
        collector.traces_flow_manager.create_background_audio_stop_span = lambda **_: None
    count = 0
    connection = sqlite3.connect(database)
    rows = connection.execute(
        "SELECT hook, perf_ns, wall_ns, payload FROM events WHERE session_id = ? ORDER BY seq", (session,)
    )
    for hook, perf_ns, wall_ns, payload in rows:
        count += 1
        clock["perf"], clock["wall"] = perf_ns, wall_ns
        if hook == "set_traces_flow_manager":
            if attached:
                collector.set_traces_flow_manager(flow if orjson.loads(payload)["attached"] else None)
        elif hook == "set_playground_manager":
            if attached:
                collector.set_playground_manager(reference._Playground(plays))
        elif hook.startswith("traces."):
            if attached:
                method = getattr(flow, hook[7:])
                returned = method(**orjson.loads(payload))
                if returned is not None and hasattr(returned, "send"):
                    reference._drive(returned)
        elif hook == "finalize_realtime_turn":
            collector._finalize_realtime_turn()
        else:
            getattr(collector, hook)(**arguments(hook, orjson.loads(payload)))
    connection.close()
    return count


if __name__ == "__main__":
    print(json.dumps({"hooks": hooks, "replay": replay}[sys.argv[1]](sys.argv[2])))
