"""Every output of a replay is the same to the byte as when its digest was kept.

Comparisons of numbers miss a 1000 that became 1000.0, and comparisons of objects a reordered key; digests of JSON miss
neither. ``python tests/projections/test_replay_bytes.py`` writes the digests anew, after a change that is meant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
import pytest

from eventstore import Event
from exporters.files.turns_csv import rows_of
from projections import Call, Reading, begin, call_dict, fold
from projections.caller import reading_dict
from projections.outputs.turn import barge_in_dict
from projections.readings import RELEASES, TURNLOG, reading
from projections.reference.rules import find_rules
from support.program import FIXTURES
from turnlog.recordings import events_of, read_recordings

FILES = "recordings.jsonl.gz", "conformance.jsonl.gz", "demo.jsonl.gz", "cases.jsonl"
RULE_SETS = TURNLOG, *RELEASES
DIGESTS = FIXTURES / "replay_digests.json"


@cache
def sessions(file: str) -> list[list[Event]]:
    return [events_of(place, recording) for place, recording in read_recordings(FIXTURES / file)]


def outputs(events: list[Event], rules: str) -> Iterator[tuple[str, Any]]:
    """Each output of a session's replay, by name."""
    found = reading(events, rules)
    yield "csv", b"".join(rows_of(found)).decode()
    yield from (of_caller if isinstance(found, Reading) else of_framework)(found)  # type: ignore[operator]
    if isinstance(found, Call):
        lean = fold(begin(find_rules(rules), spans=False, signals=False), events)
        yield "turns and payloads alone", (lean.turns, lean.payloads)


def of_framework(call: Call) -> Iterator[tuple[str, Any]]:
    yield from call_dict(call).items()


def of_caller(r: Reading) -> Iterator[tuple[str, Any]]:
    yield from reading_dict(r).items()
    for name in ("payloads", "emits", "playground", "spans"):
        yield name, getattr(r, name)
    yield "logs", [line._asdict() for line in r.logs]
    yield "ledger", [(record.words, barge_in_dict(r.timeline, record)) for record in r.barge_ins]
    yield "activities", [(each.kind, each.at, sorted(each.sources.items())) for each in r.timeline.activities]


def digests(file: str, rules: str) -> dict[str, str]:
    """SHA-256 of each output over all sessions of a file."""
    found: dict[str, Any] = {}
    for events in sessions(file):
        for name, value in outputs(events, rules):
            written = json.dumps(value, default=msgspec.to_builtins)
            found.setdefault(name, hashlib.sha256()).update(written.encode())
    return {name: digest.hexdigest() for name, digest in found.items()}


@pytest.mark.parametrize("rules", RULE_SETS)
@pytest.mark.parametrize("file", FILES)
def test_every_output_is_the_same_to_the_byte(file: str, rules: str) -> None:
    """Break: in projections/reference/timing.py, ``milliseconds``, leave out ``type(ms) is float``."""
    assert digests(file, rules) == json.loads(DIGESTS.read_text())[file][rules]


if __name__ == "__main__":
    kept = {file: {rules: digests(file, rules) for rules in RULE_SETS} for file in FILES}
    DIGESTS.write_text(json.dumps(kept, indent=1) + "\n")
