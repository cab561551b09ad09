"""Golden: real recordings and generated calls, against what the reference made of them (`fixtures/`).

`differential/` compares with the reference itself, on newly generated calls.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from projections.reference.replay import replay
from support.program import FIXTURES
from turnlog.conformance import check_conformance, mismatches
from turnlog.recordings import Recording, events_of, read_recordings

FILES = [FIXTURES / "recordings.jsonl.gz", FIXTURES / "conformance.jsonl.gz"]


@pytest.mark.parametrize("fast", [True, False], ids=["folded", "through recorder, journal and SQLite"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_replay_is_what_the_reference_made(path: Path, fast: bool) -> None:
    results = list(check_conformance(read_recordings(path), fast=fast))
    assert [line for result in results for line in result.mismatches] == []
    assert len(results) >= 53


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_even_what_the_reference_raises_is_told(path: Path) -> None:
    for place, recording in read_recordings(path):
        expect = (recording.model_extra or {})["expect"]
        call = replay(events_of(place, recording))
        assert [[raised.at, raised.error] for raised in call.raised] == expect["raised"]


def first_recording() -> tuple[str, Recording]:
    return next(iter(read_recordings(FIXTURES / "demo.jsonl.gz")))


@pytest.mark.parametrize(
    ("output", "path", "value"),
    [
        ("payloads", (0, "e2eLatency"), 1.0),
        ("spans", (0, "end_ns"), 1),
        ("turns", (0, "is_interrupted"), 0),
        ("emits", (0, 2), 0),
        ("session", ("session_end_time",), None),
        ("totals", ("turns",), 99),
    ],
)
def test_a_difference_anywhere_is_seen(output: str, path: tuple[str | int, ...], value: object) -> None:
    place, recording = first_recording()
    changed = copy.deepcopy(recording)
    at = (changed.model_extra or {})["expect"][output]
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    (result,) = check_conformance([(place, changed)], fast=True)
    assert len(result.mismatches) == 1
    assert f" {output}" in result.mismatches[0]


def test_numbers_are_compared_as_numbers_and_truth_is_none() -> None:
    assert list(mismatches({"a": [1, 2.0]}, {"a": [1.0, 2]})) == []
    assert [path for path, *_ in mismatches({"a": 1}, {"a": True})] == [".a"]
    assert [path for path, *_ in mismatches([1], [1, None])] == ["[1]"]
    assert [path for path, *_ in mismatches({"a": None}, {})] == [".a"]


def test_the_calls_of_the_fixture_keep_the_scores_they_were_made_with() -> None:
    """The reference clamps them in place; a file that holds the clamped ones cannot be replayed."""
    calls = [
        call for _place, recording in read_recordings(FIXTURES / "conformance.jsonl.gz") for call in recording.calls
    ]
    assert any(score < 0 for call in calls for score in call.args.get("scores") or ())
