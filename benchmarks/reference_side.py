"""The reference's side of the benchmark, run by the interpreter with the reference installed; prints a JSON object.

``python reference_side.py hooks RECORDINGS`` or ``python reference_side.py full|lean DATABASE SESSIONS``.
"""

from __future__ import annotations

import gzip
import importlib
import inspect
import json
import re
import resource
import sqlite3
import sys
import time
import types
from pathlib import Path

import orjson

perf_counter = time.perf_counter  # the driver replaces the clocks
DRIVER = Path(__file__).resolve().parents[1] / "tests" / "differential"
SESSIONS = "SELECT DISTINCT session_id FROM origins ORDER BY 1 LIMIT ?"
EVENTS = (
    "SELECT hook, perf_ns, wall_ns, payload FROM events JOIN origins ON id = origin_id WHERE session_id = ? "
    "ORDER BY origin_id, seq"
)


def load_metrics():
    """Import only the reference's metrics package, without its framework."""
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
    """The arguments as agents pass them: positional, as keywords cost half a microsecond on either side."""
    names = [name for name in inspect.signature(method).parameters if name in kwargs]
    return tuple(kwargs[name] for name in names)


def skipped(call):
    return call["target"] != "collector" or call["hook"] in (
        "set_traces_flow_manager", "set_playground_manager", "add_participant_metrics", "schedule_turn_complete",
    )  # fmt: skip


def nothing(*_args):
    pass


def loop_seconds(calls):
    """Cost of the loop over the calls, measured with an empty function; subtracted on both sides."""
    empty = [(nothing, args) for _method, args in calls]
    start = perf_counter()
    for method, args in empty:
        method(*args)
    return perf_counter() - start


def hooks(path):
    """Microseconds per hook call on the recorded calls, without logging or listeners: the reference at its best."""
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


def replay(database, count, attached):
    """Events per second over the first ``count`` sessions by name; ``attached``: with all outputs, spans in memory."""
    sys.path.insert(0, str(DRIVER))
    reference = importlib.import_module("reference")
    connection = sqlite3.connect(database)
    sessions = connection.execute(SESSIONS, (count,)).fetchall()
    start = perf_counter()
    events = sum(feed(reference, connection.execute(EVENTS, session).fetchall(), attached) for session in sessions)
    spent = perf_counter() - start
    connection.close()
    return {"per_s": events / spent, "peak_mb": peak_mb()}


def peak_mb():
    """This process's peak memory; on Linux, ``getrusage`` may return the parent's if that was larger."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text()).group(1)) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def feed(reference, rows, attached):
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
    for hook, perf_ns, wall_ns, payload in rows:
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
    return len(rows)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    print(json.dumps(hooks(*rest) if what == "hooks" else replay(rest[0], int(rest[1]), attached=what == "full")))
