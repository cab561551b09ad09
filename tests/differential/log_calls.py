"""Log calls from a seed, and a job that makes them; `JobLogger` and `LogManager` are the reference's or ours.

``python log_calls.py URL SEED JOBS`` runs the reference's, with an interpreter that has it.
"""

from __future__ import annotations

import importlib.util
import logging
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NAMESPACE = "videosdk.agents"
LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
MESSAGES: list[tuple[str, tuple[Any, ...]]] = [
    ("plain", ()), ("100 %", ()), ("%s of %d", ("two", 3)), ("मौसम 🙂 \"quoted\"\n\ttab", ()), ("%(a)s", ({"a": 1},)),
    ("", ()), ("%r", ([1, {"x": None}],)), ("x" * 5000, ()),
]  # fmt: skip
ATTRIBUTES: list[Any] = [
    None, {}, {"order": 7}, {"roomId": "mine", "level": "low"}, {"deep": {"a": [1, 2.5, None, True]}, "ü": "ß"},
    {"t": (1, 2)},
]  # fmt: skip


def job(chance: random.Random) -> dict[str, Any]:
    """How it is set up, and what it logs."""
    calls = [
        {
            "logger": chance.choice([NAMESPACE, NAMESPACE + ".room", NAMESPACE + ".a.b", "elsewhere"]),
            "level": chance.choice(LEVELS),
            "message": chance.choice(MESSAGES),
            "attributes": chance.choice(ATTRIBUTES),
            "created": chance.choice([1_700_000_000.0, 1_700_000_000.9999996, chance.uniform(1e9, 2e9)]),
            "raised": chance.random() < 0.2,
        }
        for _ in range(chance.randint(0, 25))
    ]
    return {
        "logger": {
            "session_id": chance.choice([None, "", "s-1"]),
            "dashboard_log_level": chance.choice(["DEBUG", "info", "ERROR", "nonsense"]),
            "sdk_metadata": chance.choice([None, {}, {"sdk": "agents", "sdk_version": "2"}, {"sdk_version": ""}]),
            "send_logs_to_dashboard": chance.random() < 0.9,
        },
        "jwt_key": chance.choice(["", "jwt-1"]),
        "custom_headers": chance.choice([None, {}, {"X-Key": "k"}, {"Content-Type": "a/b", "authorization": "c"}]),
        "endpoint_at": chance.randint(0, len(calls)),
        "context_at": chance.randint(0, len(calls)),
        "context": chance.choice([{}, {"sessionId": "s-2"}, {"peerId": "p-2", "sdk_name": "", "service_name": "mine"}]),
        "calls": calls,
    }  # fmt: skip


def run(module: Any, url: str, seed: str, jobs: int) -> None:
    """Every job, one after the other, each at its own path of the endpoint."""
    logging.getLogger().addHandler(logging.NullHandler())  # what is logged here is for the endpoint alone
    chance = random.Random(seed)
    for number in range(jobs):
        _run(module, f"{url}/{number}", job(chance))


def _run(module: Any, url: str, made: dict[str, Any]) -> None:
    manager = module.LogManager(batch_size=100_000, flush_interval_seconds=1000.0)
    manager.start(auth_token="t")
    caught = module.JobLogger(manager.get_queue(), "room", "peer", "t", **made["logger"])
    for n in range(len(made["calls"]) + 1):
        if n == made["endpoint_at"]:
            caught.set_endpoint(url, made["jwt_key"], made["custom_headers"])
        if n == made["context_at"]:
            caught.update_context(**made["context"])
        if n < len(made["calls"]):
            _log(made["calls"][n])
    caught.cleanup()
    manager.stop()
    logging.getLogger(NAMESPACE).setLevel(logging.NOTSET)


def _log(call: dict[str, Any]) -> None:
    logger = logging.getLogger(call["logger"])
    extra = {} if call["attributes"] is None else {"log_attributes": call["attributes"]}
    raised = None
    if call["raised"]:
        try:
            raise ValueError("no such order")
        except ValueError:
            raised = sys.exc_info()
    level, (message, args) = getattr(logging, call["level"]), call["message"]
    record = logger.makeRecord(logger.name, level, __file__, 1, message, args, raised, extra=extra)
    record.created = call["created"]
    if logger.isEnabledFor(level):
        logger.handle(record)


def reference() -> Any:
    """The reference's module by itself, without its framework."""
    file = next(p for p in (Path(p) / "videosdk/agents/metrics/logger_handler.py" for p in sys.path) if p.is_file())
    spec = importlib.util.spec_from_file_location("logger_handler", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return SimpleNamespace(JobLogger=module.JobLogger, LogManager=module.LogManager)


if __name__ == "__main__":
    run(reference(), sys.argv[1], sys.argv[2], int(sys.argv[3]))
