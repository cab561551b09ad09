"""Do our `create_span` and `complete_span` make the spans that the reference's make? Same calls, from a seed.

``python telemetry_spans.py [CALLS] [SEED]``; exits 1 on a mismatch, and 0 with a message if the reference cannot be had
here. With ``--reference`` first it prints the reference's spans, with an interpreter that has it.
"""

from __future__ import annotations

import importlib
import json
import logging
import random
import secrets
import subprocess
import sys
import time
import types
from itertools import zip_longest
from pathlib import Path
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

ATTRIBUTES: list[dict[str, Any]] = [
    {}, {"a": "text"}, {"n": 7, "f": 1.5, "none": None, "list": [1, {"x": 2}]}, {"attiribute_id": "x"},
]  # fmt: skip
NUMBERED = "attiribute_id"


def drive(create: Any, complete: Any, seed: str, calls: int) -> list[Any]:
    """Make the calls, each at a time of its own; returns the spans as they were created."""
    chance = random.Random(seed)
    made: list[Any] = []
    perf, wall = 1000.0, 1_700_000_000_000_000_000
    for n in range(calls):
        step = chance.uniform(0, 2)
        perf, wall = perf + step, wall + int(step * 1e9)
        time.perf_counter, time.time_ns = (lambda now=perf: now), (lambda now=wall: now)
        moment = chance.choice([None, perf - chance.uniform(0, 3), perf + 1])
        if chance.random() < 0.5 or not made:
            parent = chance.choice([None, *made[-3:]])
            attributes = chance.choice([None, *map(dict, ATTRIBUTES)])  # copies: the reference writes into them
            made.append(create(f"span {n}", attributes, parent, moment))
        else:
            status = chance.choice([StatusCode.OK, StatusCode.ERROR, StatusCode.UNSET])
            complete(chance.choice([None, *made[-4:]]), status, chance.choice(["", "said"]), moment)
    return made


def shown(made: list[Any], ended: Any) -> list[dict[str, Any]]:
    """The ended spans as JSON; a parent is named by when it was created."""
    number = {span.context.span_id: n for n, span in enumerate(made)}
    return [
        {
            "name": span.name,
            "parent": number[span.parent.span_id] if span.parent else None,
            "start_ns": span.start_time,
            "end_ns": span.end_time,
            "status": [span.status.status_code.name, span.status.description],
            "attributes": {k: "an id" if k == NUMBERED and len(v) == 36 else v for k, v in span.attributes.items()},
        }
        for span in ended
    ]


def reference(seed: str, calls: int) -> list[dict[str, Any]]:
    """The reference's module by itself, without its framework."""
    metrics = next(p for p in (Path(p) / "videosdk/agents/metrics" for p in sys.path) if p.is_dir())
    package = types.ModuleType("metrics")
    package.__path__ = [str(metrics)]
    sys.modules["metrics"] = package
    integration, module = importlib.import_module("metrics.integration"), importlib.import_module("metrics.telemetry")
    spans = InMemorySpanExporter()
    telemetry = module.VideoSDKTelemetry.__new__(module.VideoSDKTelemetry)
    telemetry.traces_enabled, telemetry.span_details = True, {}
    provider = TracerProvider(resource=Resource({}))
    provider.add_span_processor(SimpleSpanProcessor(spans))
    telemetry.tracer = provider.get_tracer("peer")
    module._telemetry_instance = telemetry
    return shown(drive(integration.create_span, integration.complete_span, seed, calls), spans.get_finished_spans())


def ours(seed: str, calls: int) -> list[dict[str, Any]]:
    from exporters.reference import telemetry

    spans = InMemorySpanExporter()
    telemetry._current = telemetry._Telemetry("peer", Resource({}), spans)
    made = drive(telemetry.create_span, telemetry.complete_span, seed, calls)
    telemetry._current.provider.force_flush()
    return shown(made, spans.get_finished_spans())


def main() -> int:
    from differential import REFERENCE, SHOWN, reference_python

    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = sys.argv[2] if len(sys.argv) > 2 else secrets.token_hex(4)
    python = reference_python()
    if python is None:
        print(f"SKIPPED the comparison of telemetry spans: {REFERENCE} could not be installed here")
        return 0
    command = [python, __file__, "--reference", str(calls), seed]
    expected = json.loads(subprocess.run(command, capture_output=True, check=True).stdout.splitlines()[-1])
    got = json.loads(json.dumps(ours(seed, calls)))
    wrong = [(n, one, other) for n, (one, other) in enumerate(zip_longest(expected, got)) if one != other]
    for n, one, other in wrong[:SHOWN]:
        print(f"span {n}: expected {one}, got {other}")
    print(f"reference {REFERENCE}, seed {seed}: {len(expected)} spans, {len(wrong)} mismatches")
    return 1 if wrong or not expected else 0


if __name__ == "__main__":
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # spans are ended twice, on purpose
    if sys.argv[1:2] == ["--reference"]:
        print(json.dumps(reference(sys.argv[3], int(sys.argv[2]))))
        sys.exit(0)
    sys.exit(main())
