"""The conformance check: a replay must equal the reference's recorded output. The engine of ``turnlog conformance``.

A session's calls pass through recorder, journal and SQLite, as in production (or, if ``fast``, straight into the fold).
The result is converted to the shape of the reference's recorded output and compared exactly.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson

from eventstore.errors import TurnlogError
from eventstore.hooks.vocabulary import find_hook
from eventstore.recording.recorder import Clock, Recorder, Timer
from eventstore.stores.base import Store
from eventstore.stores.factory import open_store
from projections.reference.metrics import turn_dict
from projections.reference.replay import Call as ReplayedCall
from projections.reference.replay import replay
from projections.reference.rules import VIDEOSDK_1_0, Rules, find_rules
from projections.reference.state import Span
from turnlog.recordings import BadRecording, HookCall, RecordedClock, Recording, drive, events_of

OUTPUTS = (
    "payloads", "emits", "playground", "turns", "session", "current_turn", "spans", "spans_started", "totals",
)  # fmt: skip
"""The outputs compared. ``raised`` is not among them, as the recorder never raises."""
_OWN_ATTRIBUTES = ("attiribute_id", "attribute_id")
BATCH = 200
"""Number of sessions that share a temporary database."""


def expected_shape(call: ReplayedCall) -> dict[str, Any]:
    """The call in the shape of ``expect``."""
    expected = {
        "payloads": [{**data, "_at": at} for data, at in zip(call.payloads, call.payloads_at, strict=True)],
        "emits": [list(emit) for emit in call.emits],
        "playground": [
            {"full_turn_data": m.full_turn_data, "metrics": m.metrics, "_at": m.at} for m in call.playground
        ],
        "turns": [turn_dict(turn, call.session) for turn in call.turns[call.forgotten.turns :]],
        "session": msgspec.to_builtins(call.session),
        "current_turn": (
            turn_dict(call.current_turn, call.current_turn_session) if call.current_turn is not None else None
        ),
        "spans": [_span(span) for span in call.spans],
        "spans_started": call.spans_started,
        "totals": {
            "turns": call.total_turns - call.forgotten.total_turns,
            "interruptions": call.total_interruptions - call.forgotten.total_interruptions,
        },
        "raised": [list(raised) for raised in call.raised],
    }
    plain: dict[str, Any] = orjson.loads(orjson.dumps(expected))  # NaN becomes null, as in the reference's output
    return plain


def _span(span: Span) -> dict[str, Any]:
    return {
        "id": span.id,
        "parent": span.parent,
        "name": span.name,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "status": span.status,
        "status_message": span.status_message,
        "attributes": {k: v for k, v in span.attributes.items() if k not in _OWN_ATTRIBUTES},
        "events": span.events,
        "_at": span.at,
    }


def mismatches(expected: Any, got: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield path, expected and actual value of each difference; 1 equals 1.0 but not true."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in [*expected, *(key for key in got if key not in expected)]:
            yield from mismatches(expected.get(key, _ABSENT), got.get(key, _ABSENT), f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(got, list):
        for n in range(max(len(expected), len(got))):
            left = expected[n] if n < len(expected) else _ABSENT
            right = got[n] if n < len(got) else _ABSENT
            yield from mismatches(left, right, f"{path}[{n}]")
    elif expected != got or isinstance(expected, bool) != isinstance(got, bool):
        yield path, expected, got


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


_ABSENT = _Absent()


class Result:
    """One session's outcome."""

    def __init__(self, recording: Recording, call: ReplayedCall) -> None:
        self.name, self.calls = recording.name, len(recording.calls)
        self.got = expected_shape(call)
        expect = (recording.model_extra or {}).get("expect")
        self.mismatches = [
            f"{self.name} {output}{path}: expected {_short(expected)}, got {_short(got)}"
            for output in OUTPUTS
            if expect is not None and output in expect
            for path, expected, got in mismatches(expect[output], self.got[output])
        ]
        self.line = recording.model_dump() | {"expect": self.got}


def _short(value: Any) -> str:
    text = repr(value) if value is _ABSENT else orjson.dumps(value).decode()
    return text if len(text) <= 200 else text[:197] + "…"


def check_conformance(
    recordings: Iterable[tuple[str, Recording]], *, fast: bool, rules: str | Rules = VIDEOSDK_1_0
) -> Iterator[Result]:
    """Replay every recording and compare.

    Raises `BadRecording` for calls that match no hook, and `UnknownRules`.
    """
    rules = find_rules(rules)
    if fast:
        for place, recording in recordings:
            renamed = recording.model_copy(update={"name": "s"})  # the name may not be a valid session id
            yield Result(recording, replay(events_of(place, renamed), rules))
        return
    batch: list[tuple[str, Recording]] = []
    for item in recordings:
        batch.append(item)
        if len(batch) == BATCH:
            yield from _run_batch(batch, rules)
            batch = []
    yield from _run_batch(batch, rules)


def _run_batch(batch: list[tuple[str, Recording]], rules: Rules) -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="turnlog-") as folder:
        store = open_store(Path(folder) / "conformance.db")
        clock = RecordedClock()
        with Recorder(store, "keeps-the-writer-alive"):
            for n, (place, recording) in enumerate(batch):
                _record(store, clock, str(n), place, recording.calls)
        for n, (_place, recording) in enumerate(batch):
            yield Result(recording, replay(store.read(str(n)), rules))
        store.close()


def _record(store: Store, clock: RecordedClock, session_id: str, place: str, calls: list[HookCall]) -> None:
    for n, call in enumerate(calls):
        try:
            find_hook(call.target, call.hook).complete(call.args)
        except TurnlogError as error:
            raise BadRecording(f"{place}: call {n}: {error}") from error
    with Recorder(
        store, session_id, clock=Clock(clock.read_perf_ns, clock.read_wall_ns), scheduler=no_timers
    ) as recorder:
        try:
            drive(recorder, clock, calls)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise BadRecording(f"{place}: a hook call in the file is invalid: {error}") from error
    health = recorder.health
    if health.failed or health.dropped or health.rejected:
        raise BadRecording(f"{place}: could not be recorded: {health.last_error}")


class _Stopped:
    def cancel(self) -> None:
        """Do nothing: the timer never runs."""


def no_timers(_seconds: float, _call: Callable[[], None]) -> Timer:
    """A scheduler that runs no timers: those that fired are calls of the recording."""
    return _Stopped()
